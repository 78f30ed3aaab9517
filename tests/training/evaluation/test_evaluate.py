"""`evaluate` on real files with the real model: bundle and checkpoint, resumed, with damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.cli import main
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import ModelSpec


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Five RGB-D pairs of a size that the bundle has to resize."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        depth = np.linspace(1, 8, 90)[:, None] + rng.uniform(0, 2, (90, 120))
        depth[40:60, 30 + 10 * i : 60 + 10 * i] = 1.5
        depth[:3] = 0
        image = (depth[..., None] * (20, 25, 30)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i}_color.png")
        Image.fromarray((depth * 5000).astype(np.uint16)).save(folder / f"{i}_depth.png")
    return folder


def run(model: Path, pairs: Path, output: Path, *options: str) -> int:
    arguments = ["evaluate", str(model), str(pairs), "-o", str(output), "--depth-scale", "5000"]
    return main([*arguments, *options])


def results(output: Path) -> dict[str, object]:
    data: dict[str, object] = json.loads((output / "results.json").read_text())
    return data


def test_a_bundle_and_its_checkpoint_agree(
    micro_bundle: Path,
    micro_spec: ModelSpec,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = tmp_path / "checkpoint"
    save_checkpoint(ApDepth.from_spec(micro_spec), checkpoint)
    assert run(micro_bundle, pairs, tmp_path / "a", "--backend", "onnxruntime", "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert first == results(tmp_path / "a") and first["frames"] == 5
    assert run(checkpoint, pairs, tmp_path / "b", "--height", "64", "--width", "96") == 0
    second = results(tmp_path / "b")
    for name in ("abs_rel", "delta1", "plane_abs_rel"):
        assert second[name] == pytest.approx(first[name], abs=1e-3)
    assert "AbsRel of a plane" in capsys.readouterr().out
    grid = np.asarray(Image.open(tmp_path / "a" / "grid.png"))
    assert grid.shape == (5 * 90, 4 * 120, 3)
    np.testing.assert_array_equal(grid[:90, :120], np.asarray(Image.open(pairs / "0_color.png")))


def test_it_goes_on_where_it_stopped(micro_bundle: Path, pairs: Path, tmp_path: Path) -> None:
    assert run(micro_bundle, pairs, tmp_path / "whole") == 0
    frames = tmp_path / "whole" / "frames.jsonl"
    lines = frames.read_text().splitlines(keepends=True)
    broken = tmp_path / "broken"
    broken.mkdir()
    marked = json.loads(lines[1]) | {"abs_rel": 123.0}
    # Killed after two frames, in the middle of writing the third.
    (broken / "frames.jsonl").write_text(
        lines[0] + json.dumps(marked) + "\n" + lines[2] + lines[3][:20]
    )
    assert run(micro_bundle, pairs, broken) == 0
    again = [json.loads(line) for line in (broken / "frames.jsonl").read_text().splitlines()[1:]]
    assert again == [marked, *(json.loads(line) for line in lines[2:])]


def test_another_models_results_are_not_mixed_in(
    micro_bundle: Path,
    micro_spec: ModelSpec,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(micro_bundle, pairs, tmp_path / "a", "--limit", "1", "--grid", "0") == 0
    save_checkpoint(ApDepth.from_spec(micro_spec, seed=5), tmp_path / "other")
    assert run(tmp_path / "other", pairs, tmp_path / "a") == 2
    assert "another model or set" in capsys.readouterr().err


def test_damaged_samples_are_named_and_counted(
    micro_bundle: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pairs / "1_color.png").write_bytes(b"torn")
    Image.fromarray(np.zeros((90, 120), np.uint16)).save(pairs / "3_depth.png")
    assert run(micro_bundle, pairs, tmp_path / "strict", "--bad-samples", "1") == 2
    assert "2 of 4 frames are missing or damaged, the first: " in capsys.readouterr().err
    assert run(micro_bundle, pairs, tmp_path / "lenient", "--bad-samples", "2") == 0
    found = results(tmp_path / "lenient")
    assert found["frames"] == 3
    first, second = found["skipped"]  # type: ignore[misc]
    assert "1_color.png: not a picture" in first and "3_color.png: no pixel counts" in second
    assert " 2 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--height", "64"], "go together"),
        (["--height", "64", "--width", "96"], "are for checkpoints"),
        (["--set", "nyu"], "needs --list"),
        (["--limit", "0"], "at least 1 frame"),
    ],
)
def test_wrong_use(
    micro_bundle: Path,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert run(micro_bundle, pairs, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err


def test_a_bundle_is_evaluated_without_torch(
    micro_bundle: Path, pairs: Path, tmp_path: Path, run_script: object
) -> None:
    script = f"""
import sys
from apdepth_deploy.cli import main
code = main(["evaluate", {str(micro_bundle)!r}, {str(pairs)!r}, "-o", {str(tmp_path / "out")!r},
             "--backend", "onnxruntime"])
assert code == 0
assert "torch" not in sys.modules and "diffusers" not in sys.modules
"""
    run_script(script)  # type: ignore[operator]
