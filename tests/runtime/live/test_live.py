"""`live` in this process: what it writes, in which scale, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from apdepth_deploy import Stabilizer, load
from apdepth_deploy.cli import main
from apdepth_deploy.pictures.depth import colorize
from apdepth_deploy.runtime.feeds import newest, source
from apdepth_deploy.runtime.feeds.depth_video import read_depth_video

av = pytest.importorskip("av")
Text = pytest.CaptureFixture[str]


def live(bundle: Path, *words: object) -> int:
    return main(["live", str(bundle), *map(str, words), "--backend", "onnxruntime"])


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def slow_clip(clips: SimpleNamespace, tmp_path: Path) -> tuple[Path, list[Any]]:
    """Five frames, of which none need be dropped."""
    images = clips.scenes(5)
    return clips.write(tmp_path / "clip.mkv", images, ticks=[0, 1, 2, 4, 6]), images


def test_a_video_is_recorded_in_colour_and_to_a_65535th(
    bundle: Path, slow_clip: tuple[Path, list[Any]], tmp_path: Path, capsys: Text
) -> None:
    clip, images = slow_clip
    colour, lossless = tmp_path / "a.mp4", tmp_path / "a.mkv"
    assert live(bundle, clip, "--record", colour, "--depth", lossless, "--json") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["final"], last["frames"], last["dropped"], last["failed"]) == (True, 5, 0, 0)
    steady = Stabilizer()
    with load(bundle, backend="onnxruntime") as predictor:
        depths = [steady(image, predictor(image)).clip(0, 1) for image in images]
    found = list(read_depth_video(lossless))
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.1, 0.2, 0.4, 0.6])
    for frame, depth in zip(found, depths, strict=True):
        assert not frame.metric
        assert np.abs(frame.depth - depth).max() <= 0.5001 / 65535
    for picture, image, depth in zip(frames_of(colour), images, depths, strict=True):
        assert picture.shape == (48, 128, 3)
        both = np.concatenate([image, colorize(depth, (0.0, 1.0))], axis=1)
        assert np.abs(picture.astype(float) - both).mean() < 12, "one range for all frames"


def test_each_frame_stands_for_itself_where_asked(
    bundle: Path, slow_clip: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    clip, images = slow_clip
    words = ("--no-sequence", "--range", "0.25,0.75", "--depth", tmp_path / "a.mkv")
    assert live(bundle, clip, *words) == 0
    for frame, image in zip(read_depth_video(tmp_path / "a.mkv"), images, strict=True):
        depth = (image.mean(axis=2) / 255).clip(0.25, 0.75)
        assert np.abs(frame.depth - depth).max() <= 0.5001 * 0.5 / 65535 + 1e-7


def test_metres_from_anchors_that_hold_for_all_frames(
    bundle: Path, slow_clip: tuple[Path, list[Any]], tmp_path: Path, capsys: Text
) -> None:
    clip, images = slow_clip
    depth = images[0].mean(axis=2) / 255
    y, x = np.mgrid[3:48:8, 3:64:8].reshape(2, -1)
    np.savetxt(tmp_path / "rig.csv", np.stack([x, y, 3 * depth[y, x] + 1], axis=1), "%.9g", ",")
    words = ("--anchors", tmp_path / "rig.csv", "--depth", tmp_path / "a.mkv")
    assert live(bundle, clip, *words) == 0
    found = list(read_depth_video(tmp_path / "a.mkv"))
    assert len(found) == 5
    for frame in found:
        assert frame.metric and frame.depth.shape == (48, 64)
        assert np.nanmedian(np.abs(frame.depth - (3 * depth + 1))) < 0.05
    assert np.nanmax(found[0].depth * 1000 - np.rint(found[0].depth * 1000)) < 2e-3, "millimetres"
    far = float(np.median(3 * depth + 1))
    narrow = ("--range", f"1,{far}", "--record", tmp_path / "a.mp4")
    assert live(bundle, clip, *words, *narrow) == 0
    near = next(read_depth_video(tmp_path / "a.mkv")).depth
    assert np.nanmax(near) <= far + 1e-6 and 0.1 < np.isnan(near).mean() < 0.9, (
        "outside is not known"
    )
    (tmp_path / "rig.csv").write_text("3,3,1\n")
    capsys.readouterr()
    assert live(bundle, clip, *words) == 0
    assert "5 frames without metres; the last: " in capsys.readouterr().err
    assert all(np.isnan(frame.depth).all() for frame in read_depth_video(tmp_path / "a.mkv"))


def test_a_viewer_or_a_recording_for_rerun(
    bundle: Path, slow_clip: tuple[Path, list[Any]], tmp_path: Path, capsys: Text
) -> None:
    chunk = pytest.importorskip("rerun.chunk")
    words = ("--fov", "60", "--rerun", tmp_path / "a.rrd")
    assert live(bundle, slow_clip[0], *words) == 0
    logged = [part.entity_path for part in chunk.RrdReader(tmp_path / "a.rrd").stream()]
    assert {"/camera", "/camera/image", "/camera/depth"} <= set(logged)
    address = "rerun+http://127.0.0.1:1/proxy"
    assert live(bundle, slow_clip[0], "--rerun", address) == 2
    assert f"error: --rerun {address}: no viewer answers" in capsys.readouterr().err


def test_a_damaged_video_is_said_and_what_came_is_kept(
    bundle: Path, clips: SimpleNamespace, tmp_path: Path, capsys: Text
) -> None:
    clip = clips.write(tmp_path / "clip.mkv", clips.scenes(8, noise=60.0))
    clips.cut(clip, 0.5)
    assert live(bundle, clip, "--depth", tmp_path / "a.mkv") == 2
    assert f"error: {clip}: damaged or truncated" in capsys.readouterr().err
    assert len(list(read_depth_video(tmp_path / "a.mkv"))) >= 2


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("nothing.mp4", "nothing.mp4: no such file, nor a camera"),
        ("99", "/dev/video99: no such camera"),
        ("ftp://u:secret@host/a", "ftp://host/a: streams come by rtsp, rtsps, http, https"),
        ("http://127.0.0.1:1/a", "http://127.0.0.1:1/a: can't be opened: Connection refused"),
        ("clip.mkv --record a.avi", "--record writes FILE.mp4, not a.avi"),
        ("clip.mkv --depth a.mp4", "--depth writes FILE.mkv, not a.mp4"),
        ("clip.mkv --range 2,1", "--range is near,far"),
        ("clip.mkv --anchors a.csv --record a.mp4", "--record in metres needs --range near,far"),
        ("clip.mkv --anchors clip.mkv", "clip.mkv: anchors are a folder, or a file *.csv"),
        ("http://a/b --anchors .", "--anchors FOLDER is for a video"),
        ("clip.mkv --camera-height 1 --pitch 9", "--camera-height needs --intrinsics"),
        ("clip.mkv --rerun a.txt", "--rerun takes FILE.rrd, spawn, or rerun+http://"),
    ],
)
def test_wrong_use_is_one_line(
    bundle: Path,
    clips: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: Any,
    capsys: Text,
    words: str,
    rule: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    clips.write(Path("clip.mkv"), clips.scenes(1))
    Path("a.csv").write_text("1,1,1\n")
    assert live(bundle, *words.split()) == 2
    said = capsys.readouterr().err
    assert f"error: {rule}" in said and said.count("error:") == 1 and "secret" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "clip.mkv"]


def test_a_camera_that_says_nothing_is_given_up(
    bundle: Path, camera: Any, monkeypatch: Any, capsys: Text
) -> None:
    camera.speaks = False
    monkeypatch.setattr(source, "TIMEOUTS", (0.5, 0.5))
    assert live(bundle, camera.address) == 2
    said = capsys.readouterr().err
    assert f"error: http://127.0.0.1:{camera.port}/stream: no answer in time" in said


def test_another_is_opened_where_one_falls_silent(camera: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(source, "TIMEOUTS", (1.0, 0.5))
    lines: list[str] = []
    with newest.Reader(source.source_of(camera.address), lines.append) as reader:
        assert reader.slot.take(10) is not None
        camera.speaks = False
        while not lines:
            reader.slot.take(0.1)
        camera.speaks = True
        while reader.reopened == 0:
            assert reader.slot.take(10) is not None
    assert "broke off (no answer in time)" in lines[0] and ": back after" in lines[1]
