"""Bundles measured with real engines; only the GPU is a stand-in."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.errors import BackendError, ParityError
from apdepth_deploy.runtime.engines.chain import Chain
from apdepth_deploy.runtime.profiling.measure import profile
from apdepth_deploy.runtime.profiling.measure.profile import profile_bundle
from apdepth_deploy.runtime.profiling.measure.results import Plan

MakeBundle = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("known_peak")


def silent(message: str) -> None:
    """No news."""


def measured(folder: Path, **options: Any) -> dict[str, Any]:
    return profile_bundle(folder, Plan(**{"runs": 3, "warm_up": 1, **options}), silent)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_bundle_is_measured_as_a_whole_by_stage_and_by_layer(
    micro_bundle: Path, backend: str
) -> None:
    found = measured(micro_bundle, backends=(backend,), layers=True)
    [result] = found["backends"]
    assert (result["label"], result["device"], result["ratio"]) == (f"{backend} fp32", "cpu", 1.0)
    assert len(result["layers"]) > 50
    assert any(layer["kind"].startswith("Conv") for layer in result["layers"])
    assert len(result["host"]["samples_ms"]) == 3
    latency = result["host"]["latency"]
    assert latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert [stage["name"] for stage in result["stages"]] == ["prior", "encoder", "unet", "decoder"]
    assert sum(stage["share"] for stage in result["stages"]) == pytest.approx(1.0)
    manifest = Bundle.open(micro_bundle)
    fused = next(graph for graph in manifest.graphs if graph.label == "fused.fp32")
    by_stage = {stage["name"]: stage["gflop"] for stage in result["stages"]}
    assert by_stage == pytest.approx(dict(fused.gflop), abs=2e-3)
    roof = result["roofline"]
    assert roof["gflop"] == pytest.approx(sum(fused.gflop.values()))
    assert roof["gflops"] == pytest.approx(roof["gflop"] / latency["p50"] * 1e3)
    assert roof["bytes"] == 4 * fused.parameters + 64 * 96 * (3 + 4)
    assert result["memory"]["weights"] == 4 * fused.parameters
    assert found["gpu"] is None and found["gpu_missing"] == "nothing ran on a GPU"
    assert found["frame"] | {"image": ""} == {"batch": 1, "height": 64, "width": 96, "image": ""}


def test_layers_are_the_engine_s_nodes_in_their_order(mean_bundle: MakeBundle) -> None:
    folder = mean_bundle(1, 64, 96)
    [result] = measured(folder, backends=("onnxruntime",), layers=True)["backends"]
    kinds = [layer["kind"] for layer in result["layers"]]
    assert kinds[:2] == ["Cast", "ReduceMean"] and kinds[-1] == "Div"
    assert all(layer["name"].startswith("fused/") for layer in result["layers"])
    assert sum(layer["share"] for layer in result["layers"]) == pytest.approx(1.0)
    assert result["roofline"] is None and result["stages"] is None
    notes = "\n".join(result["notes"])
    assert "export with --precision fp32 --graph staged" in notes
    assert "the manifest doesn't say a call's arithmetic" in notes
    assert "a CPU has no copies to leave out" in notes


def test_two_backends_and_two_precisions_are_compared_with_the_first(
    micro_bundle: Path, micro_checkpoint: Path
) -> None:
    both = measured(
        micro_bundle,
        backends=("onnxruntime", "torch"),
        checkpoint=str(micro_checkpoint),
        layers=True,
    )["backends"]
    assert [result["label"] for result in both] == ["onnxruntime fp32", "torch fp32"]
    medians = [statistics.median(result["host"]["samples_ms"]) for result in both]
    assert [result["ratio"] for result in both] == [1.0, pytest.approx(medians[1] / medians[0])]
    assert both[0]["roofline"]["gflop"] == both[1]["roofline"]["gflop"]
    notes = "\n".join(both[1]["notes"])
    assert (
        "torch fp32, stages: the PyTorch model is" in notes and "torch fp32, layers: this" in notes
    )
    halves = measured(micro_bundle, precisions=("fp32", "fp16"))["backends"]
    assert [result["precision"] for result in halves] == ["fp32", "fp16"]
    assert halves[1]["memory"]["weights"] < 0.51 * halves[0]["memory"]["weights"]


def test_a_range_runs_at_its_opt_size_and_a_picture_is_fitted(
    mean_bundle: MakeBundle, tmp_path: Path, photo: NDArray[np.uint8]
) -> None:
    from PIL import Image

    Image.fromarray(photo).save(tmp_path / "photo.png")
    found = measured(mean_bundle([1, 2, 4], [64, 72, 96], 96), image=tmp_path / "photo.png")
    size = {"batch": 2, "height": 72, "width": 96, "image": str(tmp_path / "photo.png")}
    assert found["frame"] == size
    [result] = found["backends"]
    samples = result["host"]["samples_ms"]
    assert result["host"]["throughput"] == pytest.approx(2e3 * len(samples) / sum(samples))


def test_depth_that_is_not_finite_is_no_result(mean_bundle: MakeBundle) -> None:
    with pytest.raises(ParityError, match="onnxruntime fp32: depth has NaN or Inf; `verif"):
        measured(mean_bundle(1, 64, 96, divisor=0.0))


class OnGpu(Chain):
    """A chain as TensorRT's: 10 ms with copies, 4 ms without."""

    backend, device, batch, height, width = "tensorrt-rtx", "cuda:1", 1, 64, 96
    graphs = ("fused",)

    def __init__(self, clock: Any) -> None:
        self.clock = clock

    def run(self, frames: Any, finished: Any = None) -> dict[str, Any]:
        self.clock.now += 0.010
        if finished is not None:
            finished("fused")
        return {"decoder": np.zeros(frames.shape[:3], np.float32)}

    def device_seconds(self, frames: Any, runs: int) -> list[float]:
        return [0.004] * runs

    def layer_seconds(self, frames: Any, runs: int) -> list[tuple[str, float]]:
        return [("unet/fused_attention", 0.003), ("decoder/conv", 0.001)]


