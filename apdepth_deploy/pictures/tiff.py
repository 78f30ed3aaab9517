"""TIFF: what its tags say of the values, and which layouts Pillow decodes as they say."""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

from PIL import Image, ImageFile
from PIL.TiffImagePlugin import COMPRESSION_INFO, TiffImageFile

from apdepth_deploy.errors import ImageError

# TIFF 6.0, sections 8 and 22, and its supplements.
_BITS, _COMPRESSION, _COLOURS, _FILL, _ORIENTATION, _SAMPLES = 258, 259, 262, 266, 274, 277
_PLANES, _COLOUR_MAP, _INKS, _FORMAT, _SUBSAMPLING = 284, 320, 332, 339, 530
#: What the pixels hang on, with the tables of fax, JPEG, YCbCr and LERC.
_LAYOUT = {_BITS, _COMPRESSION, _COLOURS, _FILL, _SAMPLES, _PLANES, _COLOUR_MAP, _INKS, _FORMAT}
_LAYOUT |= {_SUBSAMPLING, 256, 257, 273, 278, 279, 292, 293, 317, 322, 323, 324, 325, 338, 347}
_LAYOUT |= {*range(512, 522), 529, 531, 532, 50674}

_COLOUR_NAMES = {
    0: "WhiteIsZero",
    1: "BlackIsZero",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "a sensor's mosaic",
    34892: "a sensor's linear values",
}
_FORMAT_NAMES = {1: "unsigned", 2: "signed", 3: "float"}
_UNCOMPRESSED, _OLD_JPEG = 1, 6
_PLAIN = "save it as plain 8- or 16-bit grey or RGB"


class Pared(NamedTuple):
    """A TIFF of the first picture alone, with the tags that its pixels hang on and no others."""

    data: bytes
    orientation: int
    several: bool


