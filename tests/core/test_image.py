"""Pictures in: against numpy, for every kind a camera, a phone or a data set may hand over."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import check_image, read_image, resize_depth, resize_image

ORIENTATION = 0x0112
#: EXIF 2.3, tag 0x0112: how to turn what is stored into what was seen.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def grey(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (17, 23), dtype=np.uint8)


@pytest.fixture
def rgb(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (17, 23, 3), dtype=np.uint8)


def three(channel: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(channel[..., None], 3, axis=-1)


def read(path: Path, image: Image.Image, **options: Any) -> NDArray[np.uint8]:
    image.save(path, **options)
    return read_image(path)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_every_exif_orientation_comes_upright(
    tmp_path: Path, rgb: NDArray[np.uint8], orientation: int, name: str
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if name == "a.webp" else {}
    found = read(tmp_path / name, Image.fromarray(rgb), exif=exif, **options)
    np.testing.assert_array_equal(found, UPRIGHT[orientation](rgb))


def test_an_orientation_no_standard_knows_changes_nothing(
    tmp_path: Path, rgb: NDArray[np.uint8]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 9
    np.testing.assert_array_equal(read(tmp_path / "a.png", Image.fromarray(rgb), exif=exif), rgb)


def test_grey_becomes_three_equal_channels(tmp_path: Path, grey: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(read(tmp_path / "a.png", Image.fromarray(grey)), three(grey))


def test_black_and_white_becomes_0_and_255(tmp_path: Path, grey: NDArray[np.uint8]) -> None:
    found = read(tmp_path / "a.png", Image.fromarray(grey > 128))
    np.testing.assert_array_equal(found, three((grey > 128) * 255))


def test_alpha_is_dropped(tmp_path: Path, rgb: NDArray[np.uint8], grey: NDArray[np.uint8]) -> None:
    rgba = np.concatenate([rgb, grey[..., None]], axis=-1)
    np.testing.assert_array_equal(read(tmp_path / "a.png", Image.fromarray(rgba)), rgb)
    la = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(rgb[..., 0])])
    np.testing.assert_array_equal(read(tmp_path / "b.png", la), three(grey))


def test_a_palette_with_transparency_is_read_as_its_colours(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    colours = rng.integers(0, 256, (16, 3), dtype=np.uint8)
    indices = rng.integers(0, 16, (17, 23), dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours.tobytes())
    found = read(tmp_path / "a.png", image, transparency=bytes(range(16)))
    np.testing.assert_array_equal(found, colours[indices])


def test_a_cmyk_jpeg_is_read_as_its_ink(tmp_path: Path) -> None:
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))  # all cyan, nothing else: no red
    found = read(tmp_path / "a.jpg", ink, quality=100)
    assert np.abs(found.astype(int) - [0, 255, 255]).max() <= 2


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bits_are_scaled_and_not_clipped(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    values = rng.integers(0, 65536, (17, 23), dtype=np.uint16)
    values[0, :3] = 0, 256, 65535
    found = read(tmp_path / name, Image.fromarray(values))
    np.testing.assert_array_equal(found, three(values // 257))


def test_16_bits_in_the_other_byte_order_are_the_same(tmp_path: Path) -> None:
    values = np.arange(16 * 16, dtype=">u2").reshape(16, 16) * 257
    path = tmp_path / "a.tif"
    tags = [(256, 16), (257, 16), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16)]
    tags.append((279, 512))
    body = values.tobytes()
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    directory = struct.pack(">H", len(tags)) + entries + bytes(4)
    path.write_bytes(b"MM\0*" + struct.pack(">I", 8 + len(body)) + body + directory)
    np.testing.assert_array_equal(read_image(path), three(values // 257))


def test_16_bits_turn_upright_too(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 65536, (17, 23), dtype=np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    found = read(tmp_path / "a.png", Image.fromarray(values), exif=exif)
    np.testing.assert_array_equal(found, three(np.rot90(values // 257, -1)))


def test_16_bit_colour_keeps_its_high_byte(tmp_path: Path, rng: np.random.Generator) -> None:
    """A PNG of 16 bits per channel, which Pillow reads and doesn't write."""
    values = rng.integers(0, 65536, (17, 23, 3)).astype(">u2")
    path = tmp_path / "a.png"
    path.write_bytes(png(23, 17, 16, 2, b"".join(b"\0" + row.tobytes() for row in values)))
    np.testing.assert_array_equal(read_image(path), values >> 8)


