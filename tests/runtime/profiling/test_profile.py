"""Profiling: numbers against numpy on a clock of our own, and real engines for the rest."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy.bundle import Bundle, Graph, TensorInfo
from apdepth_deploy.cli import main
from apdepth_deploy.errors import BackendError, ParityError, UsageError
from apdepth_deploy.runtime.engines.chain import Chain
from apdepth_deploy.runtime.engines.onnxruntime_backend import node_seconds
from apdepth_deploy.runtime.profiling.measure import machine, profile, roofline
from apdepth_deploy.runtime.profiling.measure.layers import Layer, as_layers, by_kind
from apdepth_deploy.runtime.profiling.measure.profile import profile_bundle
from apdepth_deploy.runtime.profiling.measure.results import Plan
from apdepth_deploy.runtime.profiling.measure.roofline import Peak, chain_bytes, gpu_peak
from apdepth_deploy.runtime.profiling.measure.timing import (
    TURN,
    Latency,
    Timing,
    time_in_turns,
    time_stages,
)

MakeBundle = Callable[..., Path]
Text = pytest.CaptureFixture[str]

PEAK = Peak("a CPU", 100.0, 10.0, "made up")


@pytest.fixture(autouse=True)
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring a CPU's peak takes two seconds."""
    monkeypatch.setattr(profile, "cpu_peak", lambda name: PEAK)


