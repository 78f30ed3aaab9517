"""What stands beside a picture's pixels turns it, and never costs it."""

from __future__ import annotations

import random
import runpy
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

MADE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("picture_files.py"))))
read = MADE.read
HEIGHT, WIDTH = MADE.HEIGHT, MADE.WIDTH
chunk, png, packed, exif, encoded = MADE.chunk, MADE.png, MADE.packed, MADE.exif, MADE.encoded


#: Tags of a type, count or place that no standard gives them.
STRANGE = (
    (0x0100, 2, 4, b"640\0"),
    (0x011A, 3, 1, b"\x48\0\0\0"),
    (0x0132, 12, 9, b"\xff\xff\xff\x7f"),
    (0x8769, 4, 1, b"\xff\xff\xff\xff"),
    (0x8825, 2, 4, b"\0\0\0\0"),
    (0x9999, 77, 2**32 - 1, b"\0\0\0\0"),
)
GARBAGE = (
    b"",
    b"II",
    b"garbage without a header",
    b"II*\0\xff\xff\xff\xff",
    b"MM\0*\0\0\0\x08\xff",
)


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """The file with further segments behind its first two bytes."""
    parts = [struct.pack(">BBH", 0xFF, kind, 2 + len(text)) + text for kind, text in segments]
    return data[:2] + b"".join(parts) + data[2:]


def webp_with(data: bytes, width: int, height: int, exif_block: bytes) -> bytes:
    flags = struct.pack("<I", 0x08) + (width - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + flags + (height - 1).to_bytes(3, "little")
    block = b"EXIF" + struct.pack("<I", len(exif_block)) + exif_block
    body = b"WEBP" + extended + data[12:] + block + b"\0" * (len(exif_block) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.fixture
def rgb(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def with_exif(form: str, rgb: NDArray[np.uint8], block: bytes) -> bytes:
    if form == "JPEG":
        return jpeg_with(encoded(rgb, "JPEG", quality=95), (0xE1, b"Exif\0\0" + block))
    if form == "PNG":
        return png(packed(rgb, 8), 8, 2, chunk(b"eXIf", block))
    return webp_with(encoded(rgb, "WEBP", lossless=True), WIDTH, HEIGHT, block)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_strange_exif_tags_turn_the_picture_and_no_more(
    tmp_path: Path, rgb: NDArray[np.uint8], form: str
) -> None:
    upright = read(tmp_path, with_exif(form, rgb, exif(1)))
    for further in (*((tag,) for tag in STRANGE), STRANGE):
        found = read(tmp_path, with_exif(form, rgb, exif(6, *further)))
        np.testing.assert_array_equal(found, np.rot90(upright, -1))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", GARBAGE)
def test_an_exif_block_that_is_none_costs_nothing(
    tmp_path: Path, rgb: NDArray[np.uint8], form: str, block: bytes
) -> None:
    upright = read(tmp_path, with_exif(form, rgb, exif(1)))
    np.testing.assert_array_equal(read(tmp_path, with_exif(form, rgb, block)), upright)


def test_an_orientation_of_another_type_is_none(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    for kind, value in ((2, b"6\0\0\0"), (3, b"\x09\0\0\0"), (3, b"\0\0\0\0"), (5, b"\x08\0\0\0")):
        block = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", 0x0112, kind, 1) + value + b"\0" * 8
        assert read(tmp_path, with_exif("PNG", rgb, block)).shape == rgb.shape


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
#: Beyond the megabyte that Pillow allows a text or a profile.
LARGE = zlib.compress(b"\0" * (3 << 20))


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"iCCP", b"name\0\0" + LARGE),
        chunk(b"iCCP", b"name\0\x07" + b"unknown compression"),
        chunk(b"iCCP", b"no zero"),
        chunk(b"zTXt", b"Comment\0\0" + LARGE),
        chunk(b"zTXt", b"Comment\0\x09?"),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + LARGE),
        chunk(b"tRNS", b"\0"),
        chunk(b"gAMA", b"\0"),
        chunk(b"cHRM", b"\0"),
        chunk(b"pHYs", b""),
        chunk(b"sBIT", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"fcTL", b"\0" * 26),
        chunk(b"tEXt", b"Title\0x")[:-4] + b"\0\0\0\0",
        b"".join(chunk(b"tEXt", b"Title\0" + b"x" * 900000) for _ in range(75)),
    ],
    ids=range(15),
)
def test_nothing_beside_a_pngs_pixels_costs_them(
    tmp_path: Path, rgb: NDArray[np.uint8], broken: bytes
) -> None:
    rows = packed(rgb, 8)
    turned = np.rot90(rgb, -1)
    for said in (
        chunk(b"eXIf", exif(6)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(b"\nexif\n      32\n" + (b"Exif\0\0" + exif(6)).hex().encode()),
        ),
    ):
        for before in ((broken, said), (said, broken)):
            np.testing.assert_array_equal(read(tmp_path, png(rows, 8, 2, *before)), turned)