def pare(data: bytes) -> Pared:
    """A directory of its own at the end: what is broken in the others costs no picture.

    Raises ImageError where the file's directory isn't in it.
    """
    if data.startswith(b"MM\0+"):  # Pillow takes its first bytes for an older file's
        raise ImageError("a big-endian BigTIFF can't be read: save it as TIFF or PNG")
    order = "<" if data.startswith(b"II") else ">"
    big = data[2] == 43
    header, number, count_form, entry_size = (16, "Q", "Q", 20) if big else (8, "I", "H", 12)
    (start,) = struct.unpack(order + number, data[header // 2 : header])
    first = start + struct.calcsize(count_form)
    (count,) = struct.unpack(order + count_form, data[start:first])
    last = first + count * entry_size
    if last > len(data):
        raise ImageError("damaged or truncated: its directory lies outside of the file")
    entries: dict[int, bytes] = {}
    for at in range(first, last, entry_size):
        entry = data[at : at + entry_size]
        entries.setdefault(struct.unpack(order + "H", entry[:2])[0], entry)
    kept = [entry for tag, entry in entries.items() if tag in _LAYOUT]
    value_size = header // 2
    parts: list[bytes | memoryview] = [
        data[:value_size],
        struct.pack(order + number, len(data)),
        memoryview(data)[header:],
        struct.pack(order + count_form, len(kept)),
        *kept,
        bytes(value_size),
    ]
    orientation = 1
    if _ORIENTATION in entries:
        orientation = _short(order, entries[_ORIENTATION], value_size)
    return Pared(b"".join(parts), orientation, any(data[last : last + value_size]))


def _short(order: str, entry: bytes, value_size: int) -> int:
    """A directory entry's single number of 16 bits; 0 where it is something else."""
    kind, value = struct.unpack(order + "HH", entry[2:4] + entry[-value_size:][:2])
    return int(value) if kind == 3 else 0


class TiffPicture(TiffImageFile):
    """Pillow's TIFF, with the layout looked at first.

    Attributes:
        white, negative: see ``pictures.Picture``.

    Raises ImageError for a layout that Pillow doesn't know, or decodes otherwise than its tags say.
    """

    white = 65535
    negative = False

    def _setup(self) -> None:
        """Called by Pillow with the tags read, to prepare the decoding."""
        if _first(self.tag_v2, _SAMPLES, 1) == 1:
            self.tag_v2.pop(_PLANES, None)  # says nothing of one sample, and leads Pillow astray
        _refuse_misread(self.tag_v2)
        try:
            super()._setup()
        except (SyntaxError, KeyError) as error:
            raise ImageError(
                f"this TIFF layout can't be read ({_describe(self.tag_v2)}): {_PLAIN}"
            ) from error
        if self.mode.startswith("I"):
            self.white = 4095 if _first(self.tag_v2, _BITS, 1) == 12 else 65535
            self.negative = _first(self.tag_v2, _COLOURS) == 0

    def load(self) -> Any:
        """Raises ImageError where this Pillow was built without the file's compression."""
        try:
            return super().load()
        except OSError as error:
            if _is_lacking(self.info["compression"]):
                raise ImageError(
                    f"this Pillow can't undo a TIFF's {self.info['compression']} compression: save "
                    "it with another, such as deflate"
                ) from error
            raise

    def load_prepare(self) -> None:
        """As Pillow's, without its limit of pixels: ours was asked before."""
        if self._im is None:
            self.im = Image.new(self.mode, self.size).im
        ImageFile.ImageFile.load_prepare(self)


def _is_lacking(compression: str) -> bool:
    """Pillow doesn't tell what its libtiff was built with: it shows."""
    if compression not in ("webp", "zstd", "lzma"):
        return False
    try:
        Image.new("RGB", (16, 16)).save(io.BytesIO(), "TIFF", compression=compression)
    except OSError:
        return True
    return False


def _refuse_misread(tags: Any) -> None:
    """Raises ImageError for what Pillow would read, and wrongly."""
    colours, compression = _first(tags, _COLOURS), _first(tags, _COMPRESSION, _UNCOMPRESSED)
    bits, form = _first(tags, _BITS, 1), _first(tags, _FORMAT, 1)
    if form == 3:
        raise ImageError("float values have no fixed range: convert it to 8 or 16 bits")
    if form == 2 and bits < 32:
        raise ImageError(f"signed values have no fixed black: {_PLAIN}")
    if colours is None and compression != _OLD_JPEG:
        raise ImageError(f"this TIFF doesn't say what its values mean (tag 262): {_PLAIN}")
    if _first(tags, _PLANES, 1) == 2 and not _planes_are_read(tags, colours, bits, compression):
        raise ImageError(f"planes apart can't be read in this layout ({_describe(tags)}): {_PLAIN}")
    # YCbCr without compression is halved in both directions unless the tag says otherwise.
    if colours == 6 and compression == _UNCOMPRESSED and tags.get(_SUBSAMPLING) != (1, 1):
        raise ImageError(f"YCbCr without compression can't be read where it is thinned: {_PLAIN}")
    if colours == 5 and _first(tags, _INKS, 1) == 2:
        raise ImageError(f"its inks are others than cyan, magenta, yellow and black: {_PLAIN}")
    if colours == 3 and max(tags.get(_COLOUR_MAP, (0,))) < 256:
        raise ImageError(f"its colour map holds 8-bit values where TIFF has 16: {_PLAIN}")


def _planes_are_read(tags: Any, colours: int, bits: int, compression: int) -> bool:
    plain = _first(tags, _SAMPLES) == {2: 3, 5: 4}.get(colours) and _first(tags, _FILL, 1) == 1
    return plain and (bits == 8 or (colours == 2 and compression != _UNCOMPRESSED))


def _first(tags: Any, tag: int, default: int | None = None) -> Any:
    """A number, or the first of several."""
    value = tags.get(tag, default)
    return value[0] if isinstance(value, tuple) and value else value


def _describe(tags: Any) -> str:
    colours, form = _first(tags, _COLOURS), _first(tags, _FORMAT, 1)
    bits = tags.get(_BITS, (1,))
    packing = _first(tags, _COMPRESSION, _UNCOMPRESSED)
    depth = "+".join(map(str, bits)) if len(set(bits)) > 1 else bits[0]
    return ", ".join(
        [
            _COLOUR_NAMES.get(colours, f"colours {colours}"),
            f"{_first(tags, _SAMPLES, 1)} x {depth} bits",
            _FORMAT_NAMES.get(form, f"sample format {form}"),
            "big-endian" if tags.prefix == b"MM" else "little-endian",
            f"compression {COMPRESSION_INFO.get(packing, packing)}",
        ]
    )
