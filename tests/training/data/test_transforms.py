"""Flips, crops, sizes and the normalisation of depth."""

from __future__ import annotations

import numpy as np
import pytest

from apdepth_deploy.errors import DataError
from apdepth_deploy.training.data.sample import Sample
from apdepth_deploy.training.data.transforms import (
    crop,
    flip,
    normalise_depth,
    random_crop,
    resize_sample,
)


def make(height: int = 6, width: int = 8) -> Sample:
    """Every pixel says where it is: red its row, green its column, depth both."""
    rows, columns = np.indices((height, width))
    image = np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
    depth = (1 + 100 * rows + columns).astype(np.float32)
    return Sample("a", image, depth, columns % 3 > 0)


def agree(sample: Sample) -> bool:
    """Picture and depth still tell the same place of every pixel."""
    return bool(
        (sample.depth == 1 + 100.0 * sample.image[..., 0] + sample.image[..., 1]).all()
        and (sample.valid == (sample.image[..., 1] % 3 > 0)).all()
    )


def test_flip_mirrors_all_three() -> None:
    mirrored = flip(make())
    assert agree(mirrored)
    assert mirrored.image[0, :, 1].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    np.testing.assert_array_equal(flip(mirrored).depth, make().depth)


def test_crops_stay_inside_and_together() -> None:
    window = crop(make(), 2, 3, 3, 4)
    assert agree(window) and window.depth[0, 0] == 1 + 200 + 3 and window.depth.shape == (3, 4)
    rng = np.random.default_rng(0)
    corners = {tuple(random_crop(make(), 3, 4, rng).image[0, 0, :2]) for _ in range(300)}
    assert corners == {(y, x) for y in range(4) for x in range(5)}


@pytest.mark.parametrize("size", [(3, 4), (12, 16), (5, 7)])
def test_depth_is_never_mixed(size: tuple[int, int]) -> None:
    sample = make()
    resized = resize_sample(sample, *size)
    assert resized.image.shape == (*size, 3) and resized.depth.shape == resized.valid.shape == size
    assert np.isin(resized.depth, sample.depth).all()
    # A pixel takes the one that its centre lies in.
    y = [int((i + 0.5) * 6 / size[0]) for i in range(size[0])]
    np.testing.assert_array_equal(resized.depth[:, 0], sample.depth[y, int(0.5 * 8 / size[1])])


def test_normalised_depth() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (40, 50)).astype(np.float32)
    valid = rng.random(depth.shape) > 0.3
    depth[~valid] = 1000.0
    low, high = np.quantile(depth[valid].astype(np.float64), [0.02, 0.98])
    expected = np.clip((depth.astype(np.float64) - low) / (high - low) * 2 - 1, -1, 1)
    made = normalise_depth(depth, valid)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert made[valid].min() == -1 and made[valid].max() == 1


@pytest.mark.parametrize(
    ("depth", "count", "message"), [(2.0, 1000, "flat"), (None, 10, "known at 10 pixels")]
)
def test_depth_that_says_nothing_is_refused(depth: float, count: int, message: str) -> None:
    values = (
        np.arange(1000, dtype=np.float32).reshape(20, 50)
        if depth is None
        else np.full((20, 50), depth, np.float32)
    )
    valid = (np.arange(1000) < count).reshape(20, 50)
    with pytest.raises(DataError, match=message):
        normalise_depth(values, valid)
