"""Picture files made bit by bit: the right values, or a refusal that says why."""

from __future__ import annotations

import io
import itertools
import random
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import read_image, read_picture

HEIGHT, WIDTH = 17, 23
Array = NDArray[Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def read(tmp_path: Path, data: bytes) -> NDArray[np.uint8]:
    (tmp_path / "picture").write_bytes(data)
    return read_image(tmp_path / "picture")


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read(tmp_path, data)
    return str(caught.value).removeprefix(f"{tmp_path}/picture: ")


# --- PNG -----------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: list[bytes], bits: int, colour: int, *before: bytes, width: int = WIDTH) -> bytes:
    """Unfiltered rows; ``before``: chunks between the header and the pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def packed(values: Array, bits: int) -> list[bytes]:
    """[H,W,S] -> rows of bytes, the upper bits first."""
    single = values.astype(np.int64)[..., None] >> np.arange(bits)[::-1] & 1
    rows = np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1)
    return [row.tobytes() for row in rows]


@pytest.mark.parametrize(
    ("colour", "samples", "bits"),
    [
        *((0, 1, bits) for bits in (1, 2, 4, 8, 16)),
        *((3, 1, bits) for bits in (1, 2, 4, 8)),
        *itertools.product((2,), (3,), (8, 16)),
        *itertools.product((4,), (2,), (8, 16)),
        *itertools.product((6,), (4,), (8, 16)),
    ],
)
def test_every_png_colour_type_and_depth(
    tmp_path: Path, rng: np.random.Generator, colour: int, samples: int, bits: int
) -> None:
    values = rng.integers(0, 1 << bits, (HEIGHT, WIDTH, samples))
    palette = rng.integers(0, 256, (1 << min(bits, 8), 3), dtype=np.uint8)
    before = [chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", b"\0\x80")] if colour == 3 else []
    found = read(tmp_path, png(packed(values, bits), bits, colour, *before))
    if colour == 3:
        np.testing.assert_array_equal(found, palette[values[..., 0]])
    else:
        expected = values[..., : 3 if colour in (2, 6) else 1] * 255 / ((1 << bits) - 1)
        assert np.abs(found - expected).max() < 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_significant_bits_at_the_bottom_are_the_range(
    tmp_path: Path, rng: np.random.Generator, bits: int
) -> None:
    """PNG asks for them at the top; cameras that leave them below say so in sBIT all the same."""
    values = rng.integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    said = chunk(b"sBIT", bytes([bits]))
    low = read(tmp_path, png(packed(values, 16), 16, 0, said))
    np.testing.assert_array_equal(low[..., :1], values * 255 // ((1 << bits) - 1))
    high = read(tmp_path, png(packed(values << 16 - bits, 16), 16, 0, said))
    np.testing.assert_array_equal(high[..., :1], (values << 16 - bits) // 257)
    dark = np.minimum(values, 15) << 16 - bits  # a night at the top is no day at the bottom
    np.testing.assert_array_equal(
        read(tmp_path, png(packed(dark, 16), 16, 0, said))[..., :1], dark // 257
    )
    unsaid = read(tmp_path, png(packed(values, 16), 16, 0))
    np.testing.assert_array_equal(unsaid[..., :1], values // 257)


def test_a_critical_chunk_that_is_unknown_is_named(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    rows = packed(rng.integers(0, 256, (HEIGHT, WIDTH, 3)), 8)
    assert "'CgBI' chunk" in refusal(tmp_path, png(rows, 8, 2, chunk(b"CgBI", b"\0" * 4)))


# --- what stands beside the pixels ---------------------------------------------------------------


def exif(orientation: int, *further: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block; ``further``: (tag, type, count, value) after the orientation."""
    entries = [(0x0112, 3, 1, struct.pack("<HH", orientation, 0)), *further]
    packed_ = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed_ + b"\0" * 4


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


def encoded(image: Array, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=form, **options)
    return file.getvalue()


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


# --- PNM and BMP ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "maximum", [1, 3, 100, 254, 255, 256, 1000, 1023, 4095, 16383, 65534, 65535]
)
@pytest.mark.parametrize(("name", "samples"), [("P5", 1), ("P6", 3), ("P2", 1), ("P3", 3)])
def test_the_largest_value_of_a_pnm_is_white(
    tmp_path: Path, rng: np.random.Generator, maximum: int, name: str, samples: int
) -> None:
    values = rng.integers(0, maximum + 1, (HEIGHT, WIDTH, samples))
    if name in ("P2", "P3"):
        body = b" ".join(str(value).encode() for value in values.ravel())
    else:
        body = values.astype(">u2" if maximum > 255 else "u1").tobytes()
    head = f"{name}\n# made by hand\n{WIDTH} {HEIGHT}\n{maximum}\n".encode()
    found = read(tmp_path, head + body)
    assert np.abs(found - values * 255 / maximum).max() < 1


def test_a_bitmap_of_pnm_is_black_where_it_is_1(tmp_path: Path, rng: np.random.Generator) -> None:
    bits = rng.integers(0, 2, (HEIGHT, WIDTH, 1))
    found = read(tmp_path, f"P4 {WIDTH} {HEIGHT}\n".encode() + b"".join(packed(bits, 1)))
    np.testing.assert_array_equal(found[..., :1], (1 - bits) * 255)


