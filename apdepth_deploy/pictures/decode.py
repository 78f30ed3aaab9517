"""Picture files, opened but not decoded: their kind, size, turning, and what their values mean.

Pillow decodes. It is shown what the pixels hang on and nothing else: a broken EXIF block, colour
profile or text beside whole pixels costs no picture.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import math
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from PIL import ExifTags, Image

from apdepth_deploy.errors import ImageError

_PNG_START = b"\x89PNG\r\n\x1a\n"
#: Pillow's name of a kind -> how its files start, and Pillow's module for it.
_KINDS = {
    "JPEG": (rb"\xff\xd8\xff", "JpegImagePlugin"),
    "PNG": (re.escape(_PNG_START), "PngImagePlugin"),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", "TiffImagePlugin"),
    "WEBP": (rb"RIFF....WEBP", "WebPImagePlugin"),
    "BMP": (rb"BM", "BmpImagePlugin"),
    "PPM": (rb"P[1-6f]\s", "PpmImagePlugin"),
    "GIF": (rb"GIF8[79]a", "GifImagePlugin"),
    "JPEG2000": (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", "Jpeg2KImagePlugin"),
    "AVIF": (rb"....ftypavi[fs]", "AvifImagePlugin"),
}
_UNREADABLE = {
    "HEIC": rb"....ftyp(he[iv][cxms]|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "netpbm's PAM": rb"P7\s",
}
#: How Pillow says that a file may be whole and is still not for it.
_UNSUPPORTED = re.compile(
    r"unsupported|cannot handle|not (yet )?supported|not available|unknown raw mode|no codec",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """An open file: ``image`` is decoded when it is used first.

    Attributes:
        kind: "JPEG", "PNG", ...
        orientation: the EXIF tag: how ``image`` is to be turned, 1 = not at all.
        several: whether the file holds further pictures than this, its first.
        white: where ``image`` has one integer per pixel (modes I and I;16), the value of white.
        negative: in those modes, whether 0 is white and ``white`` black.
        significant_bits: in those modes, how many the file says it has; 0 = it doesn't say.
    """

    kind: str
    image: Image.Image
    orientation: int
    several: bool
    white: int = 65535
    negative: bool = False
    significant_bits: int = 0


def open_picture(file: BinaryIO) -> Picture:
    """Raises ImageError for what is no picture or of an unsupported kind; others where damaged."""
    start = file.read(16)
    file.seek(0)
    for kind, (pattern, module) in _KINDS.items():
        if re.match(pattern, start, re.DOTALL):
            try:
                importlib.import_module(f"PIL.{module}")
            except ImportError as error:
                raise ImageError(f"this Pillow can't read {kind}: update it") from error
            return _OPEN.get(kind, _open_plain)(kind, file)
    for kind, pattern in _UNREADABLE.items():
        if re.match(pattern, start, re.DOTALL):
            raise ImageError(f"{kind} can't be read: save it as JPEG or PNG")
    raise ImageError("not a picture that can be read")


def is_unsupported(error: Exception) -> bool:
    """Whether Pillow refused a file for its kind and not for its damage."""
    return isinstance(error, NotImplementedError) or bool(_UNSUPPORTED.search(str(error)))


def _open_plain(kind: str, file: BinaryIO) -> Picture:
    factory = Image.OPEN[kind][0]
    image: Any = factory(file, getattr(file, "name", ""))  # the name: so that raw pixels are mapped
    return Picture(kind, image, orientation_of(image), bool(getattr(image, "is_animated", False)))


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, or XMP's; 1 where neither says anything a standard knows."""
    xmp = image.info.get("xmp")
    if isinstance(xmp, bytes):  # older versions of Pillow look for it by the name it has in a PNG
        image.info.setdefault("XML:com.adobe.xmp", xmp.decode("latin-1"))
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - whatever is wrong in there, the pixels are not
        return 1
    return value if isinstance(value, int) and value in range(1, 9) else 1


