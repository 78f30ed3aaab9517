"""`evaluate --sequence` on any folder of frames: flicker where the picture stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.cli import main
from apdepth_deploy.errors import DataError
from apdepth_deploy.training.evaluation.models import Model
from apdepth_deploy.training.evaluation.still import evaluate_frames, find_frames, stays

RNG = np.random.default_rng(0)
SCENE = RNG.integers(0, 255, (48, 64, 3)).astype(np.uint8)
FLAT = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)


def quiet(line: str) -> None:
    """No progress."""


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Twelve of a still scene, a square of which is another picture in each."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):
        image = np.clip(SCENE + RNG.normal(0, 2.5, SCENE.shape), 0, 255).astype(np.uint8)
        image[10:30, 20:40] = RNG.integers(0, 255, (20, 20, 3))
        Image.fromarray(image).save(folder / f"frame_{number}.png")
    return folder


def breathing() -> Model:
    """Depth that is 0.1 of its range too far in every second frame."""
    numbers = iter(range(1000))

    def predict(image: np.ndarray) -> np.ndarray:
        return FLAT + np.float32(0.1 * (next(numbers) % 2))

    return Model(predict, "breathing", "")


def test_flicker_by_hand(frames: Path, tmp_path: Path) -> None:
    found = evaluate_frames(breathing(), find_frames(frames), tmp_path / "out", quiet)
    assert found == json.loads((tmp_path / "out" / "results.json").read_text())
    width = np.subtract(*np.quantile(FLAT, [0.98, 0.02]))
    assert found["flicker"]["raw"] == pytest.approx(0.1 / width, rel=1e-3)
    assert found["flicker_ratio"] < 0.6
    assert found["still"] == pytest.approx(1 - 22 * 22 / (48 * 64), abs=0.02)


def test_noise_stays_and_a_change_does_not() -> None:
    noisy = np.clip(SCENE + RNG.normal(0, 2.5, SCENE.shape), 0, 255).astype(np.uint8)
    assert stays(SCENE, noisy).mean() > 0.95
    assert not stays(SCENE, np.clip(SCENE.astype(int) + 12, 0, 255).astype(np.uint8)).any()


def test_frames_come_by_their_numbers(frames: Path) -> None:
    assert [path.stem for path in find_frames(frames)] == [f"frame_{k}" for k in range(12)]


def test_what_is_no_sequence_is_refused(frames: Path, tmp_path: Path) -> None:
    for path in sorted(frames.iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="two pictures or more"):
        find_frames(frames)
    with pytest.raises(DataError, match="no such folder"):
        find_frames(tmp_path / "none")
    Image.fromarray(SCENE).save(frames / "frame_1.png")
    Image.fromarray(SCENE[:40]).save(frames / "frame_2.png")
    model = Model(lambda image: FLAT[: len(image)], "", "")
    Image.fromarray(255 - SCENE).save(frames / "frame_1.png")  # a cut, and another size
    with pytest.raises(DataError, match="no pixel stays"):
        evaluate_frames(model, find_frames(frames), tmp_path / "out", quiet)
    assert not (tmp_path / "out").exists()


def test_the_verb_takes_a_folder(
    frames: Path, micro_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(micro_bundle), str(frames), "-o", str(tmp_path / "out"), "--sequence"]
    assert main([*words, "--backend", "onnxruntime"]) == 0
    assert "flicker there" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "results.json").read_text())["frames"] == 12
