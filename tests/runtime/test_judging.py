"""`verify --backend`: a backend on this machine against golden frames, and what is kept of it."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from apdepth_deploy.bundle import Bundle, file_entry
from apdepth_deploy.bundle.golden import Golden, read_golden, write_golden
from apdepth_deploy.cli import main
from apdepth_deploy.runtime import judging
from apdepth_deploy.runtime.engines.chain import Chain

MakeBundle = Callable[..., Path]
Text = pytest.CaptureFixture[str]
tamper = runpy.run_path(str(Path(__file__).parents[1] / "mutating.py"))["tamper"]
STAGES = ["prior", "encoder", "unet", "decoder"]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's verdicts go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "apdepth-deploy" / "verdicts"


@pytest.fixture
def copied(tmp_path: Path, micro_bundle: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))


def with_golden(folder: Path) -> Path:
    """A mean bundle's two frames: noise, and its picture upside down."""
    bundle = Bundle.open(folder)
    _, height, width = bundle.frame_shape
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    frames = []
    for name, image in (("photo", noise), ("random", noise[::-1])):
        depth = (image.astype(np.float64).mean(axis=-1) / 255).astype(np.float32)
        frames.append(write_golden(bundle, Golden(name, image, {"depth": depth}, {"depth": 1.0})))
    bundle.manifest["golden"] = {"frames": frames, "thresholds": {}}
    bundle.write_manifest()
    return folder


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_healthy_bundle_passes_without_torch_and_onnx(
    micro_bundle: Path, run_script: Any, backend: str, caches: Path
) -> None:
    done = run_script(
        "import sys\nsys.modules.update(torch=None, onnx=None)\n"
        "from apdepth_deploy.cli import main\n"
        f"sys.exit(main(['verify', {str(micro_bundle)!r}, '--backend', '{backend}', '--json']))"
    )
    said = json.loads(done.stdout)
    verdicts, records = said["verdicts"], said["records"]
    chains = [(kind, p) for p in ("fp32", "fp16") for kind in ("fused", "staged")]
    assert [(v["graph"], v["precision"]) for v in verdicts] == chains
    assert all(record["passed"] and record["backend"] == backend for record in records)
    staged = [r for r in records if (r["graph"], r["precision"]) == ("staged", "fp32")]
    frames = ("photo alone", "random alone", "photo", "random")
    assert [(r["frame"], r["stage"]) for r in staged] == [(f, s) for f in frames for s in STAGES]
    fused = [r for r in records if (r["graph"], r["precision"]) == ("fused", "fp32")]
    assert [(r["frame"], r["stage"]) for r in fused] == [("photo", "depth"), ("random", "depth")]
    assert max(r["mean_abs"] / r["scale"] for r in staged) < 2e-5  # rounding: 7.6e-6
    assert len(list(caches.iterdir())) == 4


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("graph", "weight", "line"),
    [
        ("unet.fp32", None, "staged.fp32 strays from PyTorch, first in stage 'unet' (photo alone"),
        ("encoder.fp16", None, "staged.fp16 strays from PyTorch, first in stage 'encoder' (photo"),
        (
            "fused.fp32",
            "model.unet.conv_in.weight",
            "fused.fp32 strays from PyTorch, first in stage 'depth' (photo frame)",
        ),
    ],
)
def test_one_damaged_weight_is_a_miss_and_its_stage_is_named(
    copied: Path, capsys: Text, backend: str, graph: str, weight: str | None, line: str
) -> None:
    tamper(copied, graph, weight, 100.0)
    words = ["verify", str(copied), "--backend", backend, "--precision", graph[-4:]]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith(f"error: {line}")
    assert "STRAYS" in said.out
    assert main(["doctor", "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["verdicts"]
    kind = "fused" if graph.startswith("fused") else "staged"
    stages = {one["graph"]: one["stage"] for one in kept}
    assert stages == {"fused": "", "staged": "", kind: line.split("'")[1]}


def test_a_changed_graph_is_a_miss_too(copied: Path, capsys: Text) -> None:
    """Not its weights but what is done with them: a SiLU's sigmoid became a tanh."""
    path = copied / "onnx/unet.fp32.onnx"
    model = onnx.load(path, load_external_data=False)
    next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "Tanh"
    onnx.save(model, path)
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"]["onnx/unet.fp32.onnx"] = file_entry(path)
    (copied / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", str(copied), "--backend", "openvino", "--precision", "fp32"]) == 1
    assert "first in stage 'unet' (photo alone frame)" in capsys.readouterr().err


@pytest.mark.parametrize(("batch", "frames"), [(1, 2), (3, 3), ([1, 1, 3], 3), ([2, 2, 4], 3)])
def test_different_frames_go_through_together(
    mean_bundle: MakeBundle, batch: Any, frames: int, capsys: Text
) -> None:
    folder = with_golden(mean_bundle(batch, 16, [16, 24, 32]))
    assert main(["verify", str(folder), "--backend", "onnxruntime", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    assert [record["frame"] for record in records] == ["photo", "random", "batch"][:frames]
    assert all(record["max_abs"] < 1e-4 for record in records)


def test_an_engine_that_repeats_the_first_frame_of_a_batch_misses(
    mean_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    """Each frame alone, or four copies of it, would pass."""
    folder = with_golden(mean_bundle(4, 16, 24))
    opened = judging.BACKENDS["onnxruntime"]

    def repeating(bundle: Bundle, wanted: Any) -> Chain:
        chain = opened(bundle, wanted)
        run = chain.run
        monkeypatch.setattr(chain, "run", lambda frames: run(np.repeat(frames[:1], 4, axis=0)))
        return chain

    monkeypatch.setitem(judging.BACKENDS, "onnxruntime", repeating)
    assert main(["verify", str(folder), "--backend", "onnxruntime"]) == 1
    assert "first in stage 'depth' (batch frame)" in capsys.readouterr().err


def test_what_pytorch_made_is_what_the_bundle_holds(micro_bundle: Path, micro_spec: Any) -> None:
    import torch

    from apdepth_deploy.model import ApDepth

    model = ApDepth.from_spec(micro_spec)
    golden = read_golden(Bundle.open(micro_bundle))
    assert [one.name for one in golden] == ["photo", "random"]
    for one in golden:
        with torch.inference_mode():
            stages = model.stages(torch.from_numpy(one.image[None]))
        for stage, found in zip(STAGES, one.results.values(), strict=True):
            limit = max(one.scales.values()) / 65534 + 1e-5
            np.testing.assert_allclose(found, stages[stage][0].numpy(), rtol=0, atol=limit)
        assert one.scales["depth"] == 1.0
    thresholds = Bundle.open(micro_bundle).manifest["golden"]["thresholds"]
    assert thresholds["fp32"] == {"max_abs": 1e-3, "mean_abs": 1e-4}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--backend", "torch"], "can't judge backend 'torch': choose one of onnxruntime, openv"),
        (["--backend", "onnxruntime", "--checkpoint", "x"], "--checkpoint is for the comparison"),
        (
            ["--precision", "fp32"],
            "--device, --precision, --graph, --bisect and --reduce are for --ba",
        ),
        (["--backend", "openvino", "--device", "cuda"], "openvino runs on the CPU, not on cuda"),
        (["--backend", "onnxruntime", "--precision", "bf16"], "runs fp32, fp16, not bf16"),
        (["--backend", "tensorrt-rtx"], "needs an NVIDIA GPU and its driver"),
    ],
)
def test_wrong_use_is_said(micro_bundle: Path, capsys: Text, words: list[str], says: str) -> None:
    assert main(["verify", str(micro_bundle), *words]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_where_nothing_can_be_kept_the_verdict_is_still_said(
    copied: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    words = ["verify", str(copied), "--backend", "onnxruntime", "--precision", "fp32"]
    assert main(words) == 0
    assert "note: the verdict isn't kept: can't write /proc/nowhere/" in capsys.readouterr().err


def test_a_kept_file_that_is_none_counts_for_nothing(caches: Path, capsys: Text) -> None:
    caches.mkdir(parents=True)
    for number, text in enumerate(["", "[]", "{}", '{"place": {}, "files": 3}']):
        (caches / f"{number}.json").write_text(text)
    assert main(["doctor"]) == 0
    assert "verified: nothing yet on this machine" in capsys.readouterr().out
