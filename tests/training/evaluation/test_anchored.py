"""`evaluate --anchors`: how anchors are drawn, and that metres are scored by them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.cli import main
from apdepth_deploy.training.data.eval_sets import open_eval_set
from apdepth_deploy.training.data.sample import Sample
from apdepth_deploy.training.evaluation.anchored import (
    Drawing,
    draw,
    evaluate_anchored,
    interpolate,
)
from apdepth_deploy.training.evaluation.models import Model

Text = pytest.CaptureFixture[str]
DEPTH = np.tile(np.linspace(1.0, 9.0, 96, dtype=np.float32), (64, 1))


@pytest.fixture
def sample() -> Sample:
    valid = np.ones(DEPTH.shape, bool)
    valid[:, :10] = False
    return Sample("ramp", np.zeros((64, 96, 3), np.uint8), DEPTH, valid)


def test_anchors_are_valid_pixels_with_the_noise_asked_for(sample: Sample) -> None:
    anchors = draw(sample, "2000", 0.02, 0.0, np.random.default_rng(0))
    x, y = anchors[:, 0].astype(int), anchors[:, 1].astype(int)
    assert len(anchors) == 2000 and sample.valid[y, x].all()
    assert len({*zip(x, y, strict=True)}) == 2000
    assert np.std(anchors[:, 2] / DEPTH[y, x] - 1) == pytest.approx(0.02, rel=0.1)


def test_so_many_are_outliers(sample: Sample) -> None:
    anchors = draw(sample, "1000", 0.0, 0.4, np.random.default_rng(0))
    truth = DEPTH[anchors[:, 1].astype(int), anchors[:, 0].astype(int)]
    assert np.count_nonzero(np.abs(anchors[:, 2] - truth) > 1e-3) == 400


def test_rings_are_sixteen_rows(sample: Sample) -> None:
    anchors = draw(sample, "rings", 0.0, 0.0, np.random.default_rng(0))
    rows = Counter(anchors[:, 1].astype(int))
    assert len(rows) == 16 and min(rows) == 16 and max(rows) == 60
    assert set(rows.values()) == {len(range(12, 96, 4))}


def test_between_anchors_it_is_linear_and_outside_the_nearest() -> None:
    corners = np.array([[10, 10, 1.0], [80, 10, 8.0], [10, 50, 1.0], [80, 50, 8.0]])
    found = interpolate(corners, (64, 96))
    assert found[30, 45] == pytest.approx(4.5)
    assert found[0, 0] == 1.0 and found[63, 95] == 8.0
    on_a_line = corners[:2]
    assert set(np.unique(interpolate(on_a_line, (64, 96)))) == {1.0, 8.0}


def write_pair(folder: Path, depth: NDArray[np.float32], grey: NDArray[np.float64]) -> None:
    folder.mkdir()
    picture = np.repeat(np.rint(grey * 255).astype(np.uint8)[..., None], 3, axis=-1)
    Image.fromarray(picture).save(folder / "a_color.png")
    Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(folder / "a_depth.png")


def test_a_model_that_is_right_gets_the_metres_of_its_anchors(tmp_path: Path) -> None:
    """Depth is the picture's grey here: scale and shift are all that is missing."""
    write_pair(tmp_path / "pairs", DEPTH, (DEPTH - 1.0) / 8.0)
    rules = open_eval_set("rgbd", tmp_path / "pairs", None, 1000.0)
    grey = Model(lambda image: (image[..., 0] / 255).astype(np.float32), "grey", "grey")
    lines: list[str] = []

    def evaluate(noise: float, outliers: float) -> dict[str, dict[str, float]]:
        drawing = Drawing(("2", "64", "rings"), noise, outliers)
        results = evaluate_anchored(grey, rules, tmp_path / "out", drawing, None, lines.append)
        assert results == json.loads((tmp_path / "out" / "results.json").read_text())
        return dict(results["anchors"])

    found = evaluate(0.01, 0.0)
    assert list(found) == ["2", "64", "rings"] and lines == ["1 of 1 frames"]
    assert found["64"]["line"] < 0.01 and found["rings"]["field"] < 0.01
    assert found["64"]["interpolated"] > 2 * found["64"]["line"]
    assert found["64"]["known"] == 1.0
    with_outliers = evaluate(0.01, 0.4)["64"]
    assert with_outliers["field"] < 0.02 < with_outliers["interpolated"]


def test_the_verb_prints_a_line_for_each_number(
    micro_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    write_pair(tmp_path / "pairs", DEPTH, (DEPTH - 1.0) / 8.0)
    words = ["evaluate", str(micro_bundle), str(tmp_path / "pairs"), "-o", str(tmp_path / "out")]
    assert main([*words, "--anchors", "8,rings", "--backend", "onnxruntime"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["anchors", "8", "rings"]
    assert main([*words, "--anchors", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 1


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("--anchors 1", "--anchors takes numbers from 2 on, and rings; not '1'"),
        ("--anchors 8,x", "--anchors takes numbers from 2 on, and rings; not 'x'"),
        ("--anchors 8 --anchor-noise 1", "--anchor-noise and --anchor-outliers are shares"),
        ("--anchors 8 --anchor-outliers -1", "--anchor-noise and --anchor-outliers are shares"),
        ("--anchors 8 --sequence", "--anchors or --sequence: they are two evaluations"),
    ],
)
def test_what_cant_be_drawn_is_refused(
    micro_bundle: Path, tmp_path: Path, words: str, rule: str, capsys: Text
) -> None:
    write_pair(tmp_path / "pairs", DEPTH, (DEPTH - 1.0) / 8.0)
    command = ["evaluate", str(micro_bundle), str(tmp_path / "pairs")]
    assert main([*command, "-o", str(tmp_path / "out"), *words.split()]) == 2
    assert capsys.readouterr().err.startswith(f"error: {rule}")