def test_32_bit_integers_pass_within_16_bits_and_no_further(tmp_path: Path) -> None:
    values = np.full((16, 16), 65535, np.int32)
    np.testing.assert_array_equal(
        read(tmp_path / "a.tif", Image.fromarray(values)), three(values // 257)
    )
    for value in (65536, -1):
        values[3, 3] = value
        with pytest.raises(ImageError, match=r"b\.tif: its 32-bit values leave 0\.\.65535"):
            read(tmp_path / "b.tif", Image.fromarray(values))


def test_float_values_are_refused_as_they_have_no_range(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.tif: float values have no fixed range"):
        read(tmp_path / "a.tif", Image.fromarray(np.ones((16, 16), np.float32)))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(form: str, side: int = 64) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, format=form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("half.jpg", encoded("JPEG")[:3000], "damaged or truncated"),
        ("half.png", encoded("PNG")[:3000], "damaged or truncated"),
        ("half.tif", encoded("TIFF")[:3000], "damaged or truncated|not a picture"),
        ("text.png", b"just some text\n" * 20, "not a picture that can be read"),
        ("empty.jpg", b"", "not a picture that can be read"),
        ("dot.png", png(1, 1, 8, 2, bytes(4)), "1x1 pixels is too small: .* at least 16"),
        ("line.png", png(20000, 10, 8, 0, bytes(200010)), "20000x10 pixels is too small"),
        ("bomb.png", png(60000, 60000, 8, 2, b""), "too many pixels"),
        ("huge.png", png(2**31 - 1, 2**31 - 1, 16, 6, b""), "too many pixels"),
        ("big.png", png(12000, 12000, 8, 2, b""), "damaged or truncated"),
    ],
)
def test_what_cant_be_used_is_named_with_the_rule(
    tmp_path: Path, name: str, content: bytes, rule: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rule) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for name, rule in (
        ("folder.png", "not a file"),
        ("missing.png", "no such file"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(ImageError, match=f"{name}: .*{rule}"):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match="/dev/zero: not a file"):
        read_image(Path("/dev/zero"))


def test_a_large_picture_is_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rgb: NDArray[np.uint8]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # Pillow warns from here on to its double
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read(tmp_path / "a.png", Image.fromarray(rgb)), rgb)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM"])
def test_random_damage_is_read_or_refused_in_words(tmp_path: Path, form: str) -> None:
    rng = random.Random(0)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = io.BytesIO()
    options = {} if form in ("BMP", "PPM") else {"exif": exif}
    Image.new("RGB", (32, 24), (9, 99, 199)).save(file, format=form, **options)
    path = tmp_path / "damaged"
    for _ in range(150):
        data = bytearray(file.getvalue())
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            found = read_image(path)
        except ImageError as error:
            assert str(path) in str(error)
        else:
            assert found.dtype == np.uint8 and found.ndim == 3


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ([[1]], "not list"),
        (np.zeros((20, 20, 3), np.float32), r"not float32 \[20, 20, 3\]"),
        (np.zeros((20, 20), np.uint8), r"not uint8 \[20, 20\]"),
        (np.zeros((1, 20, 20, 3), np.uint8), r"not uint8 \[1, 20, 20, 3\]"),
        (np.zeros((20, 20, 4), np.uint8), "3 channels, not 4: convert it to RGB"),
        (np.zeros((15, 20, 3), np.uint8), "20x15 pixels is too small"),
        (np.zeros((0, 20, 3), np.uint8), "20x0 pixels is too small"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(image: Any, found: str) -> None:
    with pytest.raises(ImageError, match=found):
        check_image(image)


def test_a_picture_is_halved_by_the_mean_of_its_triangle(rgb: NDArray[np.uint8]) -> None:
    """Antialiased bilinear: each pixel is the tent-weighted mean of all it covers."""
    ramp = np.tile(np.arange(0, 240, 8, dtype=np.uint8)[:, None, None], (1, 32, 3))
    found = resize_image(ramp, 15, 16)
    expected = np.arange(0, 240, 8, dtype=np.float64).reshape(15, 2).mean(axis=1)
    np.testing.assert_allclose(found[1:-1, 5, 0], expected[1:-1], atol=1)
    assert resize_image(rgb, 17, 23) is rgb
    np.testing.assert_array_equal(
        resize_image(rgb[:, ::-1], 40, 50), resize_image(rgb[:, ::-1].copy(), 40, 50)
    )


def test_depth_keeps_its_range_its_planes_and_can_be_written_to(rng: np.random.Generator) -> None:
    noise = rng.random((64, 96), dtype=np.float32)
    for size in ((70, 101), (33, 47), (480, 640)):
        found = resize_depth(noise, *size)
        assert found.shape == size and found.dtype == np.float32
        assert found.min() >= 0.0 and found.max() <= 1.0
        found *= 2.0
    plane = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))
    doubled = resize_depth(plane, 128, 192)
    positions = ((np.arange(192) + 0.5) / 2 - 0.5) / 95
    np.testing.assert_allclose(doubled[64, 2:-2], positions[2:-2], atol=1e-6)
