"""Parity and latency of everything that can run on this machine's NVIDIA GPU, in eight minutes.

    python benchmarks/gpu_check.py [--wheels FOLDER] [--preset small] [--minutes 8]

Needs a GPU and torch. What the card or the packages don't allow is skipped with its reason. On a
machine without a package index, ``--wheels`` names a folder with wheels of what is missing (`make
gpu-wheels`); they go into a folder of their own, and nothing that is installed changes. Writes
``benchmarks/results/gpu_check.GPU.json``. Without a GPU, ``--device cpu`` rehearses the parts that
need none, and writes where ``--output`` says.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NEEDED = ("apdepth_deploy", "diffusers", "transformers", "onnx", "onnxscript")


#: {name: (frames uint8 [1,H,W,3], depth float32 [1,H,W])}.
Expected = dict[str, tuple[Any, Any]]


class Skip(Exception):  # noqa: N818 - not an error
    """Why a part can't run here."""


class Check:
    """The parts, one after the other, until the time is up; every outcome is kept."""

    def __init__(self, minutes: float) -> None:
        self._deadline = time.monotonic() + 60 * minutes
        self.parts: dict[str, dict[str, Any]] = {}

    def part(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one part; returns its result, or None where it was skipped or failed."""
        start = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            if start > self._deadline:
                raise Skip("out of time")
            result = work()
            found: dict[str, Any] = {"result": result}
        except Skip as reason:
            result, found = None, {"skipped": str(reason)}
        except Exception as error:  # noqa: BLE001 - one engine's failure is a finding
            result, found = None, {"failed": f"{type(error).__name__}: {_line(error)}"}
        self.parts[name] = found | {"seconds": round(time.monotonic() - start, 1)}
        print(f"   {json.dumps(self.parts[name])[:400]}", flush=True)
        return result


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


@dataclasses.dataclass
class Setting:
    """What all parts share."""

    preset: str
    height: int
    width: int
    runs: int
    device: str
    folder: Path

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, self.height, self.width


# --- PyTorch -------------------------------------------------------------------------------------


def random_model(setting: Setting) -> Any:
    from apdepth_deploy.model.loading import load_model
    from apdepth_deploy.spec import ModelSource

    return load_model(ModelSource(setting.preset, seed=0)).to(setting.device).eval()


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """TF32 in matrix products and convolutions meanwhile; afterwards as it was.

    By PyTorch's defaults it is on in convolutions alone.
    """
    import torch

    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = allowed
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def reference(setting: Setting, model: Any) -> Expected:
    """What the float32 model gives for the sample frames, without TF32."""
    import torch

    from apdepth_deploy.verify import sample_frames

    found = {}
    with torch.inference_mode(), tf32(False):
        for name, frames in sample_frames(setting.shape).items():
            depth = model(torch.from_numpy(frames).to(setting.device))
            found[name] = (frames, depth.float().cpu().numpy())
    return found


def torch_latency(
    setting: Setting, model: Any, precision: str, compiled: bool = False
) -> dict[str, Any]:
    """Median ms from a frame on the host to depth on the host, and without the copies.

    Eager float32 with PyTorch's defaults is how the authors run it.
    """
    import torch

    from apdepth_deploy.verify import sample_frames

    if compiled and setting.device == "cpu":
        raise Skip("compiled PyTorch is measured on a GPU")
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    model = model.to(setting.device, dtype)
    if compiled:
        model = torch.compile(model)
    frame = torch.from_numpy(sample_frames(setting.shape)["photo"])
    there = frame.to(setting.device)

    def without_copies() -> None:
        model(there)
        if setting.device != "cpu":
            torch.cuda.synchronize()

    with torch.inference_mode():
        start = time.perf_counter()
        for _ in range(3):
            without_copies()
        warm_up = time.perf_counter() - start
        host = median_ms(lambda: model(frame.to(setting.device)).cpu(), setting.runs)
        device = median_ms(without_copies, setting.runs)
    allowed = {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "convolution": torch.backends.cudnn.allow_tf32,
    }
    return {"host_ms": host, "device_ms": device, "warm_up_s": round(warm_up, 1), "tf32": allowed}


def median_ms(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(times), 3)


# --- graphs and engines --------------------------------------------------------------------------


def export(setting: Setting, model: Any, precision: str) -> str:
    """Fused and staged graphs; returns the bundle's folder."""
    from apdepth_deploy.export import FrameShape, export_bundle

    folder = setting.folder / precision
    export_bundle(
        model.cpu(),
        folder,
        kinds=("fused", "staged"),
        precisions=(precision,),
        shape=FrameShape.fixed(*setting.shape),
        verify=False,
        progress=lambda line: print(f"   {line}", flush=True),
    )
    return str(folder)


def build(setting: Setting, folder: str, target: str) -> list[dict[str, Any]]:
    """Engines for the GPU here, fused and staged; a rehearsal builds for named GPUs."""
    from apdepth_deploy.errors import BackendError
    from apdepth_deploy.export import build_engines

    gpus = ["current"] if setting.device == "cuda" else []
    try:
        engines = build_engines(folder, target, gpus, progress=print)
    except BackendError as error:
        raise Skip(str(error)) from error
    return [dataclasses.asdict(engine) for engine in engines]


def open_predictor(
    setting: Setting, folder: str, backend: str, precision: str, kind: str | None = None
) -> Any:
    """A predictor, or the reason why this backend can't run here."""
    from apdepth_deploy import load
    from apdepth_deploy.errors import BackendError, UsageError

    try:
        return load(folder, backend, precision=precision, device=setting.device, graph=kind)
    except (BackendError, UsageError) as error:
        raise Skip(str(error)) from error


def run_backend(
    setting: Setting, folder: str, backend: str, kind: str, precision: str, expected: Expected
) -> dict[str, Any]:
    """Parity with PyTorch's float32, and latency."""
    from apdepth_deploy.verify import compare

    with open_predictor(setting, folder, backend, precision, kind) as predictor:
        chain = predictor.chain
        records = [
            compare(
                depth, chain.run(frames)["decoder"], (kind, precision, backend, name, "decoder")
            )
            for name, (frames, depth) in expected.items()
        ]
        frames = expected["photo"][0]
        device = chain.device_seconds(frames, setting.runs)
        return {
            "reason": predictor.reason,
            "parity": [dataclasses.asdict(record) for record in records],
            "passed": all(record.passed for record in records),
            "host_ms": median_ms(lambda: chain.run(frames), setting.runs),
            "device_ms": round(1e3 * statistics.median(device), 3) if device else None,
        }


def engine_details(
    setting: Setting, folder: str, backend: str, precision: str, expected: Expected
) -> dict[str, Any]:
    """What tests without a GPU can only show against a stand-in for the driver.

    Differences are the largest from a plain run on the host's array: they have to be 0.
    """
    import numpy as np
    import torch

    frames = expected["photo"][0]
    with open_predictor(setting, folder, backend, precision) as predictor:
        chain = predictor.chain
        plain = chain.run(frames)["decoder"]

        def difference(depth: Any) -> float:
            return float(np.abs(depth - plain).max())

        stream = torch.cuda.Stream()
        depth = predictor.enqueue(torch.from_numpy(frames).cuda(), stream)
        stream.synchronize()
        with ThreadPoolExecutor(4) as pool:
            threads = list(pool.map(lambda _: chain.run(frames)["decoder"], range(16)))
        layers = chain.layer_seconds(frames, 3)
        found = {
            "enqueue": difference(depth.numpy()),
            "dlpack": difference(torch.from_dlpack(depth).cpu().numpy()),
            "threads": max(map(difference, threads)),
            "layers": layers and sorted(layers, key=lambda layer: -layer[1])[:20],
            "free_bytes": torch.cuda.mem_get_info()[0],
        }
    found["free_bytes_closed"] = torch.cuda.mem_get_info()[0]
    start = time.perf_counter()
    with open_predictor(setting, folder, backend, precision) as predictor:
        found["second_start"] = difference(predictor.chain.run(frames)["decoder"])
        found["second_start_s"] = round(time.perf_counter() - start, 2)
    return found


# --- the run -------------------------------------------------------------------------------------


def machine(setting: Setting) -> dict[str, Any]:
    from apdepth_deploy.machine.devices import gpu_facts, nvidia_gpus
    from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions

    facts, why = (None, "rehearsal on the CPU") if setting.device == "cpu" else gpu_facts(0)
    return {
        "machine": machine_facts(),
        "gpus": nvidia_gpus(),
        "nvml": facts or why,
        "versions": versions(),
    }


def check(setting: Setting, minutes: float) -> dict[str, Any]:
    """Everything, most telling first: what is late is skipped."""
    done = Check(minutes)
    facts = machine(setting)
    model = random_model(setting)
    expected = reference(setting, model)
    done.part("torch eager fp32", lambda: torch_latency(setting, model, "fp32"))
    with tf32(False):
        done.part("torch eager fp32 without TF32", lambda: torch_latency(setting, model, "fp32"))
    for precision in ("fp16", "bf16"):
        folder = done.part(f"export {precision}", lambda p=precision: export(setting, model, p))
        if folder is not None:
            _check_bundle(done, setting, folder, precision, expected)
        half = ("torch eager", False), ("torch compiled", True)
        for name, compiled in half:
            done.part(
                f"{name} {precision}",
                lambda p=precision, c=compiled: torch_latency(setting, random_model(setting), p, c),
            )
    frame = [setting.height, setting.width]
    return {
        "preset": setting.preset,
        "frame": frame,
        **facts,
        "parts": done.parts,
    }


def _check_bundle(
    done: Check, setting: Setting, folder: str, precision: str, expected: Expected
) -> None:
    for backend in ("tensorrt-rtx", "tensorrt", "onnxruntime"):
        if backend != "onnxruntime":
            done.part(f"build {backend} {precision}", lambda b=backend: build(setting, folder, b))
        for kind in ("fused", "staged"):
            done.part(
                f"{backend} {kind} {precision}",
                lambda b=backend, k=kind: run_backend(setting, folder, b, k, precision, expected),
            )
        if backend != "onnxruntime":
            done.part(
                f"{backend} details {precision}",
                lambda b=backend: engine_details(setting, folder, b, precision, expected),
            )


def latency_table(found: dict[str, Any]) -> str:
    """One row a part that ran, with its ratio to the authors' way."""
    from apdepth_deploy.console import table

    results = {
        name: part["result"]
        for name, part in found["parts"].items()
        if isinstance(part.get("result"), dict) and "host_ms" in part["result"]
    }
    base = results.get("torch eager fp32", {}).get("host_ms")
    rows = [
        [
            name,
            f"{result['host_ms']:.2f}",
            "-" if result["device_ms"] is None else f"{result['device_ms']:.2f}",
            f"{base / result['host_ms']:.2f} x" if base else "-",
            {True: "ok", False: "MISS", None: "-"}[result.get("passed")],
        ]
        for name, result in results.items()
    ]
    said = (
        "parity is with float32 without TF32; torch is timed as PyTorch comes, with TF32 in "
        "convolutions, where its row doesn't say otherwise"
    )
    return f"{table(['latency', 'host ms', 'device ms', 'ratio', 'parity'], rows)}\n{said}"


def use_wheels(folder: Path) -> None:
    """Install the folder's wheels beside the repository and start again with them."""
    site = ROOT / "out" / "gpu-check-site"
    wheels = sorted(str(path) for path in folder.glob("*.whl"))
    if not wheels:
        raise SystemExit(f"error: no wheels in {folder}: make them with `make gpu-wheels`")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--upgrade", "--target", str(site), *wheels], check=True)  # noqa: S603
    arguments = sys.argv[1:]
    place = arguments.index("--wheels")
    del arguments[place : place + 2]
    environment = os.environ | {"PYTHONPATH": str(site)}
    os.execve(sys.executable, [sys.executable, __file__, *arguments], environment)  # noqa: S606


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, help="folder of wheels to use (see make gpu-wheels)")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument(
        "--output", type=Path, help="default: benchmarks/results/gpu_check.GPU.json"
    )
    arguments = parser.parse_args()
    if arguments.wheels:
        use_wheels(arguments.wheels)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"error: {', '.join(missing)} not installed: `make setup`, or --wheels")
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("skipped: PyTorch finds no NVIDIA GPU here")
        return
    with tempfile.TemporaryDirectory() as temporary:
        setting = Setting(
            arguments.preset,
            arguments.height,
            arguments.width,
            arguments.runs,
            arguments.device,
            Path(temporary),
        )
        found = check(setting, arguments.minutes)
    print(latency_table(found))
    output = arguments.output
    if output is None and arguments.device == "cuda":
        name = torch.cuda.get_device_name(0).replace(" ", "_")
        output = RESULTS / f"gpu_check.{name}.json"
    if output is not None:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {output}")


if __name__ == "__main__":
    main()