def test_a_gpu_s_state_peak_and_memory_are_told(
    micro_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    """No GPU here: the chain, the driver and NVML are stand-ins, the rest is real."""
    states = iter(range(100))
    folder = Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))
    manifest = json.loads((folder / "manifest.json").read_text())
    engine = {
        "graph": "fused",
        "precision": "fp16",
        "target": "tensorrt-rtx",
        "version": "1.7",
        "compute_capabilities": ["8.9"],
        "platform": "linux-x86_64",
        "batch": 1,
        "height": 64,
        "width": 96,
        "weights": {},
        "weights_bytes": 7000,
        "activation_bytes": 900,
        "layers": 3,
        "seconds": 1.0,
        "file": manifest["graphs"][0]["file"],
    }
    manifest["engines"] = [engine, {**engine, "compute_capabilities": ["8.6"], "weights_bytes": 1}]
    (folder / "manifest.json").write_text(json.dumps(manifest))

    def facts(index: int = 0) -> tuple[dict[str, Any], str]:
        used = {"memory_used_bytes": 1000 * next(states)}
        return {"name": "NVIDIA GeForce RTX 4090", "memory_gb_s": 1.0, "index": index, **used}, ""

    predictor = SimpleNamespace(
        chain=OnGpu(clock), precision="fp16", reason="why", warnings=("known to be slow",)
    )
    gpu = {"name": "NVIDIA GeForce RTX 4090", "compute_capability": "8.9"}

    def load(*arguments: Any, graph: str | None = None, **options: Any) -> SimpleNamespace:
        if graph == "staged":
            raise BackendError("no staged engine is built")
        return predictor

    monkeypatch.setattr(profile, "load", load)
    monkeypatch.setattr(profile, "nvidia_gpus", lambda: [gpu, gpu])
    monkeypatch.setattr(profile, "gpu_facts", facts)
    found = profile_bundle(folder, Plan(runs=3, layers=True), silent, clock)
    assert (found["gpu"]["before"]["index"], found["gpu_missing"]) == (1, None)
    assert found["gpu"]["after"] != found["gpu"]["before"]
    [result] = found["backends"]
    assert result["host"]["latency"]["p50"] == pytest.approx(10.0)
    assert result["device_only"]["latency"]["p50"] == pytest.approx(4.0)
    assert result["device_only"]["throughput"] == pytest.approx(250.0)
    memory = {"gpu_growth": 1000, "weights": 7000, "activations": 900}
    assert result["memory"] | memory == result["memory"]
    roof = result["roofline"]
    assert (roof["basis"], roof["peak"]["gflops"]) == ("device", 165_200.0)
    assert roof["fraction_of_peak"] == pytest.approx(roof["gflop"] / 0.004 / 165_200)
    assert [layer["share"] for layer in result["layers"]] == pytest.approx([0.75, 0.25])
    assert result["stages"] is None and result["notes"][0] == "known to be slow"
    assert "stages: no staged engine is built" in result["notes"][1]
