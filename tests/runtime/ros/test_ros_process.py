"""The node as a program: names, files of parameters, signals, and what is wrong from the start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
MakeBundle = Callable[..., Path]


@pytest.fixture(scope="module")
def mean(mean_bundle: MakeBundle) -> Path:
    return mean_bundle(1, 48, 64)


@pytest.fixture
def grey() -> Any:
    return np.full((48, 64), 51, np.uint8)


def test_names_are_remapped_and_camera_info_goes_along(
    start: Callable[..., Any],
    client: Any,
    mean: Path,
    grey: Any,
    image_message: Any,
    tmp_path: Path,
) -> None:
    """And a file's parameters are taken, the bundle's and whole numbers among them."""
    file = tmp_path / "depth.yaml"
    lines = f"bundle: {mean}, rate: 500, hold: 3, anchors_tolerance: 1"
    file.write_text(f"/**: {{ros__parameters: {{{lines}}}}}")
    names = ["__ns:=/front", "__node:=eye", "image:=/cam/image_raw", "depth/image_rect:=metres/z"]
    words = [word for name in names for word in ("-r", name)]
    node = start("--ros-args", *words, "--params-file", file)
    found = client.graph("eye", "/front")
    assert {"/cam/image_raw", "/cam/camera_info", "/front/anchors/depth"} <= set(found["in"])
    outputs = {"/front/metres/z", "/front/metres/camera_info", "/front/points", "/diagnostics"}
    assert outputs | {"/front/relative_depth/image_raw"} <= set(found["out"])
    values = client.parameters("/front/eye")
    assert [values[name]["value"] for name in ("rate", "hold", "bundle")] == [500.0, 3.0, str(mean)]
    client.listen("/front/relative_depth/image_raw", "Image")
    client.send("/cam/image_raw", "Image", image_message(grey, "mono8"))
    (depth,) = client.heard("/front/relative_depth/image_raw", 1)
    np.testing.assert_allclose(client.array(depth), 0.2, atol=1e-6)
    client.stop_listening()
    assert node.end() == 0


def test_camera_info_that_is_remapped_itself_goes_where_it_is_sent(
    start: Callable[..., Any], client: Any, mean: Path
) -> None:
    names = ["image:=/a/image", "camera_info:=/b/info", "depth/camera_info:=/c/info"]
    node = start(mean, "--ros-args", *(word for name in names for word in ("-r", name)))
    found = client.graph("depth", "/")
    assert "/b/info" in found["in"] and "/c/info" in found["out"]
    assert node.end() == 0


def test_a_signal_ends_it_and_a_new_one_takes_its_place(
    start: Callable[..., Any], client: Any, mean: Path, grey: Any, image_message: Any
) -> None:
    client.listen_to_come("/relative_depth/image_raw", "Image")
    for number in (signal.SIGINT, signal.SIGTERM):
        node = start(mean)
        found: list[Any] = []
        while not found:  # the subscriber was there first: it hears of the node in its own time
            client.send("/image", "Image", image_message(grey, "mono8"))
            found = client.heard("/relative_depth/image_raw", 1, 0.5)
        np.testing.assert_allclose(client.array(found[0]), 0.2, atol=1e-6)
        assert node.end(number) == 0, node.said()
        assert "Traceback" not in node.said()
        client.heard("/relative_depth/image_raw", 1, 0.1)
    client.stop_listening()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "which bundle?"),
        (["nowhere"], "nowhere is no bundle"),
        (["BUNDLE", "--backend", "nope"], "unknown backend 'nope'"),
        (["BUNDLE", "--backend", "tensorrt"], "tensorrt"),
        (["BUNDLE", "--ros-args", "-p", "rate:=fast"], "parameter rate is of type double"),
        (["BUNDLE", "--ros-args", "-p", "rate:=2000"], "parameter rate is 0 to 1000, not 2000"),
        (["BUNDLE", "--ros-args", "-p", "depth_encoding:=8U"], "one of '32FC1', '16UC1'"),
        (["BUNDLE", "--ros-args", "-r", "__ns:=9bad"], "Couldn't parse remap rule"),
        (["BUNDLE", "--rate", "5"], "No such option"),
    ],
)
def test_what_is_wrong_is_a_line_and_exit_code_2(
    start: Callable[..., Any], mean: Path, words: list[str], told: str
) -> None:
    node = start(*(mean if word == "BUNDLE" else word for word in words), ready=False)
    assert node.wait() == 2
    (line,) = [line for line in node.lines if line.startswith("error: ")]
    assert told in line and "a defect" not in line and "Traceback" not in node.said()


def test_without_ros_it_says_what_to_install(mean: Path) -> None:
    code = "import sys; sys.modules['rclpy'] = None; from apdepth_deploy.cli import run; run()"
    command = [sys.executable, "-c", code, "ros", str(mean)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "source a ROS 2 installation" in done.stderr and "[ros]" in done.stderr


def test_help_needs_no_ros() -> None:
    command = [sys.executable, "-m", "apdepth_deploy", "ros", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "--ros-args" in done.stdout
