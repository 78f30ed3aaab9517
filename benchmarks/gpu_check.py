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
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_parts import (
    Expected,
    Setting,
    Skip,
    build,
    engine_details,
    export,
    machine,
    random_model,
    reference,
    run_backend,
    tf32,
    torch_latency,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NEEDED = ("apdepth_deploy", "diffusers", "transformers", "onnx", "onnxscript")


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
