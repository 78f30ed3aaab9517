"""The node's metres over DDS: from what, when, and when not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from apdepth_deploy import fit_metres
from apdepth_deploy.runtime.metric.camera import Camera
from apdepth_deploy.runtime.metric.points import cloud
from apdepth_deploy.runtime.metric.tracking import FitFilter

RELATIVE, METRES, INFO, POINTS = (
    "/relative_depth/image_raw",
    "/depth/image_rect",
    "/depth/camera_info",
    "/points",
)
CAMERA = Camera(90.0, 80.0, 47.5, 31.5, 96, 64)

Message = Callable[..., dict[str, Any]]
Times = Iterator[float]


def info_message(seconds: float, **fields: Any) -> dict[str, Any]:
    p = [CAMERA.fx, 0.0, CAMERA.cx, 0.0, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    header = {"stamp": {"sec": int(seconds), "nanosec": 0}, "frame_id": "other"}
    return {"header": header, "width": 96, "height": 64, "p": p, "d": [0.0] * 5, **fields}


def sparse_depth(depth: Any) -> Any:
    """Millimetres of a world of 1 + 4 d metres, at every fourth pixel."""
    sparse = np.zeros(depth.shape, np.uint16)
    sparse[2::4, 2::4] = np.rint(1000 * (1.0 + 4.0 * depth[2::4, 2::4]))
    return sparse


def anchors_in(sparse: Any) -> Any:
    y, x = np.nonzero(sparse)
    return np.stack([x, y, sparse[y, x] / 1000], axis=1)


def test_metres_are_there_only_while_the_fit_is_valid(
    ros: Any, predictor: Any, picture: Any, image_message: Message, times: Times
) -> None:
    seconds, depth = next(times), predictor(picture)
    sparse = sparse_depth(depth)
    ros.set("/depth", hold=5, points_every=3)
    for topic, kind in ((RELATIVE, "Image"), (METRES, "Image"), (INFO, "CameraInfo")):
        ros.listen(topic, kind)
    ros.listen(POINTS, "PointCloud2")

    def shown(late: float) -> list[Any]:
        """What comes of an image: relative depth, and perhaps the others."""
        ros.send("/image", "Image", image_message(picture, "rgb8", seconds + late))
        assert len(ros.heard(RELATIVE, 1)) == 1
        count = int(late in (1, 2, 5))
        with_info = int(late in (2, 5))
        wait = 10.0 if count else 0.2
        return [
            ros.heard(METRES, count, wait),
            ros.heard(INFO, with_info, wait if with_info else 0.2),
            ros.heard(POINTS, with_info, wait if with_info else 0.2),
        ]

    assert shown(0) == [[], [], []]
    ros.send("/anchors/depth", "Image", image_message(sparse, "16UC1", seconds + 1))
    fits = FitFilter(hold=5)
    expected = fits(fit_metres(depth, anchors_in(sparse)), 1.0)
    (metres,), infos, points = shown(1)
    np.testing.assert_array_equal(ros.array(metres), expected.metres(depth))
    assert metres["encoding"] == "32FC1" and metres["header"]["frame_id"] == "camera"
    assert (infos, points) == ([], []), "there is no camera_info yet"

    ros.send("/camera_info", "CameraInfo", info_message(seconds + 2))
    (metres,), (info,), (points,) = shown(2)  # carried over, now without the field
    z = ros.array(metres)
    np.testing.assert_allclose(z, fits(None, 2.0).metres(depth), rtol=1e-4)
    assert info["header"] == metres["header"] == points["header"]
    assert (info["width"], info["height"], info["p"][0]) == (96, 64, CAMERA.fx)
    found = np.frombuffer(points["data"], "<f4").reshape(-1, 4)
    wanted = cloud(z, picture, CAMERA, every=3)
    assert [one["name"] for one in points["fields"]] == ["x", "y", "z", "rgb"]
    assert (points["width"], points["point_step"]) == (len(found), 16) and len(found) > 300
    np.testing.assert_array_equal(found[:, :3], wanted.xyz)
    np.testing.assert_array_equal(found[:, 3].copy().view("<u4") & 255, wanted.rgb[:, 2])
    np.testing.assert_array_equal(found[:, 3].copy().view("<u4") >> 16, wanted.rgb[:, 0])

    ros.send("/camera_info", "CameraInfo", info_message(seconds + 5))
    assert [len(one) for one in shown(5)] == [1, 1, 1]
    assert shown(7) == [[], [], []], "the fit is six seconds old"
    status, told = ros.diagnostics()
    assert "no anchors to believe for 6" in told["fit"] and told["scale"] == ""

    flat = np.where(sparse > 0, 2000, 0).astype(np.uint16)  # one distance tells no scale
    ros.send("/anchors/depth", "Image", image_message(flat, "16UC1", seconds + 20))
    assert shown(20) == [[], [], []]
    assert status["name"] == "depth: depth"


def test_metres_in_millimetres(
    ros: Any, predictor: Any, picture: Any, image_message: Message, times: Times
) -> None:
    seconds, depth = next(times), predictor(picture)
    sparse = sparse_depth(depth).astype(np.float32) / 1000
    sparse[sparse == 0] = np.nan
    ros.set("/depth", depth_encoding="16UC1")
    ros.listen(METRES, "Image")
    ros.send("/anchors/depth", "Image", image_message(sparse, "32FC1", seconds))
    ros.send("/image", "Image", image_message(picture, "rgb8", seconds))
    (found,) = ros.heard(METRES, 1)
    np.testing.assert_allclose(ros.array(found), 1000 * (1 + 4 * depth), atol=60)
    fit = FitFilter()(fit_metres(depth, anchors_in(np.nan_to_num(sparse) * 1000)), 0.0)
    np.testing.assert_allclose(ros.array(found), np.nan_to_num(1000 * fit.metres(depth)), atol=1)


def test_points_of_another_sensor_are_anchors_where_it_is_known_to_stand(
    ros: Any, predictor: Any, picture: Any, image_message: Message, times: Times
) -> None:
    """A LiDAR turned as REP 103 has it (x forward, z up), 0.3 m to the left of the camera."""
    seconds, depth = next(times), predictor(picture)
    y, x = np.mgrid[2:64:4, 2:96:4]
    z = 1.0 + 4.0 * depth[y, x].astype(np.float64)
    right, down = (x - CAMERA.cx) / CAMERA.fx * z + 0.3, (y - CAMERA.cy) / CAMERA.fy * z
    points = np.stack([z, -right, -down], axis=-1).astype("<f4").reshape(-1, 3)
    points[5] = np.nan
    header = {"stamp": {"sec": int(seconds), "nanosec": 0}, "frame_id": "lidar"}
    message = {
        "header": header,
        "height": 1,
        "width": len(points),
        "fields": [("x", 0, 7), ("y", 4, 7), ("z", 8, 7)],
        "point_step": 12,
        "row_step": 12 * len(points),
        "data": points.tobytes(),
    }
    ros.listen(RELATIVE, "Image")
    ros.listen(METRES, "Image")
    ros.send("/camera_info", "CameraInfo", info_message(seconds))
    ros.send("/anchors/points", "PointCloud2", message)
    ros.send("/image", "Image", image_message(picture, "rgb8", seconds))
    assert len(ros.heard(RELATIVE, 1)) == 1 and ros.heard(METRES, 1, 0.2) == []
    _, told = ros.diagnostics()
    assert "'lidar'" in told["why"] and "anchors_transform" in told["why"]
    assert ros.set("/depth", anchors_transform="-0.3 0 0 0.5 -0.5 0.5 0.5")[0][0] is True
    ros.send("/image", "Image", image_message(picture, "rgb8", seconds))
    (found,) = ros.heard(METRES, 1)
    np.testing.assert_allclose(ros.array(found), 1 + 4 * depth, rtol=0.01)
