"""PNM and BMP files made bit by bit: the right values, or a refusal that says why."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from apdepth_deploy.errors import ImageError

MADE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("picture_files.py"))))
read = MADE.read
HEIGHT, WIDTH, packed, bmp = MADE.HEIGHT, MADE.WIDTH, MADE.packed, MADE.bmp


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
