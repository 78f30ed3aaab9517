"""The stabiliser and points in C give Python's numbers, for streams and scenes of every kind."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import Stabilizer
from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.pictures.image import resize_depth, resize_image
from apdepth_deploy.runtime.metric.camera import Camera
from apdepth_deploy.runtime.metric.points import cloud

Stream = Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]
#: What the two may differ by, at depth of about 1.
CLOSE = 1e-5


class Intrinsics(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in ("fx", "fy", "cx", "cy")]


class PointOptions(ctypes.Structure):
    _fields_ = [("ratio", ctypes.c_double), ("spacing", ctypes.c_int), ("every", ctypes.c_int)]


def address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@dataclasses.dataclass
class Steady:
    """An apdepth_stabilizer."""

    api: Any
    handle: ctypes.c_void_p

    def __call__(self, frame: NDArray[Any], depth: NDArray[Any]) -> NDArray[np.float32]:
        result = np.full(depth.shape, np.nan, np.float32)
        height, width = depth.shape
        stride = ctypes.c_size_t(frame.strides[0])
        self.api.check(
            self.api.lib.apdepth_stabilize(
                self.handle, address(frame), height, width, stride, address(depth), address(result)
            )
        )
        return result

    @property
    def age(self) -> int:
        age = ctypes.c_longlong()
        self.api.check(self.api.lib.apdepth_stabilizer_age(self.handle, ctypes.byref(age)))
        return age.value


@pytest.fixture
def steady(api: Any) -> Iterator[Steady]:
    handle = ctypes.c_void_p()
    api.check(api.lib.apdepth_stabilizer_new(ctypes.byref(handle)))
    yield Steady(api, handle)
    api.lib.apdepth_stabilizer_close.restype = None
    api.lib.apdepth_stabilizer_close(handle)


# --- streams -------------------------------------------------------------------------------------


def world(seed: int, height: int = 300, width: int = 400) -> tuple[NDArray[Any], NDArray[Any]]:
    """float picture [H,W,3] of 255 and depth [H,W] of a large scene to look at parts of."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 210, (height // 12, width // 12, 3), dtype=np.uint8)
    depth = rng.random((height // 20, width // 20), dtype=np.float32)
    slope = np.linspace(0.3, 0, height, dtype=np.float32)[:, None]
    picture = resize_image(coarse, height, width).astype(np.float64)
    return picture, 0.2 + 0.4 * resize_depth(depth, height, width) + slope


def crops(
    path: Callable[[int], tuple[float, float]],
    size: tuple[int, int] = (96, 128),
    seed: int = 0,
    frames: int = 30,
    light: Callable[[int], float] = lambda _: 0.0,
    wrong: Callable[[int], tuple[float, float]] = lambda _: (1.0, 0.0),
) -> Stream:
    """A camera that looks at parts of a scene; noise and the model's error are each frame's own."""
    rng = np.random.default_rng(seed + 1)
    picture, depth = world(seed, size[0] + 200, size[1] + 250)
    for number in range(frames):
        y, x = (round(step) for step in path(number))
        part = slice(y, y + size[0]), slice(x, x + size[1])
        noisy = picture[part] + light(number) + rng.normal(0, 2.5, (*size, 3))
        scale, shift = wrong(number)
        found = scale * depth[part] + shift + 0.02 * rng.standard_normal(size)
        yield np.clip(noisy, 0, 255).round().astype(np.uint8), found.astype(np.float32)


def shaken(number: int) -> tuple[float, float]:
    return 50 + 4 * np.sin(0.9 * number), 60 + 1.3 * number + 3 * np.cos(1.7 * number)


def cut() -> Stream:
    yield from crops(shaken, frames=12)
    yield from crops(shaken, seed=7, frames=12)


def two_sizes() -> Stream:
    for size in ((97, 131), (40, 33), (97, 131)):
        yield from crops(shaken, size, frames=8)


def one_pixel_wild() -> Stream:
    for number, (frame, depth) in enumerate(crops(shaken, frames=20)):
        if number == 9:
            depth[50, 51] = 1e30
        yield frame, depth


def a_thing_that_passes() -> Stream:
    thing = world(5)[0]
    for number, (frame, depth) in enumerate(crops(lambda _: (50, 60))):
        left = 4 * number
        part = slice(30, 70), slice(left, left + 30)
        frame[part] = thing[: frame[part].shape[0], : frame[part].shape[1]].astype(np.uint8)
        depth[part] = 0.05
        yield frame, depth


def flat() -> Stream:
    for value in (0.5, 0.5, 0.51, 0.4, 0.5):
        yield np.full((48, 64, 3), 90, np.uint8), np.full((48, 64), value, np.float32)


def shaking_scale(number: int) -> tuple[float, float]:
    return 1 + 0.15 * np.sin(2.1 * number), 0.1 * np.cos(1.3 * number)


STREAMS: dict[str, Callable[[], Stream]] = {
    "still": lambda: crops(lambda _: (40, 60)),
    "pan of 0.3": lambda: crops(lambda k: (40, 60 + 0.3 * k)),
    "pan of 3": lambda: crops(lambda k: (40, 10 + 3 * k)),
    "rise of 5": lambda: crops(lambda k: (180 - 5 * k, 60)),
    "shaken": lambda: crops(shaken),
    "of odd sides": lambda: crops(shaken, (67, 101)),
    "small": lambda: crops(shaken, (16, 16)),
    "wide": lambda: crops(shaken, (17, 90)),
    "large": lambda: crops(shaken, (480, 640), frames=10),
    "darker and lighter": lambda: crops(lambda _: (40, 60), light=lambda k: 13 * np.sin(k)),
    "of a scale that jumps": lambda: crops(shaken, wrong=shaking_scale),
    "of another scale": lambda: crops(shaken, wrong=lambda k: (40, 7) if k else (1, 0)),
    "cut": cut,
    "of two sizes": two_sizes,
    "one pixel wild": one_pixel_wild,
    "a thing that passes": a_thing_that_passes,
    "flat": flat,
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_steadied_as_in_python(steady: Steady, name: str) -> None:
    expected = Stabilizer()
    ages = []
    for frame, depth in STREAMS[name]():
        right, found = expected(frame, depth), steady(frame, depth)
        np.testing.assert_allclose(found, right, rtol=CLOSE, atol=CLOSE)
        assert steady.age == expected.age
        ages.append(expected.age)
    cuts = {"cut": [1, 13], "of two sizes": [1, 9, 17]}.get(name, [1])
    assert [place + 1 for place, age in enumerate(ages) if age == 1] == cuts


def test_rows_with_gaps_are_the_same_picture(steady: Steady) -> None:
    expected = Stabilizer()
    for frame, depth in crops(shaken, frames=5):
        wide = np.full((96, 135, 3), 77, np.uint8)
        wide[:, :128] = frame
        np.testing.assert_allclose(steady(wide[:, :128], depth), expected(frame, depth), atol=CLOSE)


def test_depth_that_isnt_finite_is_refused_in_pythons_words(steady: Steady) -> None:
    frame, depth = next(crops(shaken, frames=1))
    depth[5, 7] = np.nan
    with pytest.raises(ImageError) as right:
        Stabilizer()(frame, depth)
    with pytest.raises(Exception, match="NaN or Inf") as found:
        steady(frame, depth)
    assert str(found.value) == str(right.value)


# --- points --------------------------------------------------------------------------------------


def points(
    api: Any, z: NDArray[np.float32], image: NDArray[np.uint8], camera: Any, **options: Any
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    xyz, rgb = np.empty((z.size, 3), np.float32), np.empty((z.size, 3), np.uint8)
    count = ctypes.c_size_t()
    found = api.lib.apdepth_points(
        address(z),
        address(image),
        *z.shape,
        ctypes.c_size_t(image.strides[0]),
        ctypes.byref(Intrinsics(camera.fx, camera.fy, camera.cx, camera.cy)),
        ctypes.byref(PointOptions(**options)),
        address(xyz),
        address(rgb),
        ctypes.byref(count),
    )
    api.check(found)
    return xyz[: count.value], rgb[: count.value]


def scene(seed: int, scale: int) -> NDArray[np.float32]:
    """Boxes before a slanted wall, smeared and enlarged as a prediction is; parts not known."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:48, 0:64]
    z = 1 / (0.3 + 0.002 * x + 0.001 * y)
    for _ in range(6):
        top, left = rng.integers(0, 40, 2)
        z[top : top + rng.integers(1, 20), left : left + rng.integers(1, 20)] = rng.uniform(0.5, 3)
    z = resize_depth((z * rng.normal(1, 0.01, z.shape)).astype(np.float32), 48 * scale, 64 * scale)
    unknown = rng.random(z.shape)
    z[unknown < 0.01] = np.nan
    for value in (np.inf, -np.inf, 0.0, -1.0, 1e-40, 1e38):
        z.flat[rng.integers(0, z.size, 3)] = value
    return z


@pytest.mark.parametrize("scale", [1, 3, 5])
@pytest.mark.parametrize("every", [1, 2, 7])
@pytest.mark.parametrize("ratio", [0.01, 0.04, 0.3])
def test_the_same_points_stay_as_in_python(api: Any, scale: int, every: int, ratio: float) -> None:
    for seed in range(4):
        z = scene(seed, scale)
        height, width = z.shape
        image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        camera = Camera(71.3, 80.9, width / 2 - 3.2, height / 2 + 0.7, width, height)
        options = {"ratio": ratio, "spacing": scale, "every": every}
        with np.errstate(all="ignore"):
            right = cloud(z, image, camera, **options)
        xyz, rgb = points(api, z, image, camera, **options)
        np.testing.assert_array_equal(rgb, right.rgb)
        np.testing.assert_allclose(xyz, right.xyz, rtol=CLOSE)
        assert every > 1 or len(xyz) < 0.995 * z.size


def test_zero_stands_for_pythons_defaults(api: Any) -> None:
    z = scene(1, 1)
    image = np.zeros((*z.shape, 3), np.uint8)
    camera = Camera(70.0, 70.0, 31.5, 23.5, 64, 48)
    with np.errstate(all="ignore"):
        right = cloud(z, image, camera)
    np.testing.assert_allclose(points(api, z, image, camera)[0], right.xyz, rtol=CLOSE)


@pytest.mark.parametrize(
    ("numbers", "options"),
    [
        ((0.0, 70.0, 1.0, 2.0), {}),
        ((70.0, np.inf, 1.0, 2.5), {}),
        ((70.0, 70.0, 1.0, 2.0), {"ratio": -0.5}),
        ((70.0, 70.0, 1.0, 2.0), {"spacing": -1}),
        ((70.0, 70.0, 1.0, 2.0), {"every": -2}),
    ],
)
def test_what_cant_work_is_refused_in_pythons_words(
    api: Any, numbers: tuple[float, float, float, float], options: dict[str, Any]
) -> None:
    z, image = np.ones((48, 64), np.float32), np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(UsageError) as right:
        cloud(z, image, Camera(*numbers, 64, 48), **options)
    with pytest.raises(Exception, match="not") as found:
        points(api, z, image, Intrinsics(*numbers), **options)
    assert str(found.value) == str(right.value)