@pytest.mark.parametrize(
    "broken",
    [
        (0xE0, b"JFIF\0"),
        (0xE0, b"JFXX\0\x11"),
        (0xEE, b"Adobe"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"ICC_PROFILE\0\x01\x09" + b"\0" * 100),
        (0xE2, b"MPF\0MM\0*\0\0\0\x08\0\x01"),
        (0xE2, b"FPXR\0"),
        (0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>x"),
        (0xE5, b""),
        (0xFE, b"\xff\xfe\xff"),
    ],
)
def test_nothing_beside_a_jpegs_pixels_costs_them(
    tmp_path: Path, rgb: NDArray[np.uint8], broken: tuple[int, bytes]
) -> None:
    plain = encoded(rgb, "JPEG", quality=95)
    turned = np.rot90(read(tmp_path, plain), -1)
    said = (0xE1, b"Exif\0\0" + exif(6))
    also = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    for segments in ((broken, said), (said, broken), (also, broken)):
        np.testing.assert_array_equal(read(tmp_path, jpeg_with(plain, *segments)), turned)


def spans(form: str, data: bytes) -> Iterator[tuple[int, int]]:
    """Where the bytes lie that no pixel hangs on."""
    place, order = (2, "big") if form == "JPEG" else (8, "big") if form == "PNG" else (12, "little")
    while place < len(data) and data[place : place + 2] != b"\xff\xda":
        if form == "JPEG":
            size, kind, head, tail = (
                int.from_bytes(data[place + 2 : place + 4], "big") - 2,
                "",
                4,
                0,
            )
            beside = data[place + 1] in (*range(0xE0, 0xF0), 0xFE)
        else:
            first, second = data[place : place + 4], data[place + 4 : place + 8]
            length, kind_ = (first, second) if form == "PNG" else (second, first)
            size, head, tail = int.from_bytes(length, order), 8, 4 if form == "PNG" else 0  # type: ignore[arg-type]
            kind = kind_.decode("latin-1")
            beside = kind in ("eXIf", "iTXt", "tEXt", "iCCP", "pHYs", "EXIF", "XMP ", "ICCP")
            tail += size % 2 if form == "WEBP" else 0
        if beside:
            yield place + head, place + head + size
        place += head + size + tail


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_random_damage_beside_the_pixels_changes_none(
    tmp_path: Path, rgb: NDArray[np.uint8], form: str
) -> None:
    dice = random.Random(0)
    block = Image.Exif()
    block[0x0112], block[0x010F], block[0x011A] = 6, "maker", 72.0
    texts = PngInfo()
    texts.add_text("Title", "text")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options = {
        "JPEG": {"quality": 95, "xmp": XMP, "comment": b"text"},
        "PNG": {"pnginfo": texts},
        "WEBP": {"lossless": True, "xmp": XMP},
    }[form]
    data = encoded(rgb, form, exif=block, icc_profile=dice.randbytes(300), **options)
    stored = np.rot90(read(tmp_path, data), 1)
    places = list(spans(form, data))
    assert len(places) >= 3
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 5)):
            damaged[dice.randrange(*dice.choice(places))] = dice.choice(
                (0, 255, dice.randrange(256))
            )
        found = read(tmp_path, damaged)
        turns = (stored, np.rot90(stored, -1), np.rot90(stored, 2), np.rot90(stored, 1))
        ways = [way for turn in turns for way in (turn, turn[:, ::-1])]
        assert any(np.array_equal(found, way) for way in ways)


def test_a_picture_is_its_own_to_write_to(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    for orientation in (1, 6):
        found = read(tmp_path, png(packed(rgb, 8), 8, 2, chunk(b"eXIf", exif(orientation))))
        assert found.flags.c_contiguous and found.flags.writeable
