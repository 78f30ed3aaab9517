"""What the node is made of and ROS isn't needed for: pixels, anchors, time, the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from apdepth_deploy import load
from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.runtime.metric.camera import Camera
from apdepth_deploy.runtime.metric.ground import fit_ground, ground_depth, up_vector
from apdepth_deploy.runtime.ros.anchors import (
    anchors_of_depth,
    anchors_of_points,
    parse_transform,
    points_of,
)
from apdepth_deploy.runtime.ros.command import split_ros_args
from apdepth_deploy.runtime.ros.contract import PARAMETERS, PATH, TOPICS
from apdepth_deploy.runtime.ros.pixels import ENCODINGS, rgb_of
from apdepth_deploy.runtime.ros.work import Frame, Recent, Work, camera_of

SIZE = 24, 32


def namespace(value: Any) -> Any:
    """A message of a dictionary, as ROS has it: fields are attributes."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: namespace(one) for name, one in value.items()})
    return value


@pytest.fixture
def message(image_message: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    def make(pixels: Any, encoding: str, **fields: Any) -> Any:
        return namespace({"is_bigendian": 0, **image_message(pixels, encoding, **fields)})

    return make


@pytest.fixture
def blocks() -> Any:
    """RGB in blocks of 8x8 pixels: inside of them chroma that is halved loses nothing."""
    small = np.random.default_rng(1).integers(0, 256, (SIZE[0] // 8, SIZE[1] // 8, 3))
    return small.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 1])],
)
def test_plain_pixels(
    message: Callable[..., Any], blocks: Any, encoding: str, order: list[int], padding: int
) -> None:
    found = rgb_of(message(blocks[..., order], encoding, padding=padding))
    np.testing.assert_array_equal(found, blocks)


def test_grey_pixels_in_either_order_of_bytes(message: Callable[..., Any], blocks: Any) -> None:
    grey = blocks[..., 0]
    expected = np.stack([grey] * 3, axis=-1)
    np.testing.assert_array_equal(rgb_of(message(grey, "mono8", padding=1)), expected)
    wide = np.random.default_rng(3).integers(0, 65536, SIZE).astype(np.uint16)
    expected = np.stack([np.rint(wide / 257)] * 3, axis=-1)
    np.testing.assert_array_equal(rgb_of(message(wide, "mono16", padding=2)), expected)
    swapped = message(wide.astype(">u2"), "mono16", is_bigendian=1)
    np.testing.assert_array_equal(rgb_of(swapped), expected)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    ("encoding", "av_format"),
    [
        ("yuv422", "uyvy422"),
        ("uyvy", "uyvy422"),
        ("yuv422_yuy2", "yuyv422"),
        ("yuyv", "yuyv422"),
        ("nv12", "nv12"),
    ],
)
def test_yuv_pixels_as_ffmpeg_sees_them(
    message: Callable[..., Any], blocks: Any, encoding: str, av_format: str, padding: int
) -> None:
    av = pytest.importorskip("av")
    frame = av.VideoFrame.from_ndarray(blocks, format="rgb24").reformat(format=av_format)
    height, width = SIZE
    if encoding == "nv12":
        planes = [
            np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:, :width] for p in frame.planes
        ]
        found = rgb_of(message(np.concatenate(planes), encoding, padding=padding, height=height))
    else:
        packed = np.frombuffer(frame.planes[0], np.uint8).reshape(height, -1)[:, : 2 * width]
        found = rgb_of(message(packed.reshape(height, width, 2), encoding, padding=padding))
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] % 8
    inside = (abs(x - 3.5) < 1) & (abs(y - 3.5) < 1)  # FFmpeg smooths chroma from block to block
    seen = frame.to_ndarray(format="rgb24").astype(int)
    assert abs(found.astype(int) - seen)[inside].max() <= 3
    assert abs(found.astype(int) - blocks)[inside].max() <= 6


def test_every_encoding_of_the_contract_is_read(message: Callable[..., Any], blocks: Any) -> None:
    told = {one["name"]: one for one in json.loads(PATH.read_text())["topics"]}["image"]["words"]
    assert all(encoding in told for encoding in ENCODINGS)
    with pytest.raises(ImageError, match="is none of rgb8"):
        rgb_of(message(blocks, "8UC3"))


