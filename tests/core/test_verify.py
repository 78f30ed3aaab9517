"""Parity: the measure against numpy's own, and graphs that were tampered with."""

from __future__ import annotations

import json
import math
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.cli import main
from apdepth_deploy.errors import CheckpointError, ParityError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import ModelSpec, without_prior
from apdepth_deploy.verify import Record, compare, raise_on_miss, records_of

Array = NDArray[np.float32]
Text = pytest.CaptureFixture[str]
MakeBundle = Callable[[str, str], Path]

tamper = runpy.run_path(str(Path(__file__).parents[1] / "mutating.py"))["tamper"]

KEY = ("fused", "fp32", "onnxruntime", "photo", "decoder")


@pytest.fixture
def expected() -> Array:
    return np.random.default_rng(0).normal(0, 3, (1, 4, 8, 12)).astype(np.float32)


def key(precision: str, stage: str) -> tuple[str, str, str, str, str]:
    return ("fused", precision, "onnxruntime", "photo", stage)


def test_the_measures_are_those_of_float64(expected: Array) -> None:
    found = expected + np.random.default_rng(1).normal(0, 0.01, expected.shape).astype(np.float32)
    record = compare(expected, found, key("fp16", "unet"))
    a, b = expected.astype(np.float64), found.astype(np.float64)
    assert record.max_abs == pytest.approx(np.max(np.abs(a - b)), rel=1e-12)
    assert record.mean_abs == pytest.approx(np.mean(np.abs(a - b)), rel=1e-12)
    peak = a.max() - a.min()
    assert record.psnr == pytest.approx(10 * np.log10(peak**2 / np.mean((a - b) ** 2)), rel=1e-6)
    assert record.scale == pytest.approx(np.max(np.abs(a)))
    assert record.bad == 0


def test_equal_results_have_no_psnr_and_pass(expected: Array) -> None:
    record = compare(expected, expected.copy(), KEY)
    assert (record.max_abs, record.mean_abs, record.psnr, record.passed) == (0.0, 0.0, None, True)


def test_a_flat_result_is_measured_without_a_division(expected: Array) -> None:
    flat = np.ones_like(expected)
    assert compare(flat, flat + 1, KEY).psnr is None
    assert not compare(flat, flat + 1, KEY).passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_is_counted_and_fails(expected: Array, value: float) -> None:
    found = expected.copy()
    found[0, 1, 2, 3] = value
    for precision in ("fp32", "fp16", "bf16"):
        record = compare(expected, found, key(precision, "unet"))
        assert (record.bad, record.passed, record.max_abs) == (1, False, 0.0)
    found[0, 0, 0, 0] += 0.5
    assert compare(expected, found, key("fp32", "unet")).max_abs == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("precision", "stage", "error", "passed"),
    [
        ("fp32", "decoder", 0.9e-4, True),
        ("fp32", "decoder", 1.1e-4, False),
        ("fp16", "decoder", 1.9e-3, True),
        ("fp16", "decoder", 2.1e-3, False),
        ("bf16", "decoder", 1.5e-2, True),
        ("bf16", "decoder", 1.7e-2, False),
        ("fp16", "unet", 1.9e-3 * 8, True),
        ("fp16", "unet", 2.1e-3 * 8, False),
    ],
)
def test_the_mean_is_held_to_its_bound(
    precision: str, stage: str, error: float, passed: bool
) -> None:
    """Depth is measured as it is, a latent as a share of its largest magnitude (8 here)."""
    expected = np.linspace(-8, 8, 100, dtype=np.float64)[None]
    assert compare(expected, expected + error, key(precision, stage)).passed == passed


def test_a_single_pixel_fails_float32_and_not_half(expected: Array) -> None:
    found = expected.copy()
    found.flat[7] += 0.01
    assert not compare(expected, found, key("fp32", "decoder")).passed
    assert compare(expected, found, key("fp16", "decoder")).passed


def test_the_first_stage_that_strays_is_named(expected: Array) -> None:
    records = [
        compare(expected, expected + error, key("fp16", stage))
        for stage, error in (("prior", 0), ("encoder", 0.5), ("unet", 9))
    ]
    raise_on_miss(records[:1])
    with pytest.raises(
        ParityError, match=r"^fused\.fp16 strays .* first in stage 'encoder' \(photo"
    ):
        raise_on_miss(records)


@pytest.fixture
def chain_of(tmp_path: Path, micro_bundle: Path) -> MakeBundle:
    """(kind, precision) -> a copy of the micro bundle with that chain alone."""

    def make(kind: str, precision: str) -> Path:
        folder = Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))
        graphs = [vars(g) for g in Bundle.open(folder).chain_graphs(kind, precision)]
        names = {graph[key] for graph in graphs for key in ("file", "data")}

        def change(manifest: Any) -> None:
            kept = [g for g in manifest["graphs"] if g["file"] in names]
            manifest["graphs"], manifest["parity"] = kept, []
            names.update(frame["file"] for frame in manifest["golden"]["frames"])
            manifest["files"] = {name: manifest["files"][name] for name in names}

        edit(folder, change)
        return folder

    return make


