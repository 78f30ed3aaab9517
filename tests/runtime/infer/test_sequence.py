"""`infer --sequence`: in the order of numbers, steadied, and gone on with from a saved state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy import Stabilizer, load
from apdepth_deploy.cli import main

Text = pytest.CaptureFixture[str]


@pytest.fixture
def bundle(mean_bundle: Callable[..., Path]) -> Path:
    return mean_bundle(1, 64, 96)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """frame_8.png .. frame_11.png: a still scene with noise."""
    rng = np.random.default_rng(0)
    scene = rng.integers(40, 200, (8, 12, 3)).repeat(8, axis=0).repeat(8, axis=1)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(8, 12):
        noisy = (scene + rng.normal(0, 3, scene.shape)).round().clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"frame_{number}.png")
    return folder


def infer(bundle: Path, *words: object) -> int:
    return main(["infer", str(bundle), *map(str, words), "--backend", "onnxruntime"])


def depth_of(output: Path, number: int) -> np.ndarray:
    return np.asarray(np.load(output / f"frame_{number}_depth.npy"))


def expected(bundle: Path, frames: Path) -> list[np.ndarray]:
    """By the front door, in the order that the numbers say."""
    predict, steady = load(bundle, backend="onnxruntime"), Stabilizer()
    pictures = [np.asarray(Image.open(frames / f"frame_{k}.png")) for k in range(8, 12)]
    return [steady(picture, predict(picture)) for picture in pictures]


def test_pictures_go_through_the_stabilizer_by_number(
    bundle: Path, frames: Path, tmp_path: Path
) -> None:
    assert infer(bundle, frames, "-o", tmp_path / "raw") == 0
    assert infer(bundle, frames, "-o", tmp_path / "out", "--sequence") == 0
    for number, depth in zip(range(8, 12), expected(bundle, frames), strict=True):
        np.testing.assert_array_equal(depth_of(tmp_path / "out", number), depth)
    assert not np.array_equal(depth_of(tmp_path / "out", 11), depth_of(tmp_path / "raw", 11))


def test_a_second_run_goes_on_from_the_state(bundle: Path, frames: Path, tmp_path: Path) -> None:
    options = ("-o", tmp_path / "out", "--sequence", "--state", tmp_path / "kept" / "state.npz")
    assert infer(bundle, frames / "frame_8.png", frames / "frame_9.png", *options) == 0
    assert infer(bundle, frames / "frame_10.png", frames / "frame_11.png", *options) == 0
    for number, depth in zip(range(8, 12), expected(bundle, frames), strict=True):
        np.testing.assert_array_equal(depth_of(tmp_path / "out", number), depth)


def test_a_bad_picture_in_between_costs_itself_alone(
    bundle: Path, frames: Path, tmp_path: Path
) -> None:
    (frames / "frame_9b.png").write_bytes(b"half a picture")
    assert infer(bundle, frames, "-o", tmp_path / "out", "--sequence") == 1
    np.testing.assert_array_equal(depth_of(tmp_path / "out", 11), expected(bundle, frames)[-1])


def test_what_is_no_state_is_refused_and_stays(
    bundle: Path, frames: Path, tmp_path: Path, capsys: Text
) -> None:
    np.savez(tmp_path / "other.npz", depth=np.zeros(3))
    (tmp_path / "text").write_text("mine")
    for name in ("other.npz", "text"):
        before = (tmp_path / name).read_bytes()
        words = (frames, "-o", tmp_path / "out", "--sequence", "--state", tmp_path / name)
        assert infer(bundle, *words) == 2
        assert "is no state" in capsys.readouterr().err
        assert (tmp_path / name).read_bytes() == before
    assert infer(bundle, frames, "-o", tmp_path / "out", "--state", tmp_path / "s.npz") == 2
    assert "--state is for --sequence" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
