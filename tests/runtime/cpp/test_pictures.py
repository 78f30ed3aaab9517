"""The pictures that apdepth_run reads: the pixels are Python's, and the others are refused."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from apdepth_deploy.pictures.image import read_image

HEIGHT, WIDTH = 16, 24
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
#: Kinds of PNG: colour type, channels.
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = (0, 1), (2, 3), (3, 1), (4, 2), (6, 4)

Chunks = list[tuple[bytes, bytes]]


def rows_of(samples: np.ndarray, depth: int) -> bytes:
    """Unfiltered rows of samples [H,W,C], each packed to whole bytes."""
    if depth == 16:
        rows = samples.astype(">u2").reshape(len(samples), -1).view(np.uint8)
    else:
        bits = samples.reshape(len(samples), -1, 1) >> np.arange(depth)[::-1] & 1
        rows = np.packbits(bits.reshape(len(samples), -1), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in rows)


def interlaced(samples: np.ndarray, depth: int) -> bytes:
    """The seven passes of the PNG specification, section 8.2."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    passes.append((1, 0, 2, 1))
    return b"".join(rows_of(samples[y::dy, x::dx], depth) for y, x, dy, dx in passes)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    kind: tuple[int, int],
    depth: int,
    extra: Chunks = [],  # noqa: B006
    *,
    adam7: bool = False,
    samples: np.ndarray | None = None,
) -> bytes:
    """A PNG of random samples, with chunks between its heading and its pixels."""
    colour_type, channels = kind
    if samples is None:
        samples = RNG.integers(0, 1 << depth, (HEIGHT, WIDTH, channels), np.uint16)
    pixels = interlaced(samples, depth) if adam7 else rows_of(samples, depth)
    heading = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour_type, 0, 0, adam7)
    chunks = [(b"IHDR", heading), *extra, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def pnm(kind: bytes, maxval: int, heading: str = "{kind}\n{width} {height}\n{maxval}\n") -> bytes:
    channels = {b"P5": 1, b"P6": 3}[kind]
    samples = RNG.integers(0, maxval + 1, (HEIGHT, WIDTH, channels))
    text = heading.format(kind=kind.decode(), width=WIDTH, height=HEIGHT, maxval=maxval)
    return text.encode() + samples.astype("u1" if maxval < 256 else ">u2").tobytes()


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int, order: str = "<", head: bytes = b"") -> bytes:
    """A TIFF file of two tags: its width, and the orientation."""
    tags = struct.pack(f"{order}HHIHHHHIHH", 0x0100, 3, 1, 24, 0, 0x0112, 3, 1, orientation, 0)
    start = b"II" if order == "<" else b"MM"
    return head + start + struct.pack(f"{order}HIH", 42, 8, 2) + tags + bytes(4)


def xmp(orientation: int) -> bytes:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def raw_profile(orientation: int) -> bytes:
    data = exif(orientation, head=b"Exif\0\0")
    return b"\nexif\n%8d\n" % len(data) + data.hex().encode() + b"\n"


COLOURS = [(b"PLTE", RNG.bytes(3 * 200))]
TEXT_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"
READ: dict[str, Callable[[], bytes]] = {
    **{f"grey{depth}.png": lambda d=depth: png(GREY, d) for depth in (1, 2, 4, 8, 16)},
    **{f"palette{depth}.png": lambda d=depth: png(PALETTE, d, COLOURS) for depth in (1, 2, 4, 8)},
    **{f"rgb{depth}.png": lambda d=depth: png(RGB, d) for depth in (8, 16)},
    **{f"rgba{depth}.png": lambda d=depth: png(RGBA, d) for depth in (8, 16)},
    **{f"grey_alpha{depth}.png": lambda d=depth: png(GREY_ALPHA, d) for depth in (8, 16)},
    "interlaced_rgb.png": lambda: png(RGB, 8, adam7=True),
    "interlaced_grey16.png": lambda: png(GREY, 16, adam7=True),
    "interlaced_grey2.png": lambda: png(GREY, 2, adam7=True),
    "clear_grey.png": lambda: png(GREY, 8, [(b"tRNS", b"\0\7")]),
    "clear_grey16.png": lambda: png(GREY, 16, [(b"tRNS", b"\0\7")]),
    "clear_rgb.png": lambda: png(RGB, 8, [(b"tRNS", bytes(6))]),
    "clear_palette.png": lambda: png(PALETTE, 8, [*COLOURS, (b"tRNS", bytes(100))]),
    "filtered.png": lambda: saved(Image.fromarray(COLOUR), optimize=True),
    "profile_and_gamma.png": lambda: png(RGB, 8, [(b"gAMA", bytes(4)), (b"iCCP", b"x\0\0junk")]),
    "no_exif.png": lambda: png(RGB, 8, [(b"tEXt", b"Raw profile type exif\0"), (b"tEXt", b"x")]),
    **{f"pgm{top}.pgm": lambda m=top: pnm(b"P5", m) for top in (1, 100, 254, 255, 256, 1023)},
    **{f"pgm{top}.pgm": lambda m=top: pnm(b"P5", m) for top in (4095, 65534, 65535)},
    **{f"ppm{top}.ppm": lambda m=top: pnm(b"P6", m) for top in (1, 100, 255, 1023, 65535)},
    "comments.ppm": lambda: pnm(b"P6", 9, "{kind}\n#x\n{width}  \n{height} # 4\n{maxval}\t"),
    **{f"exif{i}.png": lambda i=i: png(RGB, 8, [(b"eXIf", exif(i))]) for i in range(10)},
    "exif_motorola.png": lambda: png(RGB, 8, [(b"eXIf", exif(6, ">"))]),
    "exif_first.png": lambda: png(RGB, 8, [(b"eXIf", exif(1)), (b"iTXt", TEXT_XMP + xmp(6))]),
    "exif_marker.png": lambda: png(GREY, 16, [(b"eXIf", exif(8, head=b"Exif\0\0"))]),
    "exif_hex.png": lambda: png(RGB, 8, [(b"tEXt", b"Raw profile type exif\0" + raw_profile(5))]),
    "exif_hex_z.png": lambda: png(
        RGB, 8, [(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw_profile(7)))]
    ),
    "xmp.png": lambda: png(RGB, 8, [(b"iTXt", TEXT_XMP + xmp(3))]),
    "xmp_z.png": lambda: png(
        RGB, 8, [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(6)))]
    ),
    "by_pillow.png": lambda: saved(Image.fromarray(COLOUR), exif=turned_exif(8)),
}  # fmt: skip


