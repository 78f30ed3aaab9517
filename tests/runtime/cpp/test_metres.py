"""apdepth_fit and apdepth_metres: Python's metres from the same anchors, and its words where there
are none."""

from __future__ import annotations

import ctypes
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import fit_metres
from apdepth_deploy.errors import ImageError

Depth = NDArray[np.float32]
Anchors = NDArray[np.float32]

SIZES = [(48, 64), (120, 160), (160, 120), (2, 2), (3, 50), (50, 2), (37, 37), (240, 320)]
#: Where anchors lie: anywhere, in a corner, in a LiDAR's rings, and where a third isn't known.
PLACES = ("anywhere", "corner", "rings", "unknown")


class Found(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_int) for name in ("valid", "anchors", "inliers")],
        *[(name, ctypes.c_double) for name in ("scale", "shift")],
        ("covariance", ctypes.c_double * 4),
        ("median_error", ctypes.c_double),
        ("reach", ctypes.c_double * 2),
        ("held_out_error", ctypes.c_double),
        ("why", ctypes.c_char_p),
    ]


@dataclasses.dataclass
class Metric:
    """An apdepth_metric."""

    api: Any
    handle: ctypes.c_void_p

    def fit(self, depth: Depth, anchors: Anchors, skip_field: bool = False) -> Found:
        found, options = Found(), ctypes.c_int(skip_field)
        fit = self.api.lib.apdepth_fit
        rows = np.ascontiguousarray(anchors, np.float32)
        self.api.check(
            fit(self.handle, *picture(depth), address(rows), len(rows), ctypes.byref(options),
                ctypes.byref(found))
        )  # fmt: skip
        return found

    def metres(self, depth: Depth) -> Depth:
        metres = np.zeros_like(depth)
        call = self.api.lib.apdepth_metres
        self.api.check(call(self.handle, *picture(depth), address(metres)))
        return metres