def focal_35mm_of(image: Image.Image) -> float | None:
    """EXIF's FocalLengthIn35mmFilm in mm; None where there is none, or 0: the camera's unknown."""
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        value = float(exif.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
    except Exception:  # noqa: BLE001 - as for the orientation
        return None
    return value if 0 < value < math.inf else None


# --- JPEG (ITU T.81, annex B) --------------------------------------------------------------------

#: Each goes over all of the picture, however few bytes it has; a progressive JPEG has ten or so.
_SCAN, _MOST_SCANS = b"\xff\xda", 500
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def _open_jpeg(kind: str, file: BinaryIO) -> Picture:
    """Also those with further pictures behind the first (MPO): that is what it is for."""
    from PIL.JpegImagePlugin import JpegImageFile

    data = file.read()
    if data.count(_SCAN) > _MOST_SCANS:
        raise ImageError(f"a JPEG of more than {_MOST_SCANS} scans can't be read: save it anew")
    needed, position = [data[:2]], 2
    info: dict[Any, Any] = {}
    for marker, segment in _segments(data):
        position += len(segment)
        content = segment[4:]
        if marker == 0xE1 and content.startswith(_EXIF):
            info.setdefault("exif", content)
        elif marker == 0xE1 and content.startswith(_XMP):
            info.setdefault("xmp", content[len(_XMP) :])
        # JFIF's and Adobe's segments, where whole, say how colours are to be understood.
        elif marker not in (*range(0xE0, 0xF0), 0xFE) or _is_colour_segment(content):
            needed.append(segment)
    image = JpegImageFile(io.BytesIO(b"".join([*needed, memoryview(data)[position:]])))
    image.info |= info
    return Picture(kind, image, orientation_of(image), several=False)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, its whole segment) up to the first scan or the first thing that is none."""
    position = 2
    while True:
        head = data[position : position + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xFF, 0xDA, *range(0xD0, 0xDA)):
            return
        size = 2 + int.from_bytes(head[2:], "big")
        yield head[1], data[position : position + size]
        position += size


def _is_colour_segment(content: bytes) -> bool:
    return (content.startswith(b"JFIF\0") and len(content) >= 14) or (
        content.startswith(b"Adobe") and len(content) >= 12
    )


# --- PNG (third edition, sections 5 and 11) ------------------------------------------------------

_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
#: Where an orientation may stand.
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")


class _Chunk(NamedTuple):
    kind: bytes
    whole: memoryview
    content: memoryview


def _open_png(kind: str, file: BinaryIO) -> Picture:
    from PIL.PngImagePlugin import PngImageFile

    chunks = list(_chunks(memoryview(file.read())))
    for chunk in chunks:
        if chunk.kind not in _PIXELS and not chunk.kind[0] & 0x20:  # bit 5: may be left out
            raise ImageError(f"a PNG with a {chunk.kind.decode('latin-1')!r} chunk can't be read")
    pixels = [chunk.whole for chunk in chunks if chunk.kind in _PIXELS]
    image = PngImageFile(io.BytesIO(b"".join([_PNG_START, *pixels])))
    for chunk in chunks:
        if chunk.kind in _TEXTS:
            image.info |= _text(pixels[0], chunk.whole)
    bits = next(
        (chunk.content[0] for chunk in chunks if chunk.kind == b"sBIT" and chunk.content), 0
    )
    several = any(chunk.kind == b"fdAT" for chunk in chunks)
    return Picture(kind, image, orientation_of(image), several, significant_bits=bits)


def _chunks(data: memoryview) -> Iterator[_Chunk]:
    position = len(_PNG_START)
    while position + 8 <= len(data):
        size = 12 + int.from_bytes(data[position : position + 4], "big")
        whole = data[position : position + size]
        yield _Chunk(bytes(whole[4:8]), whole, whole[8 : size - 4])
        position += size


def _text(header: memoryview, text: memoryview) -> dict[Any, Any]:
    """What Pillow makes of one chunk, asked alone; nothing where it is broken or too large."""
    from PIL.PngImagePlugin import PngImageFile

    pixels = struct.pack(">I4s", 0, b"IDAT")
    with contextlib.suppress(Exception):
        return PngImageFile(io.BytesIO(_PNG_START + bytes(header) + bytes(text) + pixels)).info
    return {}


# --- TIFF and BMP --------------------------------------------------------------------------------


def _open_tiff(kind: str, file: BinaryIO) -> Picture:
    from apdepth_deploy.pictures.tiff import TiffPicture, pare

    pared = pare(file.read())
    image = TiffPicture(io.BytesIO(pared.data))
    orientation = pared.orientation if pared.orientation in range(1, 9) else 1
    return Picture(kind, image, orientation, pared.several, image.white, image.negative)


def _open_bmp(kind: str, file: BinaryIO) -> Picture:
    """Raises ImageError where Pillow takes a palette of greys for the pixels' own bits."""
    picture = _open_plain(kind, file)
    file.seek(14)
    size, *_ = struct.unpack("<I", file.read(4))
    file.seek(24 if size == 12 else 28)
    (bits,) = struct.unpack("<H", file.read(2))
    if {"1": 1, "L": 8}.get(picture.image.mode, bits) != bits:
        raise ImageError(f"a BMP of {bits} bits with a palette of greys can't be read: save as PNG")
    return picture


_OPEN: dict[str, Callable[[str, BinaryIO], Picture]] = {
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "TIFF": _open_tiff,
    "BMP": _open_bmp,
}
