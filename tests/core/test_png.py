"""PNG files made bit by bit: the right values, or a refusal that says why."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

MADE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("picture_files.py"))))
read, refusal = MADE.read, MADE.refusal
HEIGHT, WIDTH, chunk, png, packed = MADE.HEIGHT, MADE.WIDTH, MADE.chunk, MADE.png, MADE.packed


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