class FakeClock:
    """Seconds that pass only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: Iterator[float]) -> Callable[[], None]:
        def run() -> None:
            self.now += next(seconds)

        return run


def silent(message: str) -> None:
    """No news."""


# --- statistics ----------------------------------------------------------------------------------


def test_percentiles_are_linear_between_samples() -> None:
    seconds = [0.004, 0.001, 0.002, 0.003, 0.010]
    latency = Latency.of(seconds)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    assert latency.p50 == pytest.approx(3.0) == pytest.approx(cuts[49] * 1e3)
    assert latency.p90 == pytest.approx(7.6) == pytest.approx(cuts[89] * 1e3)
    assert latency.p99 == pytest.approx(cuts[98] * 1e3)
    assert (latency.min, latency.max, latency.mean) == pytest.approx((1.0, 10.0, 4.0))
    assert latency.stddev == pytest.approx(statistics.stdev(seconds) * 1e3)


def test_one_sample_has_no_spread() -> None:
    assert Latency.of([0.5]) == Latency(500.0, 500.0, 500.0, 500.0, 500.0, 500.0, 0.0)


def test_throughput_counts_frames_not_calls() -> None:
    timing = Timing.of([0.1, 0.3], batch=4)
    assert timing.throughput == pytest.approx(8 / 0.4)
    assert timing.samples_ms == pytest.approx((100.0, 300.0))


def test_backends_take_turns_and_the_first_call_of_a_turn_is_not_counted() -> None:
    clock, order, runs = FakeClock(), [], TURN + 2

    def work(name: str, first: float, then: float) -> Callable[[], None]:
        def run() -> None:
            clock.now += then if order and order[-1] == name else first
            order.append(name)

        return run

    seconds = time_in_turns([work("a", 9.0, 1.0), work("b", 9.0, 2.0)], runs, silent, clock)
    assert seconds == [pytest.approx([1.0] * runs), pytest.approx([2.0] * runs)]
    assert "".join(order) == "a" * 6 + "b" * 6 + "a" * 3 + "b" * 3


def test_a_single_backend_runs_no_more_than_asked() -> None:
    clock = FakeClock()
    works = [clock.work(iter([0.5, 0.25, 0.125]))]
    assert time_in_turns(works, 3, silent, clock) == [[0.5, 0.25, 0.125]]


def test_a_long_measurement_says_how_far_it_is() -> None:
    clock, said = FakeClock(), list[str]()
    time_in_turns([clock.work(iter([2.0] * 30))], 30, said.append, clock)
    assert said[0] == "5 of 30 runs done" and said[-1] == "30 of 30 runs done"


class ThreeStages(Chain):
    """A chain that takes 1, 2 and 5 seconds, the first time twice as long."""

    backend, device, batch, height, width = "fake", "cpu", 1, 64, 96

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.calls = clock, 0

    def run(self, frames: Any, finished: Any = None) -> dict[str, Any]:
        self.calls += 1
        for name, seconds in (("encoder", 1.0), ("unet", 2.0), ("decoder", 5.0)):
            self.clock.now += seconds * (2.0 if self.calls == 1 else 1.0)
            finished(name)
        return {}


def test_stages_last_from_the_end_of_one_to_the_end_of_the_next() -> None:
    clock = FakeClock()
    gflop = {"encoder": 10.0, "unet": 40.0, "decoder": 50.0}
    stages = time_stages(ThreeStages(clock), np.zeros(1, np.uint8), 4, gflop, clock)
    assert [stage.name for stage in stages] == ["encoder", "unet", "decoder"]
    assert [stage.latency.max for stage in stages] == [1e3, 2e3, 5e3]
    assert [stage.share for stage in stages] == [1 / 8, 2 / 8, 5 / 8]
    assert [stage.gflops for stage in stages] == [10.0, 20.0, 10.0]


def test_layers_have_shares_and_kinds() -> None:
    layers = as_layers([("Conv: a", 0.003), ("plain", 0.004), ("Conv: c", 0.001)])
    assert layers[0] == Layer("a", "Conv", 3.0, 0.375)
    assert (layers[1].name, layers[1].kind, layers[1].share) == ("plain", "", 0.5)
    assert by_kind(layers) == [("Conv", 2, 4.0, 0.5), ("no type", 1, 4.0, 0.5)]
    many = as_layers([(f"K{n}: x", 2.0**-n) for n in range(9)])
    rows = by_kind(many, most=2)
    assert [row[0] for row in rows] == ["K0", "K1", "7 others"]
    assert sum(row[3] for row in rows) == pytest.approx(1.0) and rows[2][1] == 7


def test_a_trace_s_first_runs_are_left_out_and_loops_add_up() -> None:
    def node(ts: int, dur: int, name: str, index: str) -> dict[str, Any]:
        arguments = {"node_index": index, "op_name": "Conv"}
        return {
            "cat": "Node",
            "ts": ts,
            "dur": dur,
            "name": f"{name}_kernel_time",
            "args": arguments,
        }

    runs = [{"cat": "Session", "name": "model_run", "ts": ts, "dur": 90} for ts in (0, 100, 200)]
    events = [node(5, 9000, "a", "0"), node(220, 30, "b", "1"), node(105, 10, "a", "0")]
    events += [node(205, 20, "a", "0"), node(120, 20, "b", "1"), node(130, 50, "b", "1"), *runs]
    found = node_seconds(events, "unet", 2)
    assert [layer for layer, _ in found] == ["Conv: unet/a", "Conv: unet/b"]
    assert [seconds for _, seconds in found] == pytest.approx([15e-6, 50e-6])


# --- roofline ------------------------------------------------------------------------------------


def test_the_roof_is_the_lower_of_compute_and_memory() -> None:
    memory = roofline.roofline(2.0, 10**9, 0.2, "host", PEAK)  # 2 operations a byte, 10 GFLOP/s
    assert (memory.intensity, memory.gflops, memory.attainable) == (2.0, 10.0, 20.0)
    assert (memory.bound, memory.fraction_of_peak) == ("memory", 0.1)
    assert memory.fraction_of_attainable == 0.5
    compute = roofline.roofline(50.0, 10**9, 1.0, "device", PEAK)
    assert (compute.bound, compute.attainable, compute.fraction_of_peak) == ("compute", 100.0, 0.5)


def test_a_peak_that_is_not_known_is_not_guessed() -> None:
    found = roofline.roofline(2.0, 10**9, 0.2, "host", Peak("x", None, 10.0, "?"))
    assert found.gflops == 10.0
    assert (found.fraction_of_peak, found.attainable, found.bound) == (None, None, None)


def test_bytes_are_weights_inputs_and_outputs_once() -> None:
    image = TensorInfo("image", "uint8", ([1, 2, 4], 8, 16, 3))
    depth = TensorInfo("depth", "float32", ([1, 2, 4], 8, 16))
    graph = Graph("fused", "fp16", "f", "d", 21, (image,), (depth,), 1, 8, 16, 1000, 1, {})
    frames = 2 * 8 * 16  # a range counts at its opt size
    assert chain_bytes((graph,), "fp16") == 2000 + frames * 3 + frames * 4


def test_a_gpu_s_peak_is_the_table_s_or_the_driver_s() -> None:
    driver = {"memory_gb_s": 576.1}
    card = gpu_peak("NVIDIA GeForce RTX 4090", driver)
    assert (card.gflops, card.gb_s) == (165_200.0, 1008.0)
    laptop = gpu_peak("NVIDIA GeForce RTX 4090 Laptop GPU", driver)
    assert (laptop.gflops, laptop.gb_s) == (None, 576.1)
    assert "no stated rate" in laptop.source and "driver's clock" in laptop.source
    assert gpu_peak("unheard of", None).gb_s is None


def test_a_cpu_s_peak_is_measured() -> None:
    """The clock is ours: 2 seconds for every product and copy."""
    ticks = iter(range(0, 1000, 2))
    assert machine.matrix_gflops(lambda: float(next(ticks)), 64) == 64**3 / 1e9
    assert machine.copy_gb_s(lambda: float(next(ticks)), 1 << 20) == (1 << 20) / 1e9


def test_memory_that_is_taken_shows() -> None:
    memory = machine.PeakMemory()
    held = np.ones(64 << 20, np.uint8)
    growth = memory.growth()
    if growth is None:
        pytest.skip("an earlier peak hides it, and this system can't forget one")
    assert held.nbytes <= growth < 4 * held.nbytes


# --- real engines --------------------------------------------------------------------------------


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

    def __init__(self, clock: FakeClock) -> None:
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
    micro_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU here: the chain, the driver and NVML are stand-ins, the rest is real."""
    clock, states = FakeClock(), iter(range(100))
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