def test_a_depth_image_of_another_size_covers_the_same_picture(
    message: Callable[..., Any],
) -> None:
    sparse = np.zeros((12, 16), np.uint16)
    sparse[0, 0], sparse[5, 3] = 1500, 4000
    found = anchors_of_depth(message(sparse, "16UC1", padding=4), SIZE)
    np.testing.assert_allclose(found, [[0.5, 0.5, 1.5], [6.5, 10.5, 4.0]])
    metres = np.where(sparse > 0, sparse / 1000, np.nan).astype(">f4")
    again = anchors_of_depth(message(metres, "32FC1", is_bigendian=1), SIZE)
    np.testing.assert_allclose(found, again)
    with pytest.raises(ImageError, match="16UC1 or 32FC1"):
        anchors_of_depth(message(sparse, "mono16"), SIZE)
    dense = anchors_of_depth(message(np.full((300, 400), 9, np.uint16), "16UC1"), (300, 400))
    assert len(dense) == 10_000 and dense[-1, 0] == 399 and dense[-1, 1] == 299


def cloud_message(points: Any, **fields: Any) -> Any:
    axes = [SimpleNamespace(name=n, offset=4 * k, datatype=7) for k, n in enumerate("xyz")]
    data = points.astype("<f4").tobytes()
    size = {"height": 1, "width": len(points), "point_step": 12, "row_step": 12 * len(points)}
    return SimpleNamespace(**{"fields": axes, "data": data, "is_bigendian": 0, **size, **fields})


def test_points_are_seen_where_the_camera_sees_them() -> None:
    camera = Camera(20.0, 25.0, 15.5, 11.5, 32, 24)
    points = np.array([[0, 0, 2], [0.5, -0.2, 2], [np.nan, 0, 1], [0, 0, -1], [9, 0, 2]])
    found = anchors_of_points(points_of(cloud_message(points)), camera)
    np.testing.assert_allclose(found, [[15.5, 11.5, 2], [20.5, 9.0, 2]], rtol=1e-6)


def test_organised_padded_doubles_are_read_and_lies_are_not() -> None:
    packed = np.zeros((2, 3), np.dtype([("a", "u1"), ("z", "<f8"), ("y", "<f8"), ("x", "<f8")]))
    packed["x"], packed["z"] = [[1, 2, 3], [4, 5, 6]], 7
    axes = [SimpleNamespace(name=n, offset=packed.dtype.fields[n][1], datatype=8) for n in "xyz"]
    rows = b"".join(row.tobytes() + b"pad" for row in packed)
    told = {"fields": axes, "height": 2, "width": 3, "point_step": 25, "row_step": 78}
    message = cloud_message(np.zeros((1, 3)), **told, data=rows)
    np.testing.assert_array_equal(points_of(message)[:, 0], [1, 2, 3, 4, 5, 6])
    for lie in ({"height": 9}, {"point_step": 8}, {"data": b""}, {"width": 2**31}, {"fields": []}):
        with pytest.raises(ImageError, match="anchors/points"):
            points_of(SimpleNamespace(**{**vars(message), **lie}))


def test_a_transform_is_a_turn_and_then_a_way() -> None:
    scipy = pytest.importorskip("scipy.spatial.transform")
    turn = scipy.Rotation.random(rng=np.random.default_rng(2))
    x, y, z, w = 3 * turn.as_quat()
    found = parse_transform(f"1, 2 3 {x} {y} {z} {w}")(np.eye(3))
    np.testing.assert_allclose(found, turn.apply(np.eye(3)) + np.array([1, 2, 3]))
    for wrong in ("1 2 3", "1 2 3 0 0 0 0", "a b c d e f g", "nan 0 0 0 0 0 1"):
        with pytest.raises(UsageError):
            parse_transform(wrong)


def test_a_camera_info_is_of_the_images_size() -> None:
    k = [20.0, 0, 15.5, 0, 25.0, 11.5, 0, 0, 1]
    info = SimpleNamespace(width=32, height=24, k=k, p=[0.0] * 12)
    assert camera_of(info, 32, 24) == Camera(20.0, 25.0, 15.5, 11.5, 32, 24)
    with pytest.raises(ImageError, match="camera_info is of 32x24 pixels, the image of 64x48"):
        camera_of(info, 64, 48)
    with pytest.raises(UsageError):
        camera_of(SimpleNamespace(width=32, height=24, k=[0.0] * 9, p=[0.0] * 12), 32, 24)


