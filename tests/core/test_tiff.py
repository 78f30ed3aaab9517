"""TIFF by its tags: files made bit by bit, and the values that TIFF 6.0 says they have."""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import read_image, read_picture

Ints = NDArray[np.int64]
HEIGHT, WIDTH = 18, 37
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, MOSAIC = 0, 1, 2, 3, 5, 6, 32803
SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
NONE, DEFLATE, PACKBITS = 1, 8, 32773
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def tiff(
    values: NDArray[Any],
    bits: int,
    colours: int,
    *,
    order: str = "<",
    planes: int = 1,
    fill: int = 1,
    compression: int = NONE,
    block: tuple[int, int] | None = None,
    tags: dict[int, tuple[str, list[Any]]] | None = None,
    big: bool = False,
    next_directory: int = 0,
) -> bytes:
    """A file of [H,W,S] values. ``block``: (rows, 0) for strips, (rows, columns) for tiles."""
    height, width, samples = values.shape
    apart = np.split(values, samples, axis=-1) if planes == 2 else [values]
    rows, columns = block or (height, 0)
    blocks = [b for plane in apart for b in cut(plane, bits, order, rows, columns)]
    if compression == DEFLATE:
        blocks = [zlib.compress(data) for data in blocks]
    if compression == PACKBITS:
        blocks = [packbits(data) for data in blocks]
    if fill == 2:
        blocks = [data.translate(REVERSED) for data in blocks]
    start = 16 if big else 8
    offsets = [start + sum(map(len, blocks[:n])) for n in range(len(blocks))]
    counts = [len(data) for data in blocks]
    directory: dict[int, tuple[str, list[Any]]] = {
        256: ("H", [width]),
        257: ("H", [height]),
        258: ("H", [bits] * samples),
        259: ("H", [compression]),
        262: ("H", [colours]),
        266: ("H", [fill]),
        277: ("H", [samples]),
        284: ("H", [planes]),
    }
    if columns:
        directory |= {322: ("H", [columns]), 323: ("H", [rows])}
        directory |= {324: ("I", offsets), 325: ("I", counts)}
    else:
        directory |= {273: ("I", offsets), 278: ("H", [rows]), 279: ("I", counts)}
    directory |= tags or {}
    body = b"".join(blocks)
    return (
        head(order, big, start + len(body))
        + body
        + ifd(directory, order, big, start + len(body), next_directory)
    )


