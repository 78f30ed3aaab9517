"""The bundle's manifest: what it says is taken, and a value out of place is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle, is_bundle, to_json
from apdepth_deploy.bundle.manifest import finite
from apdepth_deploy.cli import main
from apdepth_deploy.errors import ApDepthError, BundleError, CheckpointError
from apdepth_deploy.spec import ModelSpec

Edit = Callable[[Any], object]


def edit(bundle: Path, change: Edit) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def put(*keys: Any, value: Any) -> Edit:
    """An edit that sets one value deep inside."""

    def change(manifest: Any) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return change


def test_an_opened_bundle_says_what_was_exported(micro_bundle: Path, micro_spec: ModelSpec) -> None:
    opened = Bundle.open(micro_bundle)
    assert opened.spec == micro_spec
    assert opened.frame_shape == (1, 64, 96)
    assert opened.chains == [(k, p) for p in ("fp32", "fp16") for k in ("fused", "staged")]
    stages = [graph.label for graph in opened.chain_graphs("staged", "fp16")]
    assert stages == ["prior.fp16", "encoder.fp16", "unet.fp16", "decoder.fp16"]
    assert not opened.random_weights


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/hostname", "onnx/../../x", "onnx/..", "..\\x", "onnx\\x", "onnx/a\0b", "", "."],
)
def test_a_path_that_leaves_the_bundle_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "x").touch()
    edit(bundle, put("files", name, value={"size": 0, "sha256": "0"}))
    with pytest.raises(BundleError, match="a path that leaves the bundle"):
        Bundle.open(bundle)


def test_a_graph_whose_files_have_no_hash_is_refused(bundle: Path) -> None:
    edit(bundle, lambda manifest: manifest["files"].pop("onnx/fused.fp16.data"))
    with pytest.raises(BundleError, match=r"no hash for onnx/fused\.fp16\.data"):
        Bundle.open(bundle)


FILE = "onnx/fused.fp32.onnx"


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("files",), []),
        (("files", FILE), None),
        (("files", FILE, "size"), "457475"),
        (("files", FILE, "size"), True),
        (("files", FILE, "sha256"), 5),
        (("graphs",), {}),
        (("graphs", 0), None),
        (("graphs", 0, "batch"), "1"),
        (("graphs", 0, "batch"), 0),
        (("graphs", 0, "height"), 64.0),
        (("graphs", 0, "height"), [64, 32, 128]),
        (("graphs", 0, "width"), [64, 64]),
        (("graphs", 0, "width"), 95),
        (("graphs", 0, "precision"), "fp8"),
        (("graphs", 0, "precision"), ["fp32"]),
        (("graphs", 0, "inputs"), "image"),
        (("graphs", 0, "inputs", 0), "image"),
        (("graphs", 0, "inputs", 0, "name"), None),
        (("graphs", 0, "outputs", 0, "shape"), 3),
        (("graphs", 0, "outputs", 0, "shape"), ["B"]),
        (("graphs", 0, "file"), 3),
        (("graphs", 0, "data"), ["x"]),
        (("graphs", 0, "gflop"), {"unet": "many"}),
        (("graphs", 0, "gflop"), {"unet": -1.0}),
        (("graphs", 0, "gflop"), {"unet": 10**400}),
        *(
            (("graphs", 0, key), value)
            for key in ("batch", "height", "width")
            for value in (2**31 - 8, 2**31, 2**63, 10**40, 10**400, -8, True, [8, 8, 2**31 - 8])
        ),
        *(
            (("graphs", 0, key), value)
            for key in ("parameters", "nodes", "opset")
            for value in (2**63, 10**400, -1, True, 1.0)
        ),
        (("graphs", 0, "inputs", 0, "shape", 1), 2**63),
        (("files", FILE, "size"), 2**63),
        (("source", "seed"), 2**63),
        (("source", "name"), "x" * 5000),
        (("spec", "trained_at"), [[2**63, 64]]),
        (("spec", "conventions", "prior_mean", 0), 10**400),
        (("spec", "conventions", "timestep"), 10**400),
        (("parity", 0, "max_abs"), -1.0),
        (("parity", 0, "bad"), 2**63),
        (("license",), "MIT"),
        (("license", "weights"), 5),
        (("license", "prior"), "x" * 5000),
        (("folding",), []),
        (("folding", "applied"), "all"),
        (("folding", "skipped"), ["text"]),
        (("folding", "before"), None),
        (("folding", "after", "parameters", "unet"), 0.5),
        (("folding", "after", "gflop"), {"unet": "many"}),
        (("spec",), None),
        (("spec",), []),
        (("spec", "unet"), 5),
        (("spec", "vae"), {}),
        (("spec", "vae", "block_out_channels"), 8),
        (("spec", "vae", "block_out_channels"), []),
        (("spec", "vae", "block_out_channels"), [8] * 99),
        (("spec", "conventions"), "v1.1"),
        (("spec", "conventions", "concat"), [1, "prior"]),
        (("spec", "later"), 1),
        (("source",), "model"),
        (("source", "kind"), "other"),
        (("source", "seed"), "0"),
        (("source", "name"), None),
        (("engines",), None),
        (("parity",), {}),
        (("parity", 0), 1),
        (("parity", 0, "max_abs"), "small"),
        (("tools",), ["torch"]),
        (("tools", "torch"), 2),
        (("created",), None),
    ],
)
def test_a_value_of_a_wrong_type_is_a_bundle_error(bundle: Path, keys: Any, value: Any) -> None:
    edit(bundle, put(*keys, value=value))
    with pytest.raises(BundleError, match=r"manifest\.json: "):
        Bundle.open(bundle)


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
def test_a_staged_chain_with_a_stage_missing_is_refused(bundle: Path, gone: int) -> None:
    def change(manifest: Any) -> None:
        staged = [
            g for g in manifest["graphs"] if g["name"] != "fused" and g["precision"] == "fp32"
        ]
        manifest["graphs"].remove(staged[gone])

    edit(bundle, change)
    with pytest.raises(BundleError, match=r"out of place|give no depth"):
        Bundle.open(bundle)


def test_a_graph_listed_twice_is_refused(bundle: Path) -> None:
    edit(bundle, lambda manifest: manifest["graphs"].append(manifest["graphs"][0]))
    with pytest.raises(BundleError, match=r"fused\.fp32 is out of place"):
        Bundle.open(bundle)


def test_what_a_later_version_adds_is_passed_over(bundle: Path) -> None:
    def change(manifest: Any) -> None:
        for place in (manifest, manifest["graphs"][0], manifest["files"][FILE], manifest["source"]):
            place["later"] = 1

    edit(bundle, change)
    opened = Bundle.open(bundle)
    assert opened.graphs[0].label == "fused.fp32"
    assert opened.source("elsewhere").name == "elsewhere"


def test_a_bundle_from_before_folding_opens_and_is_shown(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(bundle, lambda manifest: manifest.pop("folding"))
    assert main(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert "GFLOP per call: " in shown and "folded" not in shown


def test_the_sizes_in_training_are_kept_and_shown(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(bundle)]) == 0
    assert "trained at" not in capsys.readouterr().out  # an earlier bundle has none
    edit(bundle, put("spec", "trained_at", value=[[192, 256], [240, 320]]))
    assert Bundle.open(bundle).spec.default_size == (240, 320)
    assert main(["inspect", str(bundle)]) == 0
    assert "\ntrained at 192x256, 240x320\n" in capsys.readouterr().out


def test_a_range_is_tuned_for_its_middle(bundle: Path) -> None:
    edit(bundle, put("graphs", 0, "batch", value=[1, 2, 4]))
    edit(bundle, put("graphs", 0, "height", value=[64, 72, 128]))
    assert Bundle.open(bundle).frame_shape == (2, 72, 96)


def test_a_bundle_without_graphs_opens_and_can_do_nothing(bundle: Path) -> None:
    edit(bundle, put("graphs", value=[]))
    opened = Bundle.open(bundle)
    with pytest.raises(BundleError, match="has no graphs"):
        _ = opened.frame_shape
    with pytest.raises(ApDepthError, match="no graphs"):
        load(bundle)
    assert main(["inspect", str(bundle)]) == 0


def test_a_manifest_is_strict_json_whatever_was_measured(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    opened.manifest["parity"][0] |= {"max_abs": math.inf, "mean_abs": math.nan, "psnr": -math.inf}
    opened.write_manifest()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    read = json.loads((bundle / "manifest.json").read_text(), parse_constant=refuse)
    assert [read["parity"][0][key] for key in ("max_abs", "mean_abs", "psnr")] == [None] * 3
    assert Bundle.open(bundle).manifest == finite(opened.manifest)
    assert json.loads(to_json((1.5, {"a": math.nan}))) == [1.5, {"a": None}]


def test_only_a_bundle_and_nothing_else_may_be_replaced(bundle: Path, tmp_path: Path) -> None:
    assert is_bundle(bundle)
    (bundle / "engines").mkdir()
    assert is_bundle(bundle)
    (bundle / "notes.txt").touch()
    assert not is_bundle(bundle)
    foreign = tmp_path / "web"
    foreign.mkdir()
    (foreign / "manifest.json").write_text("{}")
    (foreign / "index.html").touch()
    assert not is_bundle(foreign)


def test_a_checkpoint_takes_the_place_of_the_manifests(bundle: Path) -> None:
    with pytest.raises(CheckpointError, match="pass --checkpoint"):
        Bundle.open(bundle).source()
    assert Bundle.open(bundle).source("there").kind == "checkpoint"
    edit(
        bundle, put("source", value={"kind": "random", "name": "tiny", "seed": 3, "prior": "none"})
    )
    opened = Bundle.open(bundle)
    assert opened.random_weights
    assert opened.source().label == "tiny (random weights, seed 3)"
    assert (opened.source("there").seed, opened.source("there").prior) == (None, "none")
