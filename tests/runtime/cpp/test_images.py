"""Frames of any size and format: their depth is that of Python's predictor, to the bit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import __version__ as pillow_version

from apdepth_deploy import load

from .conftest import FORMATS, Image

MakeBundle = Callable[..., Path]
#: Of the micro bundle, 64x96: larger, smaller, one side the same, odd, thin.
SIZES = ((64, 96), (120, 160), (48, 64), (64, 200), (200, 96), (37, 53), (16, 300), (300, 17))


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth enough to give depth, sharp enough for each weight to count."""
    random = np.random.default_rng(height * 1000 + width + channels)
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, channels), np.uint8)
    fine = random.integers(-30, 30, (height, width, channels))
    smooth = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]
    return (smooth + fine).clip(0, 255).astype(np.uint8)


def image(pixels: np.ndarray, kind: str = "rgb", **fields: Any) -> Image:
    height, width = pixels.shape[:2]
    if kind == "nv12":
        height = height * 2 // 3
    given = {"data": pixels.ctypes.data, "height": height, "width": width} | fields
    found = Image(format=FORMATS.index(kind), **given)
    found.kept = pixels  # its memory
    return found


@pytest.fixture(scope="module")
def predictor(micro_bundle: Path) -> Any:
    return load(micro_bundle, "openvino", precision="fp32")


@pytest.mark.parametrize("size", SIZES)
def test_frames_of_every_size_have_pythons_depth(micro: Any, predictor: Any, size: Any) -> None:
    smaller, larger = sorted((size, (64, 96)))
    is_down_first = larger[0] - smaller[0] > 2 * (larger[1] - smaller[1])
    if is_down_first and int(pillow_version.split(".")[0]) < 13:
        pytest.skip("Pillow before 13 rounds in another order")
    pixels = noise(*size)
    (found,) = micro.images(image(pixels))
    assert found.std() > 0.01
    assert np.array_equal(found, predictor(pixels))


def test_a_range_takes_the_nearest_size(api: Any, mean_bundle: MakeBundle) -> None:
    bundle = mean_bundle(1, [16, 32, 64], [16, 24, 48])
    predictor = load(bundle, "openvino")
    model = api.open(bundle)
    for size in ((20, 20), (28, 36), (44, 17), (60, 300), (70, 23)):
        pixels = noise(*size)
        (found,) = model.images(image(pixels))
        assert np.array_equal(found, predictor(pixels)), size
    model.close()


def yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """ITU-R BT.601-7, 2.5.3, in float64."""
    y, u, v = (1.0 * (part - centre) for part, centre in ((y, 16.0), (u, 128.0), (v, 128.0)))
    red = 255 / 219 * y + 255 / 224 * 1.402 * v
    blue = 255 / 219 * y + 255 / 224 * 1.772 * u
    green = 255 / 219 * y - 255 / 224 * (0.114 * 1.772 * u + 0.299 * 1.402 * v) / 0.587
    return np.stack([red, green, blue], axis=-1).clip(0, 255)