def cut(plane: NDArray[Any], bits: int, order: str, rows: int, columns: int) -> list[bytes]:
    height, width, samples = plane.shape
    if not columns:
        return [packed(plane[y : y + rows], bits, order) for y in range(0, height, rows)]
    padded = np.zeros((-(-height // rows) * rows, -(-width // columns) * columns, samples))
    padded[:height, :width] = plane
    return [
        packed(padded[y : y + rows, x : x + columns].astype(plane.dtype), bits, order)
        for y in range(0, height, rows)
        for x in range(0, width, columns)
    ]


def packed(values: NDArray[Any], bits: int, order: str) -> bytes:
    """Rows of samples, each row up to a whole byte, the upper bits first."""
    if values.dtype.kind == "f":
        return values.astype(f"{order}f{bits // 8}").tobytes()
    if bits in (8, 16, 32):
        return (values.astype(np.int64) % (1 << bits)).astype(f"{order}u{bits // 8}").tobytes()
    single = values.astype(np.int64)[..., None] >> np.arange(bits)[::-1] & 1
    return np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def packbits(data: bytes) -> bytes:
    parts = (data[n : n + 128] for n in range(0, len(data), 128))
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def head(order: str, big: bool, directory: int) -> bytes:
    name = b"II" if order == "<" else b"MM"
    if big:
        return name + struct.pack(order + "HHHQ", 43, 8, 0, directory)
    return name + struct.pack(order + "HI", 42, directory)


def ifd(
    directory: dict[int, tuple[str, list[Any]]], order: str, big: bool, at: int, following: int
) -> bytes:
    number, room, size = ("Q", 8, 20) if big else ("I", 4, 12)
    beyond = at + struct.calcsize("<Q" if big else "<H") + size * len(directory) + room
    entries, data = b"", b""
    for tag, (form, values) in sorted(directory.items()):
        content = struct.pack(f"{order}{len(values)}{form}", *values)
        kind = {"B": 1, "s": 2, "H": 3, "I": 4, "d": 12}[form]
        entries += struct.pack(f"{order}HH{number}", tag, kind, len(values))
        if len(content) <= room:
            entries += content.ljust(room, b"\0")
        else:
            entries += struct.pack(order + number, beyond + len(data))
            data += content + b"\0" * (len(content) % 2)
    count = struct.pack(order + ("Q" if big else "H"), len(directory))
    return count + entries + struct.pack(order + number, following) + data


def seen(values: Ints, bits: int, colours: int, colour_map: Ints | None) -> NDArray[np.float64]:
    """What the tags say, 0 to 255: TIFF 6.0, PhotometricInterpretation."""
    if colours == PALETTE:
        assert colour_map is not None
        return colour_map[values[..., 0]].astype(np.float64)
    share = values / ((1 << bits) - 1) * 255.0
    if colours == CMYK:
        return (255 - share[..., :3]) * (255 - share[..., 3:4]) / 255
    if colours == RGB:
        return share[..., :3]
    grey = 255 - share if colours == WHITE_IS_ZERO else share
    return np.repeat(grey[..., :1], 3, axis=-1)


def layouts() -> list[tuple[int, int, tuple[int, ...], int]]:
    """(colours, bits, extra samples, planes): those of cameras, scanners and data sets, and odd."""
    found = [
        *itertools.product((WHITE_IS_ZERO, BLACK_IS_ZERO), (1, 2, 4, 6, 8, 10, 12, 14, 16, 32)),
        *itertools.product((RGB, CMYK), (2, 4, 8, 10, 12, 14, 16, 32)),
        *itertools.product((PALETTE,), (1, 2, 4, 8)),
    ]
    return [
        (colours, bits, extra, planes)
        for (colours, bits), extra, planes in itertools.product(
            found, ((), (0,), (1,), (2,)), (1, 2)
        )
    ]


#: Those that cameras, scanners and libraries write: refusing one would be a loss.
EXPECTED = {
    *((colours, bits, (), 1) for colours in (0, 1) for bits in (1, 2, 4, 8, 16)),
    *((BLACK_IS_ZERO, 8, (2,), 1), (BLACK_IS_ZERO, 12, (), 1)),
    *((RGB, 8, extra, 1) for extra in ((), (0,), (1,), (2,))),
    *((RGB, 16, extra, 1) for extra in ((), (1,), (2,))),
    *((PALETTE, bits, (), 1) for bits in (1, 2, 4, 8)),
    *((CMYK, 8, (), 1), (CMYK, 16, (), 1), (RGB, 8, (), 2), (CMYK, 8, (), 2)),
}


@pytest.mark.parametrize("compression", [NONE, DEFLATE, PACKBITS])
@pytest.mark.parametrize("block", [(7, 0), (16, 16)])
@pytest.mark.parametrize(("order", "fill"), [("<", 1), (">", 1), ("<", 2), (">", 2)])
def test_a_layout_is_read_as_its_tags_say_or_refused(
    tmp_path: Path, compression: int, block: tuple[int, int], order: str, fill: int
) -> None:
    rng = np.random.default_rng(0)
    path, done = tmp_path / "a.tif", set()
    for layout in layouts():
        colours, bits, extra, planes = layout
        values = rng.integers(0, 1 << bits, (HEIGHT, WIDTH, SAMPLES[colours] + len(extra)))
        if extra == (1,):
            values[..., -1] = (1 << bits) - 1  # opaque: colours multiplied by alpha are themselves
        tags: dict[int, tuple[str, list[Any]]] = {338: ("H", list(extra))} if extra else {}
        colour_map = rng.integers(0, 256, (1 << min(bits, 8), 3))
        if colours == PALETTE:
            tags[320] = ("H", (colour_map * 257).T.ravel().tolist())
        options: Any = {"planes": planes, "order": order, "fill": fill, "block": block}
        data = tiff(values, bits, colours, compression=compression, tags=tags, **options)
        path.write_bytes(data)
        try:
            found = read_image(path)
        except ImageError as error:
            assert "damaged" not in str(error), (layout, error)
            continue
        error = np.abs(found - seen(values, bits, colours, colour_map)).max()
        assert error <= (3 if colours == CMYK else 1), (layout, error)
        done.add(layout)
    little = {(BLACK_IS_ZERO, 12, (), 1), (WHITE_IS_ZERO, 16, (), 1)}  # what Pillow knows so alone
    if fill == 1:
        assert done >= (EXPECTED if order == "<" else EXPECTED - little)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_big_tiff_is_a_tiff(tmp_path: Path, bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, bits, BLACK_IS_ZERO, big=True, tags={274: ("H", [6])}))
    expected = np.rot90(seen(values, bits, BLACK_IS_ZERO, None), -1)
    assert np.abs(read_image(path) - expected).max() < 1
    said = refused(tmp_path, tiff(values, bits, BLACK_IS_ZERO, big=True, order=">"))
    assert said.startswith("a big-endian BigTIFF can't be read")


def refused(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    return str(caught.value).removeprefix(f"{path}: ")


GREY = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1) % 200
COLOUR = np.repeat(GREY, 3, axis=-1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(GREY, 8, 1, tags={339: ("H", [2])}), "signed values have no fixed black"),
        (tiff(GREY, 16, 1, tags={339: ("H", [2])}), "signed values have no fixed black"),
        (tiff(COLOUR, 8, 2, tags={339: ("H", [2, 2, 2])}), "signed values have no fixed black"),
        (tiff(GREY / 199, 32, 1, tags={339: ("H", [3])}), "float values have no fixed range"),
        (tiff(GREY / 199, 64, 1, tags={339: ("H", [3])}), "float values have no fixed range"),
        (tiff(GREY / 199, 32, 0, tags={339: ("H", [3])}), "float values have no fixed range"),
        (tiff(GREY, 10, 1), r"layout can't be read \(BlackIsZero, 1 x 10 bits, unsigned, little"),
        (tiff(GREY, 12, 1, order=">"), r"can't be read \(BlackIsZero, 1 x 12 bits, .*big-endian"),
        (tiff(COLOUR, 12, 2), r"layout can't be read \(RGB, 3 x 12 bits"),
        (tiff(COLOUR, 16, 2, planes=2), r"planes apart can't be read in this layout \(RGB, 3 x 16"),
        (tiff(GREY, 16, MOSAIC), "a sensor's mosaic, 1 x 16 bits"),
        (tiff(GREY, 8, 1, tags={259: ("H", [34887])}), "1 x 8 bits, .*, compression 34887"),
        (tiff(COLOUR, 8, YCBCR), "YCbCr without compression can't be read where it is thinned"),
        (tiff(np.repeat(GREY, 4, -1), 8, CMYK, tags={332: ("H", [2])}), "its inks are others"),
        (tiff(GREY, 8, 3, tags={320: ("H", [9] * 768)}), "colour map holds 8-bit values"),
        (tiff(GREY, 8, 1, tags={339: ("H", [4])}), "sample format 4"),
    ],
)
def test_what_isnt_read_is_called_by_its_name(tmp_path: Path, data: bytes, reason: str) -> None:
    assert re.search(reason, refused(tmp_path, data))


