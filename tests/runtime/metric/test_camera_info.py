"""camera_info as ROS writes it, and what isn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from apdepth_deploy.errors import UsageError
from apdepth_deploy.pictures.image import Reading
from apdepth_deploy.runtime.metric.camera import Camera, camera_source
from apdepth_deploy.runtime.metric.camera_info import read_camera_info

#: As camera_calibration writes it.
CALIBRATION = """\
# a webcam
image_width: 640
image_height: 480
camera_name: head_camera
camera_matrix:
  rows: 3
  cols: 3
  data: [4.4e+02,   0. , 327.5,
           0. , 441.5, 236. ,
           0. ,   0. ,   1. ]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0.001, 0., 0.]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1., 0., 0., 0., 1., 0., 0., 0., 1.]
projection_matrix:
  rows: 3
  cols: 4
  data: [430.25,   0. , 330.  ,   0.  ,
           0. , 436.5, 235.  ,   0.  ,
           0. ,   0. ,   1.  ,   0.  ]
"""
K = [440.0, 0.0, 327.5, 0.0, 441.5, 236.0, 0.0, 0.0, 1.0]
#: As ``ros2 topic echo`` prints it.
MESSAGE: dict[str, Any] = {
    "header": {"stamp": {"sec": 17, "nanosec": 5}, "frame_id": "camera_optical"},
    "height": 480,
    "width": 640,
    "distortion_model": "plumb_bob",
    "d": [0.0] * 5,
    "k": K,
    "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    "p": [0.0] * 12,
    "binning_x": 0,
    "binning_y": 0,
    "roi": {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False},
}


def write(folder: Path, text: str) -> Path:
    (folder / "info.yaml").write_text(text, encoding="utf-8")
    return folder / "info.yaml"


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_camera_info(write(folder, text))
    return str(caught.value)


def test_a_calibration_is_of_the_rectified_pictures(tmp_path: Path) -> None:
    found = read_camera_info(write(tmp_path, CALIBRATION))
    assert found == (Camera(430.25, 436.5, 330.0, 235.0, 640, 480), True)


@pytest.mark.parametrize("flow", [None, False, True])
@pytest.mark.parametrize("names", [str.lower, str.upper])
def test_a_message_is_read_however_it_was_dumped(tmp_path: Path, flow: Any, names: Any) -> None:
    """PyYAML sorts keys, and puts short lists in brackets or each number on a line."""
    message = {names(key) if len(key) == 1 else key: value for key, value in MESSAGE.items()}
    text = yaml.dump(message, default_flow_style=flow) if flow is not True else echo(message)
    found = read_camera_info(write(tmp_path, f"{text}---\n{text}"))
    assert found == (Camera(440.0, 441.5, 327.5, 236.0, 640, 480), False)


def echo(message: dict[str, Any]) -> str:
    return "".join(
        f"{key}: {value}\n" if isinstance(value, list) else yaml.dump({key: value})
        for key, value in message.items()
    )


def test_matrices_are_read_in_block_style_too(tmp_path: Path) -> None:
    text = yaml.dump(yaml.safe_load(CALIBRATION), default_flow_style=False)
    assert "\n  - 430.25\n" in text
    assert read_camera_info(write(tmp_path, text)).camera.fx == 430.25


def test_a_picture_of_another_size_has_its_own_camera(tmp_path: Path) -> None:
    """A ray keeps its place relative to the picture's edges, which are half a pixel outside."""
    source = camera_source(camera_info=write(tmp_path, CALIBRATION))
    assert "640x480; the lens distorts: pictures are taken as rectified" in source.note
    small = source.of(Reading(np.zeros((240, 320, 3), np.uint8), 1, several=False))
    assert small == Camera(215.125, 218.25, 164.75, 117.25, 320, 240)
    upright = source.of(Reading(np.zeros((640, 480, 3), np.uint8), 6, several=False))
    assert upright == Camera(436.5, 430.25, 479 - 235.0, 330.0, 480, 640)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("image_width: 640\n", "", "it has no image_width or width"),
        ("image_height: 480", "image_height: tall", "invalid literal"),
        ("data: [430.25,", "data: [", "projection_matrix has 11 numbers, not 12"),
        ("430.25", "wide", "could not convert"),
        ("430.25", ".nan", "could not convert"),
        ("430.25", "-430.25", "the focal lengths above 0"),
        ("camera_name", "image_width: 5\ncamera_name", "image_width stands there twice"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert words in refusal(tmp_path, CALIBRATION.replace(old, new))


def test_a_part_of_the_picture_is_refused(tmp_path: Path) -> None:
    part = MESSAGE | {"roi": MESSAGE["roi"] | {"x_offset": 8}}
    assert "its roi is a part of the picture" in refusal(tmp_path, yaml.dump(part))


def test_what_isnt_calibrated_or_isnt_there_is_refused(tmp_path: Path) -> None:
    assert "is calibrated" in refusal(tmp_path, yaml.dump(MESSAGE | {"k": [0.0] * 9}))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.yaml", "none.yaml", "."):
        with pytest.raises(UsageError, match=r"no camera_info of ROS|can't be read"):
            read_camera_info(tmp_path / name)
