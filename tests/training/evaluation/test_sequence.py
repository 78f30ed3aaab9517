"""`evaluate --sequence`: its numbers by hand on paths made by hand; the verb on a rendered set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from apdepth_deploy import Stabilizer, load
from apdepth_deploy.cli import main
from apdepth_deploy.errors import DataError
from apdepth_deploy.training.data.paths import Flow, read_paths
from apdepth_deploy.training.data.sample import Sample
from apdepth_deploy.training.evaluation.sequence import abs_rel_held, flicker, moved

SHAPE = 20, 30


def samples_of(truth: np.ndarray) -> list[Sample]:
    return [
        Sample(str(k), np.zeros((*z.shape, 3), np.uint8), z, z > 0) for k, z in enumerate(truth)
    ]


def sideways(count: int) -> tuple[np.ndarray, list[Flow]]:
    """Depth [count,H,W] that moves to the left by a pixel a frame, with its flow."""
    rng = np.random.default_rng(0)
    wide = rng.uniform(1, 5, (SHAPE[0], SHAPE[1] + count)).astype(np.float32)
    truth = np.stack([wide[:, k : k + SHAPE[1]] for k in range(count)])
    rows, columns = np.indices(SHAPE, dtype=np.float64)
    flows = [Flow(columns - 1, rows, truth[0], columns >= 1) for _ in range(count - 1)]
    return truth, flows


def test_flicker_by_hand() -> None:
    truth, flows = sideways(5)
    samples = samples_of(truth)
    assert flicker(list(3 * truth + 7), samples, flows) == pytest.approx(0, abs=1e-6)
    rng = np.random.default_rng(1)
    predicted = (0.2 * truth - 0.1 + rng.normal(0, 0.05, truth.shape)).astype(np.float32)
    scale, shift = np.polyfit(predicted.ravel(), truth.ravel(), 1)
    aligned = scale * predicted + shift
    changes = [
        np.abs((aligned[k + 1][:, :-1] - aligned[k][:, 1:]) - 0.0).mean() for k in range(4)
    ]  # what is seen in both has one depth
    width = np.subtract(*np.quantile(truth, [0.98, 0.02]))
    assert flicker(list(predicted), samples, flows) == pytest.approx(np.mean(changes) / width)


def test_a_scale_of_its_own_in_each_frame_is_flicker() -> None:
    truth, flows = sideways(5)
    breathing = truth * np.array([1, 1.1, 1, 1.1, 1], np.float32)[:, None, None]
    assert flicker(list(breathing), samples_of(truth), flows) > 0.05


def test_a_path_of_which_nothing_is_seen_twice_has_none() -> None:
    truth, flows = sideways(3)
    blind = [Flow(one.x, one.y, one.z, one.seen & False) for one in flows]
    with pytest.raises(DataError, match="no two neighbouring frames"):
        flicker(list(truth), samples_of(truth), blind)


def test_what_moves_of_the_first_frame_by_hand() -> None:
    truth, flows = sideways(3)
    since = [flows[0], Flow(flows[0].x - 1, flows[0].y, truth[0], flows[0].x >= 1)]
    samples = samples_of(truth)
    assert moved(list(0.5 * truth - 1), samples, since) == pytest.approx(0, abs=1e-6)
    entered = truth.copy()
    entered[2] += 0.3  # something came in, and all else went back
    told = moved(list(entered), samples, since)
    share = (0.3 / truth[0][:, 2:]).sum() / (truth[0][:, 1:].size + truth[0][:, 2:].size)
    assert told == pytest.approx(share, rel=1e-4)
    assert np.isnan(moved(list(truth[:1]), samples[:1], []))


def test_a_held_fit_shows_what_changed_since() -> None:
    truth = np.random.default_rng(0).uniform(1, 5, (4, *SHAPE)).astype(np.float32)
    factors = np.array([1, 0.8, 0.5, 0.4])
    drifting = [(z / a).astype(np.float32) for z, a in zip(truth, factors, strict=True)]
    start = [True, False, False, False]
    samples = samples_of(truth)
    assert abs_rel_held(drifting, samples, start, 1) == pytest.approx(0, abs=1e-6)
    once = np.mean(1 / factors - 1)
    assert abs_rel_held(drifting, samples, start, 1 << 62) == pytest.approx(once, rel=1e-4)
    second = np.mean([0, 1 / 0.8 - 1, 0, 0.5 / 0.4 - 1])
    assert abs_rel_held(drifting, samples, start, 2) == pytest.approx(second, rel=1e-4)
    cut = [True, False, True, False]
    assert abs_rel_held(drifting, samples, cut, 1 << 62) == pytest.approx(second, rel=1e-4)
    sky = [Sample("sky", s.image, s.depth, s.valid & False) for s in samples]
    assert abs_rel_held(drifting[:2], [samples[0], sky[1]], start[:2], 1) < 1e-6
    with pytest.raises(DataError, match="no frame has depth"):
        abs_rel_held(drifting, sky, start, 1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two paths of five frames; read only."""
    pytest.importorskip("mitsuba")
    pytest.importorskip("pyoidn")
    folder = tmp_path_factory.mktemp("paths") / "set"
    words = "--path handheld --views 5 --train 0 --val 0 --test 10 --height 48 --width 64 --spp 1"
    assert main(["synthesize", "-o", str(folder), *words.split(), "--workers", "1"]) == 0
    return folder


def test_the_verb_says_what_the_parts_give(
    rendered: Path, micro_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(micro_bundle), str(rendered), "-o", str(tmp_path), "--sequence"]
    assert main([*words, "--backend", "onnxruntime"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["000000", "000001", "mean"]
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["frames"] == 10
    predict, path = load(micro_bundle, backend="onnxruntime"), read_paths(rendered)[1]
    steady = Stabilizer()
    raw, stable = [], []
    for number in range(5):
        raw.append(predict(path[number].image))
        stable.append(steady(path[number].image, raw[-1]))
    samples = [path[number] for number in range(5)]
    start = [True, False, False, False, False]
    for kind, depths in (("raw", raw), ("stable", stable)):
        for name, held in (("every_frame", 1), ("every_10th", 10), ("once", 99)):
            expected = abs_rel_held(depths, samples, start, held)
            assert found["paths"][1][f"abs_rel_{name}"][kind] == pytest.approx(expected, rel=1e-6)
        mean = np.mean([one["flicker"][kind] for one in found["paths"]])
        assert found["flicker"][kind] == pytest.approx(mean)


def test_other_sets_and_options_are_refused(
    rendered: Path, micro_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(micro_bundle), "-o", str(tmp_path / "out"), "--sequence"]
    assert main([*words, str(rendered), "--limit", "3"]) == 2
    assert "no --limit" in capsys.readouterr().err
    assert main([*words, str(tmp_path)]) == 2
    assert "synthesize" in capsys.readouterr().err
