"""`infer` of videos: every frame by the existing writer, steadied, in metres, and past damage."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy import Stabilizer, fit_metres, load
from apdepth_deploy.cli import main
from apdepth_deploy.runtime.metric.tracking import FitFilter

pytest.importorskip("av")
CLIPS = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "clips.py")))
Text = pytest.CaptureFixture[str]


def infer(bundle: Path, *words: object) -> int:
    return main(["infer", str(bundle), *map(str, words), "--backend", "onnxruntime"])


def depth_of(output: Path, number: int) -> np.ndarray:
    return np.asarray(np.load(output / "clip" / f"{number:06d}_depth.npy"))


def written(output: Path) -> list[str]:
    return sorted(path.name.removesuffix("_depth.npy") for path in output.glob("clip/*_depth.npy"))


def raw(bundle: Path, images: list[Any]) -> list[np.ndarray]:
    with load(bundle, backend="onnxruntime") as predict:
        return [predict(image) for image in images]


def steadied(bundle: Path, images: list[Any]) -> list[np.ndarray]:
    steady = Stabilizer()
    return [steady(*pair) for pair in zip(images, raw(bundle, images), strict=True)]


def test_every_frame_is_written_and_steadied(
    bundle: Path, results: Any, tmp_path: Path, capsys: Text
) -> None:
    """As by the front door; two videos are two streams."""
    images = CLIPS.scenes(4)
    clip = CLIPS.write(tmp_path / "clip.mkv", images)
    other = CLIPS.write(tmp_path / "other.avi", images[2:])
    assert infer(bundle, clip, other, "-o", tmp_path / "out") == 0
    stems = [f"clip/{k:06d}" for k in range(4)] + ["other/000000", "other/000001"]
    assert results(tmp_path / "out") == stems
    for number, depth in enumerate(steadied(bundle, images)):
        np.testing.assert_array_equal(depth_of(tmp_path / "out", number), depth)
    first = np.load(tmp_path / "out" / "other" / "000000_depth.npy")
    np.testing.assert_array_equal(first, raw(bundle, images)[2])
    said = capsys.readouterr()
    assert f"[1/2] {clip}, frame 3\n" in said.err and f"[2/2] {other}, frame 0\n" in said.err
    assert said.out.startswith("2 of 2 pictures and videos done")


def test_without_a_sequence_each_frame_has_its_own_depth(bundle: Path, tmp_path: Path) -> None:
    images = CLIPS.scenes(7)
    clip = CLIPS.write(tmp_path / "clip.mkv", images)
    words = ("-o", tmp_path / "out", "--no-sequence", "--frames-every", 3)
    assert infer(bundle, clip, *words) == 0
    assert written(tmp_path / "out") == ["000000", "000003", "000006"]
    for number in (0, 3, 6):
        (depth,) = raw(bundle, [images[number]])
        np.testing.assert_array_equal(depth_of(tmp_path / "out", number), depth)


def test_pictures_beside_a_video_stay_on_their_own(bundle: Path, tmp_path: Path) -> None:
    images = CLIPS.scenes(3)
    clip = CLIPS.write(tmp_path / "clip.mkv", images)
    for name, image in zip("ab", images, strict=False):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    assert infer(bundle, pictures[0], clip, pictures[1], "-o", tmp_path / "out") == 0
    found = np.load(tmp_path / "out" / "b_depth.npy")
    np.testing.assert_array_equal(found, raw(bundle, images)[1])
    np.testing.assert_array_equal(depth_of(tmp_path / "out", 2), steadied(bundle, images)[2])


def anchors_of(folder: Path, number: int, depth: np.ndarray, scale: float) -> np.ndarray:
    """A few, written for a frame: z = ``scale`` depth + 1, and what they are."""
    y, x = np.mgrid[3:48:9, 3:64:9].reshape(2, -1)
    anchors = np.stack([x, y, (scale * depth[y, x] + 1).astype(float)], axis=1)
    (folder / "clip").mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "clip" / f"{number:06d}.csv", anchors, "%.9g", ",")
    return anchors


def test_scale_and_shift_are_carried_over_frames_by_their_times(
    bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    """Anchors for two frames of ten in a video of 5 a second: held for a second after the last."""
    images = CLIPS.scenes(10)
    clip = CLIPS.write(tmp_path / "clip.mkv", images, rate=5)
    depths = steadied(bundle, images)
    anchors = {k: anchors_of(tmp_path / "anchors", k, depths[k], 4 + 0.1 * k) for k in (0, 2)}
    assert infer(bundle, clip, "--anchors", tmp_path / "anchors", "-o", tmp_path / "out") == 1
    carry, lines = FitFilter(), (tmp_path / "out" / "fits.jsonl").read_text().splitlines()
    for number, (depth, line) in enumerate(zip(depths, lines, strict=True)):
        own = fit_metres(depth, anchors[number]) if number in anchors else None
        fit, told = carry(own, number / 5), json.loads(line)
        assert told["frame"] == number and told["seconds"] == pytest.approx(number / 5)
        assert told["picture"] == str(clip) and told["valid"] == fit.valid == (number <= 7)
        assert told["age"] == pytest.approx(carry.age)
        if fit.valid:
            found = depth_of(tmp_path / "out", number)
            np.testing.assert_allclose(found, fit.metres(depth), rtol=1e-5)
    assert written(tmp_path / "out") == [f"{k:06d}" for k in range(8)]
    said = capsys.readouterr()
    assert f"failed: {clip}, frame 8: no metres: no anchors to believe for 1.2 s" in said.err
    assert "(and 1 more failures, 10 frames)" in said.err
    assert said.out.startswith("0 of 1 pictures and videos done")


def test_nothing_is_carried_over_a_cut(bundle: Path, tmp_path: Path, capsys: Text) -> None:
    images = CLIPS.scenes(4)
    images[2:] = [255 - image[::-1] for image in images[2:]]
    clip = CLIPS.write(tmp_path / "clip.mkv", images)
    anchors_of(tmp_path / "anchors", 0, steadied(bundle, images)[0], 4.0)
    assert infer(bundle, clip, "--anchors", tmp_path / "anchors", "-o", tmp_path / "out") == 1
    assert written(tmp_path / "out") == ["000000", "000001"]
    assert f"{clip}, frame 2: no metres: {tmp_path}/anchors has none of" in capsys.readouterr().err


def test_a_truncated_video_keeps_its_frames_and_stops_no_other(
    bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    images = CLIPS.scenes(8, noise=60.0)
    clip = CLIPS.cut(CLIPS.write(tmp_path / "clip.mkv", images), 0.5)
    whole = CLIPS.write(tmp_path / "whole.mkv", images[:2])
    sound = CLIPS.silence(tmp_path / "sound.mp4")
    assert infer(bundle, clip, sound, whole, "-o", tmp_path / "out") == 1
    count = len(written(tmp_path / "out"))
    assert 2 <= count < 8 and (tmp_path / "out" / "whole" / "000001_depth.npy").exists()
    for number, depth in enumerate(steadied(bundle, images[:count])):
        np.testing.assert_array_equal(depth_of(tmp_path / "out", number), depth)
    said = capsys.readouterr()
    assert f"failed: {clip}: damaged or truncated: {count} frames can be read, to" in said.err
    assert f"failed: {sound}: has no video stream\n" in said.err
    assert said.out.startswith("1 of 3 pictures and videos done")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("--frames-every 0", "--frames-every must be 1 or more, not 0"),
        ("--sequence --state s.npz", "--state is for pictures: each video is a stream"),
        ("--camera-height 1 --pitch 9", "clip.mkv: a video doesn't say what its camera is"),
    ],
)
def test_wrong_use_is_told(
    bundle: Path, tmp_path: Path, monkeypatch: Any, words: str, rule: str, capsys: Text
) -> None:
    monkeypatch.chdir(tmp_path)
    CLIPS.write(Path("clip.mkv"), CLIPS.scenes(1))
    assert infer(bundle, "clip.mkv", *words.split(), "-o", "out") == 2
    assert f"error: {rule}" in capsys.readouterr().err
    assert not Path("out").exists() and not Path("s.npz").exists()


def test_a_frames_result_spares_a_picture(bundle: Path, tmp_path: Path, capsys: Text) -> None:
    clip = CLIPS.write(tmp_path / "clip.mkv", CLIPS.scenes(1))
    mine = tmp_path / "out" / "clip" / "000000_depth.png"
    mine.parent.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(mine)
    before = mine.read_bytes()
    assert infer(bundle, clip, mine, "-o", tmp_path / "out") == 2
    assert "its clip/000000_depth.png would take the place of a picture" in capsys.readouterr().err
    assert mine.read_bytes() == before