def bmp(
    rows: list[bytes],
    bits: int,
    palette: Array | None = None,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    upside_down: bool = False,
) -> bytes:
    lines = [row + b"\0" * (-len(row) % 4) for row in rows]
    body = b"".join(lines if upside_down else lines[::-1])
    colours = [] if palette is None else [bytes([*map(int, c[::-1]), 0]) for c in palette]
    table = b"".join(colours) + struct.pack(f"<{len(masks)}I", *masks)
    height = -len(rows) if upside_down else len(rows)
    sizes = (40, WIDTH, height, 1, bits, compression, len(body), 0, 0, len(colours), 0)
    start = 54 + len(table)
    head = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    return head + struct.pack("<IiiHHIIiiII", *sizes) + table + body


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize(
    "kind", ["colours", "greys", "negative", "few", "black and white", "index"]
)
def test_a_bmp_has_its_palettes_colours_or_is_refused(
    tmp_path: Path, rng: np.random.Generator, bits: int, kind: str, upside_down: bool
) -> None:
    count = 1 << bits
    ramp = np.repeat((np.arange(count) * 255 // (count - 1))[:, None], 3, axis=1)
    palette = {
        "colours": rng.integers(0, 256, (count, 3)),
        "greys": ramp,
        "negative": 255 - ramp,
        "few": rng.integers(0, 256, (max(2, count // 2), 3)),
        "black and white": np.array([[0] * 3, [255] * 3]),
        "index": np.repeat(np.arange(count)[:, None], 3, axis=1),
    }[kind]
    values = rng.integers(0, len(palette), (HEIGHT, WIDTH, 1))
    data = bmp(packed(values, bits), bits, palette, upside_down=upside_down)
    misread = (kind, bits) in {("black and white", 4), ("black and white", 8), ("index", 4)}
    if misread or (kind, bits) == ("index", 1):
        try:
            found = read(tmp_path, data)
        except ImageError as error:
            assert "palette of greys can't be read" in str(error)
        else:
            np.testing.assert_array_equal(found, palette[values[..., 0]])
    else:
        np.testing.assert_array_equal(read(tmp_path, data), palette[values[..., 0]])


@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (24, ()),
        (32, ()),
        (32, (0xFF0000, 0xFF00, 0xFF)),
        (32, (0xFF000000, 0xFF0000, 0xFF00)),
        (16, ()),
        (16, (0xF800, 0x7E0, 0x1F)),
        (16, (0x7C00, 0x3E0, 0x1F)),
    ],
)
def test_a_bmp_of_true_colours(
    tmp_path: Path, rng: np.random.Generator, bits: int, masks: tuple[int, ...]
) -> None:
    fields = masks or ((0x7C00, 0x3E0, 0x1F) if bits == 16 else (0xFF0000, 0xFF00, 0xFF))
    shifts = [(mask & -mask).bit_length() - 1 for mask in fields]
    whites = np.array([mask >> shift for mask, shift in zip(fields, shifts, strict=True)])
    values = rng.integers(0, 1 << 16, (HEIGHT, WIDTH, 3)) % (whites + 1)
    joined = sum(values[..., n].astype("<u4") << shift for n, shift in enumerate(shifts))
    rows = [np.ascontiguousarray(row).view("u1").reshape(-1, 4)[:, : bits // 8] for row in joined]
    data = bmp([row.tobytes() for row in rows], bits, None, 3 if masks else 0, masks)
    assert np.abs(read(tmp_path, data) - values * 255 / whites).max() <= 1


#: A JPEG whose frame header says 12 bits a sample.
TWELVE_BITS = re.sub(
    rb"(\xff\xc0..)\x08", b"\\1\x0c", encoded(np.zeros((20, 20), np.uint8), "JPEG"), flags=re.DOTALL
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            bmp([b"\0" * 6] * HEIGHT, 2),
            r"of a kind that can't be read: Unsupported BMP pixel depth",
        ),
        (bmp([b"\0" * 46] * 17, 16, None, 3, (0xF00, 0xF0, 0xF)), "Unsupported BMP bitfields"),
        (bmp([b"\0" * 69] * HEIGHT, 24, None, 4), r"Unsupported BMP compression \(4\)"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC can't be read: save it as JPEG or PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL can't be read: save it as"),
        (b"P7\nWIDTH 20\nHEIGHT 20\n", "PAM can't be read"),
        (b"Pf\n20 20\n-1.0\n" + b"\0" * 1600, "float values have no fixed range"),
        (TWELVE_BITS, "cannot handle 12-bit layers"),
    ],
)
def test_unsupported_is_not_called_damaged(tmp_path: Path, data: bytes, reason: str) -> None:
    said = refusal(tmp_path, data)
    assert re.search(reason, said) and "damaged" not in said


# --- sizes and several pictures ------------------------------------------------------------------


def test_200_megapixels_are_a_phones_photo_and_too_many_have_a_way_out(tmp_path: Path) -> None:
    def sized(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")

    assert refusal(tmp_path, sized(16320, 12240)).startswith("damaged or truncated")
    said = refusal(tmp_path, sized(40000, 20000))
    assert (
        said == "too many pixels: 40000x20000, and the limit is 536 million: make it smaller first"
    )


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_read_and_known_as_such(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (20, 16), colour) for colour in ("red", "blue")]
    for count in (1, 2):
        file, further = io.BytesIO(), frames[1:count]
        options = {"lossless": True} if form == "WEBP" else {}
        frames[0].save(file, form, save_all=count > 1, append_images=further, **options)
        (tmp_path / "picture").write_bytes(file.getvalue())
        found = read_picture(tmp_path / "picture")
        assert found.several is (count > 1)
        assert (found.image == (255, 0, 0)).all()


def test_a_picture_is_its_own_to_write_to(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    for orientation in (1, 6):
        found = read(tmp_path, png(packed(rgb, 8), 8, 2, chunk(b"eXIf", exif(orientation))))
        assert found.flags.c_contiguous and found.flags.writeable