def test_the_nearest_in_time_is_taken() -> None:
    kept: Recent[Any] = Recent()
    for seconds in range(12):
        kept.add(namespace({"header": {"stamp": {"sec": seconds, "nanosec": 500_000_000}}}))
    assert kept.near(7.9, 0.5).header.stamp.sec == 7
    assert kept.near(3.5, 0.5) is None, "the last eight are kept"
    assert kept.near(12.1, 0.5) is None and kept.near(12.0, 0.5).header.stamp.sec == 11


@pytest.fixture
def work(mean_bundle: Callable[..., Path]) -> Work:
    settings = {name: rule.default for name, rule in PARAMETERS.items()} | {"steady": False}
    predictor = load(mean_bundle(1, 96, 128), backend="onnxruntime")
    return Work(predictor, settings, lambda target, header: parse_transform("0 0 0 0 0 0 1"))


def test_the_ground_is_an_anchor_where_the_height_is_given(
    work: Work, message: Callable[..., Any]
) -> None:
    """A floor below a camera 1.2 m above it: grey values that grow with distance."""
    camera = Camera(110.0, 110.0, 63.5, 47.5, 128, 96)
    floor = ground_depth((96, 128), camera, 1.2, up_vector(25.0)).clip(0, 6)
    wide = np.rint(floor / 6 * 65535).astype(np.uint16)
    work._settings["camera_height"], work._settings["pitch"] = 1.2, 25.0
    frame = Frame(message(wide, "mono16"), 0.0)
    assert "need a camera_info" in work(frame).fit.why
    stamp = {"header": {"stamp": {"sec": 1, "nanosec": 0}}}
    p = [110.0, 0, 63.5, 0, 0, 110.0, 47.5, 0, 0, 0, 1, 0]
    work.infos.add(namespace({**stamp, "width": 128, "height": 96, "p": p, "k": [0.0] * 9}))
    done = work(frame)
    assert done.fit.valid, done.fit.why
    own = fit_ground(done.depth, camera, 1.2, up_vector(25.0))
    assert (done.fit.scale, done.fit.shift) == (own.scale, own.shift)
    near = floor < 5
    np.testing.assert_allclose(done.fit.metres(done.depth)[near], floor[near], rtol=0.1)


def test_a_fit_ages_by_the_clock_that_goes_faster(work: Work, message: Callable[..., Any]) -> None:
    """A stamp that stands still keeps no fit alive; one that goes back begins anew."""
    ramp = np.tile(np.arange(128, dtype=np.uint8) * 2, (96, 1))
    sparse = np.where(np.arange(128) % 8 == 0, 1000 + 20 * ramp.astype(np.uint16), 0)
    sparse = sparse.astype(np.uint16)
    work.depths.add(message(sparse, "16UC1", seconds=5.0))

    def valid(seconds: float, captured: float) -> bool:
        return bool(work(Frame(message(ramp, "mono8", seconds=seconds), captured)).fit.valid)

    assert valid(5.0, 100.0)
    assert valid(5.9, 100.1) and work.fit_age == pytest.approx(0.9)
    assert (
        not valid(6.1, 100.2)
        and "no anchors to believe"
        in work(Frame(message(ramp, "mono8", seconds=6.1), 100.2)).fit.why
    )
    assert valid(5.05, 101.0) and valid(5.2, 101.5), "the second is held"
    assert not valid(5.2, 102.6), "the camera's clock stands still"
    assert valid(5.0, 103.0)
    assert not valid(3.0, 103.1), "another picture: time went back"


def test_whole_numbers_do_for_floating_point_ones() -> None:
    assert PARAMETERS["rate"].checked(5) == 5.0 and type(PARAMETERS["rate"].checked(5)) is float
    with pytest.raises(UsageError, match="of type integer"):
        PARAMETERS["points_every"].checked(True)
    for rule in PARAMETERS.values():
        assert rule.checked(rule.default) == rule.default
    assert TOPICS["out", "depth/camera_info"].beside == "depth/image_rect"


def test_ros_arguments_are_told_from_ours() -> None:
    words = ["bundle", "--ros-args", "-r", "a:=b", "--", "--device", "cpu", "--ros-args", "-p", "c"]
    assert split_ros_args(words) == (
        ["bundle", "--device", "cpu"],
        ["--ros-args", "-r", "a:=b", "--", "--ros-args", "-p", "c"],
    )
    assert split_ros_args(["bundle"]) == (["bundle"], [])