def test_without_a_word_on_its_colours_a_picture_is_refused(tmp_path: Path) -> None:
    data = tiff(GREY, 8, 1).replace(struct.pack("<HHI", 262, 3, 1), struct.pack("<HHI", 261, 3, 1))
    assert "doesn't say what its values mean" in refused(tmp_path, data)


def test_a_compression_that_this_pillow_lacks_is_not_called_damage(tmp_path: Path) -> None:
    said = refused(tmp_path, tiff(GREY, 8, 1, tags={259: ("H", [50001])}))
    assert "webp" in said and "damaged" not in said


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_beside_the_layout_cost_no_picture(tmp_path: Path, order: str) -> None:
    """Whatever stands in them: of another type, beyond the file, too many."""
    plain = read(tmp_path, tiff(COLOUR, 8, RGB, order=order, tags={274: ("H", [6])}))
    np.testing.assert_array_equal(plain, np.rot90(COLOUR, -1))
    junk: dict[int, tuple[str, list[Any]]] = {
        270: ("d", [float("nan")] * 3),
        282: ("B", [7]),
        296: ("H", [3]),
        305: ("H", [1, 2, 3]),
        700: ("I", [1, 2]),
        34665: ("I", [2**32 - 1]),
        34675: ("H", [0]),
        34853: ("I", [8]),
    }
    data = bytearray(tiff(COLOUR, 8, RGB, order=order, tags={274: ("H", [6]), **junk}))
    np.testing.assert_array_equal(read(tmp_path, data), plain)
    where = data.find(struct.pack(order + "HH", 270, 12))
    data[where + 4 : where + 12] = b"\xff" * 8  # billions of values, outside of the file
    np.testing.assert_array_equal(read(tmp_path, data), plain)


def read(tmp_path: Path, data: bytes) -> NDArray[np.uint8]:
    (tmp_path / "a.tif").write_bytes(data)
    return read_image(tmp_path / "a.tif")


def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path) -> None:
    for tag in (("H", [0]), ("H", [9]), ("d", [6.0])):
        found = read(tmp_path, tiff(GREY, 8, 1, tags={274: tag}))
        assert found.shape == (HEIGHT, WIDTH, 3)


def test_a_file_of_several_pictures_says_so(tmp_path: Path) -> None:
    for following, several in ((0, False), (8, True)):
        (tmp_path / "a.tif").write_bytes(tiff(GREY, 8, 1, next_directory=following))
        assert read_picture(tmp_path / "a.tif").several is several


def test_nothing_is_printed_by_libtiff(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tags = {274: ("H", [77]), 296: ("H", [99]), 65000: ("H", [1])}
    read(tmp_path, tiff(GREY, 8, 1, compression=DEFLATE, tags=tags))
    assert capfd.readouterr() == ("", "")
