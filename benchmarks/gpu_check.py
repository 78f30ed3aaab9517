"""Parity and latency of everything that can run on this machine's NVIDIA GPU, in six minutes.

    python benchmarks/gpu_check.py [--wheels FOLDER] [--preset small] [--minutes 6]

Needs a GPU and torch. What the card or the packages don't allow is skipped with its reason. On a
machine without a package index, ``--wheels`` names a folder with wheels of what is missing (`make
gpu-wheels`); they go into a folder of their own, and nothing that is installed changes. Writes
``benchmarks/results/gpu_check.GPU.json``, each outcome as soon as it is there. Without a GPU,
``--device cpu`` rehearses the parts that need none, and writes where ``--output`` says.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_parts import bound_onnxruntime, build, engine_details, export, machine, run_backend
from gpu_torch import (
    COMPILED,
    WAYS,
    Expected,
    Setting,
    Skip,
    Way,
    gflop,
    matrix_rate,
    random_model,
    reference,
    tf32,
    torch_latency,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NEEDED = ("apdepth_deploy", "diffusers", "transformers", "onnx", "onnxscript")


class Check:
    """The parts, one after the other, until the time is up; every outcome is kept at once."""

    def __init__(self, minutes: float, keep: Callable[[dict[str, Any]], None]) -> None:
        """``keep``: called with all outcomes so far, after each part."""
        self._deadline = time.monotonic() + 60 * minutes
        self._keep = keep
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
        self._keep(self.parts)
        return result


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


def check(setting: Setting, minutes: float, output: Path | None) -> dict[str, Any]:
    """Everything, most telling first: what is late is skipped."""
    frame = [setting.height, setting.width]
    found = {"preset": setting.preset, "frame": frame, **machine(setting)}

    def keep(parts: dict[str, Any]) -> None:
        found["parts"] = parts
        if output is not None:
            output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    done = Check(minutes, keep)
    rate = done.part("matrix product", lambda: matrix_rate(setting))
    specs, expected = {}, {}
    for light in (False, True):
        model = random_model(setting, light)
        specs[light], expected[light] = model.spec, reference(setting, model)
    del model  # its memory is the ways' own
    _time(done, setting, WAYS[:1], expected)
    with tf32(False):
        _time(done, setting, WAYS[:1], expected, " without TF32")
    _time(done, setting, WAYS[1:], expected)
    for precision in ("fp16", "bf16"):
        model = random_model(setting)
        folder = done.part(
            f"export {precision}", lambda p=precision, m=model: export(setting, m, p)
        )
        if folder is not None:
            _check_bundle(done, setting, folder, precision, expected[False])
    _time(done, setting, COMPILED, expected)
    if rate is not None:
        done.part("share of the matrix rate", lambda: _shares(done, setting, specs, rate["tflops"]))
    return found


def _time(
    done: Check,
    setting: Setting,
    ways: Sequence[Way],
    expected: Mapping[bool, Expected],
    condition: str = "",
) -> None:
    for way in ways:
        done.part(
            way.label + condition,
            lambda w=way: torch_latency(
                setting, w, random_model(setting, w.light), expected[w.light]
            ),
        )


def _shares(
    done: Check, setting: Setting, specs: Mapping[bool, Any], tflops: float
) -> dict[str, float]:
    """Of the rate that a large product reaches, what each way of PyTorch makes of it."""
    shares = {}
    for way in (*WAYS, *COMPILED):
        result = done.parts.get(way.label, {}).get("result")
        if result is not None and way.precision != "fp32":
            seconds = result["device_ms"] / 1e3
            shares[way.label] = round(
                gflop(setting, way, specs[way.light]) / 1e3 / seconds / tflops, 3
            )
    return shares


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
        if backend == "onnxruntime":
            done.part(
                f"onnxruntime IOBinding, CUDA graph {precision}",
                lambda: bound_onnxruntime(setting, folder, precision, expected),
            )
        else:
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


def join_parts(folder: Path, output: Path) -> list[Path]:
    """Files that came in parts, ``NAME.part00`` and so on, whole again in ``output``."""
    joined = []
    for first in sorted(folder.glob("*.part00")):
        output.mkdir(parents=True, exist_ok=True)
        joined.append(output / first.stem)
        with joined[-1].open("wb") as whole:
            for part in sorted(folder.glob(f"{first.stem}.part*")):
                whole.write(part.read_bytes())
    return joined


def use_wheels(folder: Path) -> None:
    """Install the folder's wheels beside the repository and start again with them."""
    site = ROOT / "out" / "gpu-check-site"
    wheels = sorted(map(str, [*folder.glob("*.whl"), *join_parts(folder, ROOT / "out" / "joined")]))
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
    parser.add_argument("--minutes", type=float, default=6)
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
    output = arguments.output
    if output is None and arguments.device == "cuda":
        name = torch.cuda.get_device_name(0).replace(" ", "_")
        output = RESULTS / f"gpu_check.{name}.json"
    with tempfile.TemporaryDirectory() as temporary:
        setting = Setting(
            arguments.preset,
            arguments.height,
            arguments.width,
            arguments.runs,
            arguments.device,
            Path(temporary),
        )
        found = check(setting, arguments.minutes, output)
    print(latency_table(found))
    if output is not None:
        print(f"wrote {output}")


if __name__ == "__main__":
    main()