def edit(bundle: Path, change: Callable[[Any], object]) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def verify(bundle: Path, checkpoint: Path, *options: str) -> int:
    return main(["verify", str(bundle), "--checkpoint", str(checkpoint), *options])


def strict(text: str) -> Any:
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_whole_bundle_passes_and_the_record_is_in_the_manifest(
    chain_of: MakeBundle, micro_saved: Path, capsys: Text
) -> None:
    bundle = chain_of("fused", "fp32")
    assert verify(bundle, micro_saved, "--json") == 0
    said = strict(capsys.readouterr().out)
    assert said == Bundle.open(bundle).manifest["parity"]
    records = [Record(**entry) for entry in said]
    assert records == records_of(Bundle.open(bundle).manifest)
    frames, stages = ("photo", "random"), ("prior", "encoder", "unet", "decoder")
    assert [(r.frame, r.stage) for r in records] == [(f, s) for f in frames for s in stages]
    assert all(r.passed and r.bad == 0 for r in records)
    assert max(r.max_abs for r in records if r.stage == "decoder") <= 1e-4


@pytest.mark.parametrize(
    ("kind", "name", "weight", "stage"),
    [
        ("fused", "fused.fp32", "model.unet.conv_in.weight", "unet"),
        ("fused", "fused.fp16", "model.vae.decoder.1.conv_in.weight", "decoder"),
        ("staged", "prior.fp32", None, "prior"),
    ],
)
def test_one_tampered_weight_is_found_in_its_stage(
    chain_of: MakeBundle,
    micro_saved: Path,
    capsys: Text,
    kind: str,
    name: str,
    weight: str | None,
    stage: str,
) -> None:
    precision = name[-4:]
    bundle = chain_of(kind, precision)
    tamper(bundle, name, weight, 100.0)
    assert verify(bundle, micro_saved) == 1
    said = capsys.readouterr()
    line = f"error: {kind}.{precision} strays from PyTorch, first in stage {stage!r} (photo frame)"
    assert said.err.splitlines()[-1].startswith(line)
    rows = said.out.splitlines()
    assert next(row for row in rows if "STRAYS" in row).split()[:3] == [
        f"{kind}.{precision}",
        "photo",
        stage,
    ]
    assert not all(record.passed for record in records_of(Bundle.open(bundle).manifest))


def test_a_nan_is_counted_and_the_record_stays_json(
    chain_of: MakeBundle, micro_saved: Path, capsys: Text
) -> None:
    bundle = chain_of("fused", "fp32")
    tamper(bundle, "fused.fp32", "model.vae.decoder.1.conv_in.weight", math.nan)
    assert verify(bundle, micro_saved, "--json") == 1
    said = capsys.readouterr()
    assert "first in stage 'decoder' (photo frame): 6144 NaN/Inf" in said.err
    records = strict(said.out)
    assert records == strict((bundle / "manifest.json").read_text())["parity"]
    bad = [record for record in records if record["stage"] == "decoder"]
    assert [(r["bad"], r["psnr"], r["passed"]) for r in bad] == [(6144, None, False)] * 2
    assert main(["inspect", str(bundle)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "STRAYS" in line)
    assert row.split() == [
        "fused.fp32",
        "photo",
        "decoder",
        "0.0e+00",
        "0.0e+00",
        "-",
        "6144",
        "STRAYS",
    ]


def test_weights_that_are_not_known_are_asked_for(micro_bundle: Path, capsys: Text) -> None:
    assert main(["verify", str(micro_bundle)]) == 2
    assert "pass --checkpoint to name its weights" in capsys.readouterr().err


def test_a_model_without_a_prior_is_not_this_bundles(
    micro_bundle: Path, micro_spec: ModelSpec, tmp_path: Path, capsys: Text
) -> None:
    save_checkpoint(ApDepth.from_spec(without_prior(micro_spec)), tmp_path / "plain")
    assert verify(micro_bundle, tmp_path / "plain") == 2
    line = f"error: {tmp_path}/plain is not the model of {micro_bundle}: one has no prior\n"
    assert capsys.readouterr().err.endswith(line)


def test_equal_results_pass_where_pytorch_gives_zeros():
    zeros = np.zeros((1, 4, 2, 2), np.float32)
    assert compare(zeros, zeros.copy(), ("fused", "fp16", "onnxruntime", "photo", "unet")).passed


def test_another_architecture_is_named_as_such():
    key = ("fused", "fp16", "onnxruntime", "photo", "encoder")
    with pytest.raises(CheckpointError, match="not the checkpoint that was exported"):
        compare(np.zeros((1, 4, 2, 2), np.float32), np.zeros((1, 8, 2, 2), np.float32), key)