def address(array: NDArray[np.float32]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def picture(depth: Depth) -> tuple[ctypes.c_void_p, int, int]:
    return address(depth), *depth.shape


def make_metric(api: Any) -> Metric:
    handle = ctypes.c_void_p()
    api.check(api.lib.apdepth_metric_new(ctypes.byref(handle)))
    return Metric(api, handle)


@pytest.fixture(scope="module")
def metric(api: Any) -> Iterator[Metric]:
    """One handle for all of a module's frames: sizes and counts grow and shrink."""
    made = make_metric(api)
    yield made
    api.lib.apdepth_metric_close(made.handle)


def draw_depth(rng: np.random.Generator, height: int, width: int) -> Depth:
    """Slopes and waves, with boxes before them."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    depth = rng.uniform(0.2, 0.8) * y + rng.uniform(-0.5, 0.5) * x
    depth += 0.2 * np.sin(x * rng.uniform(2, 9) + rng.uniform(0, 6))
    for _ in range(rng.integers(0, 5)):
        rows, columns = (np.sort(rng.integers(0, side + 1, 2)) for side in (height, width))
        depth[slice(*rows), slice(*columns)] = rng.uniform(0, 1)
    depth -= depth.min()
    scaled: Depth = (depth / max(depth.max(), 1e-9)).astype(np.float32)
    return scaled


def draw_frame(seed: int) -> tuple[Depth, Anchors]:
    """A frame with 1 to 2,900 anchors, up to 40 % of them wrong, with a sigma in a quarter of the
    frames."""
    rng = np.random.default_rng(seed)
    height, width = SIZES[seed % len(SIZES)]
    place = PLACES[seed // len(SIZES) % len(PLACES)]
    depth = draw_depth(rng, height, width)
    count = int(2 ** rng.uniform(0, 11.5))
    x, y = rng.uniform(-0.5, width - 0.5, count), rng.uniform(-0.5, height - 0.5, count)
    if place == "corner":
        x, y = x / 4, y / 4
    if place == "rings":
        y = np.round(y / 16) * 16
    column, row = (np.clip(np.rint(p).astype(int), 0, s - 1) for p, s in ((x, width), (y, height)))
    local = 0.2 * np.sin((5 * column + 3 * row) / max(height, width))
    z = (rng.uniform(0.5, 20) * depth[row, column] + rng.uniform(-0.3, 3)) * np.exp(local)
    z *= 1 + 0.01 * rng.standard_normal(count)
    wrong = rng.permutation(count)[: int(count * rng.choice([0.0, 0.1, 0.4]))]
    z[wrong] = rng.uniform(0.1, 30, len(wrong))
    anchors = np.stack([x, y, z, np.zeros(count)], axis=1).astype(np.float32)
    if place == "unknown":
        anchors[:, 3] = rng.uniform(0.005, 0.5, count)
        depth[: height // 3] = np.nan
    return depth, anchors


def for_python(anchors: Anchors) -> NDArray[np.float64]:
    """With the sigma that C takes 0 for."""
    rows = anchors.astype(np.float64)
    unsaid = rows[:, 3] == 0
    rows[unsaid, 3] = 0.02 + 0.02 * rows[unsaid, 2]
    return rows


def same(found: Any, expected: Any, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-12)


def compare(metric: Metric, depth: Depth, anchors: Anchors, field: bool) -> tuple[bool, bool]:
    """Whether the fit is valid, and has a field; in C as in Python."""
    expected = fit_metres(depth, for_python(anchors), field=field)
    found = metric.fit(depth, anchors, skip_field=not field)
    assert (bool(found.valid), found.why.decode()) == (expected.valid, expected.why)
    assert (found.anchors, found.inliers) == (expected.anchors, expected.inliers)
    same([found.scale, found.shift], [expected.scale, expected.shift])
    same(list(found.covariance), expected.covariance.ravel())
    same(found.median_error, expected.median_error)
    same(list(found.reach), expected.reach)
    assert np.isnan(found.held_out_error) == (expected.field is None)
    if expected.field is not None:
        same(found.held_out_error, expected.field.error)
    same(metric.metres(depth), expected.metres(depth))
    return expected.valid, expected.field is not None


def test_metres_are_those_of_python(metric: Metric) -> None:
    told = [compare(metric, *draw_frame(seed), field=seed % 5 > 0) for seed in range(240)]
    valid, with_field = np.sum(told, axis=0)
    assert valid > 180 and with_field > 100  # not the same because there are none


@pytest.mark.parametrize("count", [15, 16, 1024, 1025, 10_000])
@pytest.mark.parametrize("shape", [(480, 640), (640, 480)])
def test_metres_of_a_cameras_frame(metric: Metric, shape: tuple[int, int], count: int) -> None:
    rng = np.random.default_rng(count)
    depth = draw_depth(rng, *shape)
    x, y = rng.integers(0, shape[1], count), rng.integers(0, shape[0], count)
    z = (6.0 * depth[y, x] + 0.8) * np.exp(0.3 * np.sin(x / 90) * np.cos(y / 70))
    z[: count // 5] *= rng.uniform(0.3, 3, count // 5)
    anchors = np.stack([x, y, z, np.zeros(count)], axis=1).astype(np.float32)
    valid, with_field = compare(metric, depth, anchors, field=True)
    assert valid and (with_field or count < 100) and not (with_field and count < 16)


@pytest.mark.parametrize(
    "anchors",
    [
        np.zeros((0, 4)),
        [[3, 3, 2, 0]],
        [[3, 3, 2.0, 0], [3, 40, 2.1, 0], [3, 60, 1.9, 0]],
        [[3, 3, 5, 0], [90, 3, 1, 0]],
        [[-9, 3, 5, 0], [99, 3, 1, 0], [5, 64, 2, 0]],
        [[3, 3, -5, 0], [90, 3, np.nan, 0], [5, 6, 0, 0], [np.inf, 6, 2, 0]],
        [[3, 3, 5, -1], [90, 3, 9, np.nan]],
    ],
)
def test_what_tells_no_metres_says_so_in_pythons_words(metric: Metric, anchors: Any) -> None:
    ramp = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))
    valid, _ = compare(metric, ramp, np.asarray(anchors, np.float32), field=True)
    assert not valid


def test_anchors_of_nowhere_are_judged_as_in_python(metric: Metric) -> None:
    ramp = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))
    said = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(4, 40))
        z = rng.uniform(0.5, 40, count) if seed % 2 else 10 ** rng.uniform(-1, 2, count)
        columns = [rng.uniform(0, 95, count), rng.uniform(0, 63, count), z]
        sigma = np.full(count, rng.choice([0.001, 0.01, 0.1, 1]))
        anchors = np.stack([*columns, sigma], axis=1).astype(np.float32)
        compare(metric, ramp, anchors, field=True)
        said.add(metric.fit(ramp, anchors).why.split(b" ")[0])
    assert said >= {b"", b"only", b"anchors"}


def test_values_that_no_depth_has_are_met_alike(metric: Metric) -> None:
    """Infinities, and depth beyond 0..1."""
    for seed in range(24):
        depth, anchors = draw_frame(8 * seed + 1)
        rng = np.random.default_rng(seed)
        odd = rng.random(depth.shape) < 0.02
        depth[odd] = rng.choice(np.float32([np.nan, np.inf, -np.inf, 0, -2, 3]), odd.sum())
        compare(metric, depth, anchors, field=True)


def test_another_size_is_refused_in_pythons_words(metric: Metric, api: Any) -> None:
    depth, anchors = draw_frame(1)
    assert metric.fit(depth, anchors).valid
    half = np.ascontiguousarray(depth[::2, ::2])
    with pytest.raises(ImageError) as expected:
        fit_metres(depth, for_python(anchors)).metres(half)
    with pytest.raises(Exception) as refused:
        metric.metres(half)
    assert refused.value.status == "image"  # type: ignore[attr-defined]
    # What to do about it is said in each language's own terms.
    in_c = str(expected.value).replace(
        "pass field=False to fit_metres", "set skip_field for apdepth_fit"
    )
    assert str(refused.value) == in_c
    with pytest.raises(ImageError) as expected:
        fit_metres(depth[:1], anchors)
    with pytest.raises(Exception) as refused:
        metric.fit(np.ascontiguousarray(depth[:1]), anchors)
    assert str(refused.value) == str(expected.value)


def test_handles_of_several_threads_know_nothing_of_each_other(api: Any) -> None:
    frames = [draw_frame(seed) for seed in range(8, 12)]
    alone = make_metric(api)
    expected = []
    for depth, anchors in frames:
        alone.fit(depth, anchors)
        expected.append(alone.metres(depth))
    api.lib.apdepth_metric_close(alone.handle)
    wrong: list[int] = []

    def work(number: int) -> None:
        own = make_metric(api)
        depth, anchors = frames[number]
        for _ in range(20):
            own.fit(depth, anchors)
            if not np.array_equal(own.metres(depth), expected[number], equal_nan=True):
                wrong.append(number)
        api.lib.apdepth_metric_close(own.handle)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
