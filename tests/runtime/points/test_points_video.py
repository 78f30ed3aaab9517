"""`points` of a video: a cloud for each frame, of steady depth."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from apdepth_deploy import Stabilizer, load
from apdepth_deploy.cli import main

pytest.importorskip("av")
CLIPS = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "clips.py")))
VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


def test_each_frame_has_a_cloud_of_steady_depth(
    mean_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, images = mean_bundle(1, 64, 96), CLIPS.scenes(5, 64, 96)
    clip = str(CLIPS.write(tmp_path / "clip.mkv", images))
    words = ["points", str(bundle), clip, "-o", str(tmp_path / "out"), "--ratio", "99"]
    assert main(words) == 2
    assert "a video doesn't say what its camera is" in capsys.readouterr().err
    assert main([*words, "--fov", "60", "--frames-every", "2"]) == 0
    found = sorted((tmp_path / "out" / "clip").iterdir())
    assert [path.name for path in found] == ["000000.ply", "000002.ply", "000004.ply"]
    steady = Stabilizer()
    with load(bundle) as predict:
        depths = [steady(image, predict(image)) for image in images[::2]]
    for path, depth, image in zip(found, depths, images[::2], strict=True):
        points = np.frombuffer(path.read_bytes().partition(b"end_header\n")[2], VERTEX)
        np.testing.assert_allclose(points["xyz"][:, 2], (1 + 3 * depth).ravel(), rtol=1e-6)
        np.testing.assert_array_equal(points["rgb"], image.reshape(-1, 3))


def test_metres_are_carried_over_frames(
    mean_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, images = mean_bundle(1, 64, 96), CLIPS.scenes(3, 64, 96)
    clip = str(CLIPS.write(tmp_path / "clip.mkv", images, rate=1))
    with load(bundle) as predict:
        depth = predict(images[0])
    y, x = np.mgrid[3:64:9, 3:96:9].reshape(2, -1)
    (tmp_path / "anchors" / "clip").mkdir(parents=True)
    anchors = np.stack([x, y, 5 * depth[y, x] + 1], axis=1)
    np.savetxt(tmp_path / "anchors" / "clip" / "000000.csv", anchors, "%.9g", ",")
    words = ["--anchors", str(tmp_path / "anchors"), "--fov", "60", "-o", str(tmp_path / "out")]
    assert main(["points", str(bundle), clip, *words]) == 1
    found = sorted(path.name for path in (tmp_path / "out" / "clip").iterdir())
    assert found == ["000000.ply", "000001.ply"]  # a second later, and no later
    assert f"{clip}, frame 2: no metres: no anchors to believe for 2.0 s" in capsys.readouterr().err