# --- the command ---------------------------------------------------------------------------------


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_json_is_strict_and_whole(micro_bundle: Path, capsys: Text) -> None:
    assert main(["profile", str(micro_bundle), "--runs", "2", "--warm-up", "1", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out, parse_constant=refuse)
    assert found["schema_version"] == 1 and found["bundle"]["spec"] == "micro"
    assert set(found["machine"]) == {"os", "cpu", "cores", "memory_bytes"}
    assert found["machine"]["cores"] >= 1 and found["machine"]["cpu"]
    assert {"python", "numpy", "openvino"} <= set(found["versions"])
    [result] = found["backends"]
    assert result["device_only"] is None and result["layers"] is None
    assert math.isfinite(result["host"]["latency"]["p99"])
    assert "loading and warming up auto" in said.err
    documented = (Path(__file__).parents[3] / "docs/profiling.md").read_text(encoding="utf-8")
    assert all(f"`{field}`" in documented for field in (*result, *found))


def test_the_table_says_what_was_measured_and_the_page_is_written(
    micro_bundle: Path, micro_checkpoint: Path, tmp_path: Path, capsys: Text
) -> None:
    page = tmp_path / "new" / "report.html"
    options = ["--backend", "onnxruntime", "--backend", "torch", "--runs", "2", "--warm-up", "1"]
    options += ["--checkpoint", str(micro_checkpoint), "--layers", "--html", str(page)]
    assert main(["profile", str(micro_bundle), *options]) == 0
    said = capsys.readouterr().out
    for words in (
        "1 frame of 64x96 (the photo in the package), 2 runs after 1 to warm up",
        "p50 / onnxruntime fp32",
        "1.00 x",
        "stages of onnxruntime fp32",
        "operations of onnxruntime fp32",
        "memory, MB",
        "peak of a CPU: 100.0 GFLOP/s, 10.0 GB/s (made up)",
        "note: torch fp32, layers: this engine can't tell them apart",
    ):
        assert words in said
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--backend", "nope"], "unknown backend 'nope'"),
        (["--runs", "0"], "--runs 0: at least 1 run is needed"),
        (["--warm-up", "-1"], "--warm-up -1: at least 1 run is needed"),
        (["--backend", "auto", "--backend", "openvino"], "openvino fp32 is named twice"),
        (["--device", "cuda:x"], "unknown device 'cuda:x'"),
        (["--precision", "fp64"], "unknown precision 'fp64'"),
        (["--image", "/nope.png"], "/nope.png: no such file"),
        (["--html", "{file}/report.html"], "can't write {file}/report.html: "),
        (["--html", "{folder}"], "--html {folder} is a folder: name a file"),
    ],
)
def test_wrong_use_is_one_line_before_any_measuring(
    options: list[str],
    line: str,
    mean_bundle: MakeBundle,
    tmp_path: Path,
    capsys: Text,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*arguments: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(profile, "time_in_turns", never)
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    places = {"file": file, "folder": folder}
    options = [option.format(**places) for option in options]
    assert main(["profile", str(mean_bundle(1, 64, 96)), *options]) == 2
    said = capsys.readouterr()
    errors = [row for row in said.err.splitlines() if row.startswith("error: ")]
    assert said.out == "" and len(errors) == 1
    assert errors[0].startswith(f"error: {line.format(**places)}")


def test_an_interrupt_leaves_no_page(
    mean_bundle: MakeBundle, tmp_path: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(profile, "time_in_turns", interrupt)
    folder = mean_bundle(1, 64, 96)
    before = set(tmp_path.iterdir())
    assert main(["profile", str(folder), "--html", str(tmp_path / "report.html")]) == 130
    assert set(tmp_path.iterdir()) == before
    assert "interrupted" in capsys.readouterr().err


def test_a_plan_needs_runs() -> None:
    with pytest.raises(UsageError, match="--runs 0"):
        Plan(runs=0)


def test_profiling_a_graph_needs_no_torch(micro_bundle: Path, run_script: Any) -> None:
    script = (
        "import sys\n"
        "from apdepth_deploy.cli import main\n"
        f"main(['profile', {str(micro_bundle)!r}, '--runs', '1', '--warm-up', '1'])\n"
        "print(sorted({'torch', 'onnx', 'diffusers'} & set(sys.modules)))"
    )
    assert run_script(script).stdout.splitlines()[-1] == "[]"