def packed(kind: str, height: int = 64, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Random bytes in a format, and the RGB in them."""
    if kind in ("nv12", "yuyv", "uyvy"):
        rows = height * 3 // 2 if kind == "nv12" else height
        data = noise(rows, width, 1 if kind == "nv12" else 2)
        if kind == "nv12":
            chroma = data[height:].reshape(height // 2, width // 2, 2)
            u, v = (np.kron(chroma[..., k], np.ones((2, 2))) for k in (0, 1))
            return data, yuv(data[:height, :, 0], u, v)
        four = data.reshape(height, width // 2, 4)
        y, u, v = ((0, 2), 1, 3) if kind == "yuyv" else ((1, 3), 0, 2)
        return data, yuv(
            four[..., y].reshape(height, width), *(four[..., k].repeat(2, 1) for k in (u, v))
        )
    data = noise(height, width, {"grey": 1, "rgb": 3, "bgr": 3}.get(kind, 4))
    order = {"grey": [0, 0, 0], "rgb": [0, 1, 2], "rgba": [0, 1, 2]}.get(kind, [2, 1, 0])
    return data, data[..., order].astype(float)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_the_rgb_that_it_stands_for(
    api: Any, mean_bundle: MakeBundle, kind: str
) -> None:
    data, rgb = packed(kind)
    model = api.open(mean_bundle(1, 64, 96))
    (found,) = model.images(image(data, kind))
    model.close()
    worst = 1.5 if kind in ("nv12", "yuyv", "uyvy") else 1e-4  # of 255: steps of 1/256 are rounded
    assert np.abs(found * 255 - rgb.mean(-1)).max() < worst
    # Channels in another order have the same mean: the next test sees to it.


@pytest.mark.parametrize("kind", FORMATS)
def test_each_channel_is_in_its_place(micro: Any, predictor: Any, kind: str) -> None:
    data, rgb = packed(kind)
    (found,) = micro.images(image(data, kind))
    expected = predictor(np.rint(rgb).astype(np.uint8))
    assert np.abs(found - expected).max() < (0.02 if "y" in kind[:3] or "v" in kind else 1e-6)
    swapped = predictor(np.rint(rgb[..., ::-1]).astype(np.uint8))
    assert kind == "grey" or np.abs(swapped - expected).max() > 0.05


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("upwards", [False, True])
def test_rows_may_lie_apart_and_upwards(micro: Any, kind: str, upwards: bool) -> None:
    data, _ = packed(kind)
    rows, width, size = data.shape
    height = 64
    (expected,) = micro.images(image(data, kind))
    apart = np.full((rows, width * size + 13), 99, np.uint8)
    apart[:, : width * size] = data.reshape(rows, -1)
    fields: dict[str, Any] = {"height": height, "width": width}
    if upwards:
        apart[:height] = apart[:height][::-1].copy()
        apart[height:] = apart[height:][::-1].copy()
        begin = apart.ctypes.data
        fields |= {
            "data": begin + (height - 1) * apart.strides[0],
            "chroma": begin + (rows - 1) * apart.strides[0],
            "stride": -apart.strides[0],
        }
    else:
        fields |= {"stride": apart.strides[0]}
    (found,) = micro.images(image(apart, kind, **fields))
    assert np.array_equal(found, expected)


def test_nv12_may_have_its_planes_apart(micro: Any) -> None:
    data, _ = packed("nv12")
    (expected,) = micro.images(image(data, "nv12"))
    chroma = np.full((32, 128), 7, np.uint8)
    chroma[:, :96] = data[64:, :, 0]
    luma = data[:64].copy()
    fields = {"height": 64, "chroma": chroma.ctypes.data, "chroma_stride": 128}
    (found,) = micro.images(image(luma, "nv12", **fields))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("batch", [1, 3, [1, 2, 4]])
def test_several_at_once_are_those_one_by_one(
    api: Any, mean_bundle: MakeBundle, batch: Any
) -> None:
    """More than fit in a run, of different sizes."""
    model = api.open(mean_bundle(batch, 16, 24))
    frames = [noise(*size) for size in ((16, 24), (16, 24), (40, 50), (20, 16), (16, 24))]
    found = model.images(*map(image, frames))
    for frame, depth in zip(frames, found, strict=True):
        small = np.asarray(Pillow.fromarray(frame).resize((24, 16), Pillow.Resampling.BILINEAR))
        mean = Pillow.fromarray((small.mean(-1) / 255).astype(np.float32))
        expected = mean.resize(frame.shape[1::-1], Pillow.Resampling.BILINEAR)
        assert np.abs(depth - np.asarray(expected)).max() < 1e-5
    model.close()


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"data": None}, "usage", "data is NULL"),
        ({"format": 99}, "usage", "unknown format 99"),
        ({"height": 15}, "image", "96x15 pixels is too small: both sides must have at least 16"),
        ({"height": -64}, "image", "is too small"),
        ({"height": 2**31 - 1, "width": 2**31 - 1}, "image", "are more than memory holds"),
        ({"stride": 287}, "image", "less than a row of 96 rgb pixels: it must be 288 or more"),
        ({"stride": -287}, "image", "or as much upwards"),
        ({"stride": 2**62}, "image", "leads out of memory"),
        ({"stride": -(2**63)}, "image", "leads out of memory"),
        ({"format": 5, "width": 95}, "image", "nv12 holds pixels in fours"),
        ({"format": 6, "width": 95}, "image", "yuyv holds pixels in pairs: its width can't be 95"),
        ({"format": 5, "stride": -96}, "usage", "chroma is NULL"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_run(
    micro: Any, fields: Any, status: str, message: str
) -> None:
    good, bad = image(noise(64, 96)), image(noise(64, 96))
    for name, value in fields.items():
        setattr(bad, name, value)
    depth = np.full((64, 96), -1, np.float32)
    depths = (ctypes.c_void_p * 2)(depth.ctypes.data, depth.ctypes.data)
    call = micro.api.lib.apdepth_infer_images
    with pytest.raises(Exception) as caught:
        micro.api.check(call(micro.handle, (Image * 2)(good, bad), 2, depths))
    assert (caught.value.status, message in str(caught.value)) == (status, True)  # type: ignore
    assert (depth == -1).all()


@pytest.fixture
def timings(api: Any) -> Iterator[Callable[[], list[float]]]:
    def read() -> list[float]:
        found = (ctypes.c_double * 4)(9, 9, 9, 9)
        size = ctypes.c_size_t(ctypes.sizeof(found))
        api.check(api.lib.apdepth_last_timings_sized(ctypes.byref(found), size))
        return list(found)

    yield read


def test_timings_are_those_of_the_last_call(micro: Any, timings: Any) -> None:
    micro.images(image(noise(1000, 1000)))
    *parts, unknown = timings()
    assert all(part > 0 for part in parts) and unknown == 0
    micro(noise(64, 96))
    convert, infer, resize, _ = timings()
    assert (convert, resize) == (0, 0) and infer > 0
