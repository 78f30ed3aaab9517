"""Export time, peak memory and CPU latency, measured: one table, ratios from one run.

    python benchmarks/export_and_latency.py [--presets tiny] [--precisions fp32] [--runs 5]

Each export runs in a process of its own, whose peak resident memory the operating system tells.
ONNX Runtime and the torch backend then take the same frame in turns; the medians are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Run, run, save_results

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions
from apdepth_deploy.verify import records_of, sample_frames

HEIGHT, WIDTH = 480, 640


def export(preset: str, precision: str, folder: Path) -> Run:
    size = ("--height", str(HEIGHT), "--width", str(WIDTH))
    words = ("export", preset, "--random-weights", "--no-verify", "--precision", precision, *size)
    return run(*words, "--output", str(folder))


def latency(folder: Path, runs: int) -> dict[str, float]:
    """Median seconds of each backend on one frame, in turns, after one warm-up each."""
    frame = sample_frames((1, HEIGHT, WIDTH))["photo"][0]
    predictors = {name: load(folder, backend=name) for name in ("onnxruntime", "torch")}
    times: dict[str, list[float]] = {name: [] for name in predictors}
    for number in range(runs + 1):
        for name, predictor in predictors.items():
            start = time.perf_counter()
            predictor(frame)
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


FIRST_DEPTH = """
import sys, time
start = time.perf_counter()
from apdepth_deploy import load
predictor = load(sys.argv[1])
import numpy as np
predictor(np.zeros((int(sys.argv[2]), int(sys.argv[3]), 3), np.uint8))
print(time.perf_counter() - start)
"""


def first_depth(folder: Path, runs: int) -> float:
    """Median seconds of import, load and a first depth with ONNX Runtime, in fresh processes."""
    command = [sys.executable, "-c", FIRST_DEPTH, str(folder), str(HEIGHT), str(WIDTH)]
    seconds = [
        float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603
        for _ in range(runs)
    ]
    return round(statistics.median(seconds), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["tiny", "small"])
    parser.add_argument("--precisions", nargs="+", default=["fp16", "fp32"], help="fp32 last")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    for preset in arguments.presets:
        report(preset, arguments.precisions, arguments.runs)


def report(preset: str, precisions: list[str], repeats: int) -> None:
    """Measure one preset, print its tables and write ``results/export_and_latency.PRESET.json``."""
    runs, sizes, parity = [], {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        for precision in precisions:
            runs += [export(preset, precision, folder), run("verify", str(folder))]
            manifest = Bundle.open(folder).manifest
            sizes[precision] = {name: entry["size"] for name, entry in manifest["files"].items()}
            parity[precision] = {
                r.frame: {"max_abs": r.max_abs, "mean_abs": r.mean_abs}
                for r in records_of(manifest)
                if r.stage == "decoder"
            }
        first = first_depth(folder, repeats)
        seconds = latency(folder, repeats)
    rows = [[entry.command, str(entry.seconds), str(entry.peak_gb)] for entry in runs]
    print(table(["command", "seconds", "peak GB"], rows), end="\n\n")
    ratio = seconds["torch"] / seconds["onnxruntime"]
    rows = [[preset, str(seconds["torch"]), str(seconds["onnxruntime"]), f"{ratio:.2f} x"]]
    print(table(["latency, fp32", "torch s", "onnxruntime s", "ratio"], rows))
    print(f"import, load and a first depth with ONNX Runtime: {first} s")
    found = {
        "machine": machine_facts(),
        "versions": versions(),
        "frame": [HEIGHT, WIDTH],
        "runs": repeats,
        "commands": [dataclasses.asdict(entry) for entry in runs],
        "bytes": sizes,
        "depth_parity": parity,
        "first_depth_s": first,
        "latency_s": seconds,
    }
    save_results(f"export_and_latency.{preset}.json", found)


if __name__ == "__main__":
    main()