def turned_exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


TEN_BITS = RNG.integers(0, 1024, (HEIGHT, WIDTH, 1), np.uint16)
#: 16-bit grey of which a PNG says that 10 are significant: picture, white.
SCALED = {
    "ten_bits_below.png": (TEN_BITS, 1023),
    "ten_bits_above.png": (TEN_BITS << 6, 65535),
    "more_than_ten_bits.png": (TEN_BITS << 2, 65535),
}
WHOLE = png(RGB, 8)
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.png": (b"", "begins as none"),
    "photo.jpg": (saved(Image.fromarray(COLOUR), "JPEG"), "begins as none"),
    "ascii.ppm": (b"P3\n1 1\n255\n1 2 3\n", "begins as none"),
    "bits.pbm": (b"P4\n8 1\n\0", "begins as none"),
    "cut.png": (WHOLE[:-30], "truncated"),
    "no_end.png": (WHOLE[:-12], "truncated"),
    "flipped.png": (flipped(WHOLE, len(WHOLE) // 2), "a checksum is wrong"),
    "huge_chunk.png": (flipped(WHOLE, 33), "truncated"),
    "no_palette.png": (png(PALETTE, 8), "no PLTE"),
    "short.png": (png(RGB, 8).replace(WHOLE[16:24], struct.pack(">II", WIDTH, 99)), "checksum"),
    "few_rows.png": (
        WHOLE[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 99, 99, 8, 2, 0, 0, 0)) + WHOLE[33:],
        "not enough pixels",
    ),
    "iphone.png": (png(RGB, 8, [(b"CgBI", bytes(4))]), "an unknown kind of PNG"),
    "cut.ppm": (pnm(b"P6", 255)[:-1], "truncated"),
    "cut16.pgm": (pnm(b"P5", 1023)[:-1], "truncated"),
    "zero.pgm": (b"P5\n4 4\n0\n" + bytes(16), "can't be"),
    "wide.pgm": (b"P5\n4 4\n65536\n" + bytes(64), "can't be"),
    "vast.pgm": (b"P5\n999999999 999999999\n255\n", "truncated"),
    "words.pgm": (b"P5\n4 four\n255\n" + bytes(16), "heading"),
    "bare.pgm": (b"P5\n", "heading"),
}


@pytest.fixture(scope="module")
def said(cpp_build: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the programs' reader said to every picture, by its name; "" is the folder."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures = {name: make() for name, make in READ.items()}
    pictures |= {name: data for name, (data, _) in REFUSED.items()}
    for name, (samples, _) in SCALED.items():
        pictures[name] = png(GREY, 16, [(b"sBIT", b"\x0a")], samples=samples)
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
    command = [cpp_build / "tests/apdepth_pixels", *(folder / name for name in pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    return {"": str(folder)} | {Path(path).name: why for path, why in lines.items()}


@pytest.mark.parametrize("name", READ)
def test_pixels_are_those_of_python(said: dict[str, str], name: str) -> None:
    assert name not in said
    path = Path(said[""]) / name
    expected = read_image(path)
    heading, found = Path(f"{path}.rgb").read_bytes().split(b"\n", 1)
    assert tuple(map(int, heading.split())) == expected.shape[:2]
    assert (np.frombuffer(found, np.uint8).reshape(expected.shape) == expected).all()
    assert expected.std() > 10


@pytest.mark.parametrize("name", SCALED)
def test_significant_bits_at_the_bottom_are_the_range(said: dict[str, str], name: str) -> None:
    samples, white = SCALED[name]
    pixels = Path(said[""], f"{name}.rgb").read_bytes().split(b"\n", 1)[1]
    expected = (samples.astype(int) * 255 // white).repeat(3, axis=-1)
    assert (np.frombuffer(pixels, np.uint8).reshape(expected.shape) == expected).all()


@pytest.mark.parametrize("name", REFUSED)
def test_pictures_that_are_not_read_right_are_refused(said: dict[str, str], name: str) -> None:
    assert said[name].startswith("not a PNG, PPM or PGM that can be read (")
    assert REFUSED[name][1] in said[name]
