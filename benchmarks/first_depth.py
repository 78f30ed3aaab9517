"""How soon a fresh process has depth, on this CPU, and how fast it is from the hundredth frame on.

    python benchmarks/first_depth.py [--runs 5] [--backend auto --backend openvino]

`tiny`, fp32, 240x320; processes of their own, backends in turns. Cold: nothing is kept from earlier
(the libraries' files lie in memory). Later: the next process. Seconds are from the start of the
process on, hash checks included; CPU seconds are the process's, all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np
from measuring import in_a_process, run, save_results

from apdepth_deploy import load
from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions

FRAMES = 140
SETTLED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--backend", action="append")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    backends = arguments.backend or ["auto", "openvino", "onnxruntime"]
    found: dict[str, list[dict[str, Any]]] = {backend: [] for backend in backends}
    with tempfile.TemporaryDirectory() as folder:
        bundle = folder + "/bundle"
        size = ("--height", "240", "--width", "320")
        run("export", "tiny", "--precision", "fp32", "--no-verify", *size, "--output", bundle)
        for number in range(arguments.runs):
            for backend in backends:
                os.environ["XDG_CACHE_HOME"] = f"{folder}/{backend}.{number}"
                cold = process(bundle, backend, 1)
                whole = process(bundle, backend, FRAMES)  # one frame may have kept nothing
                later = process(bundle, backend, 1)
                found[backend].append({"cold": cold, "whole": whole, "later": later})
    cells = [[backend, *_cells(runs)] for backend, runs in found.items()]
    headers = ["tiny, 240x320", "first depth, cold, s", "CPU s", "later, s", "CPU s"]
    headers += [f"a frame from the {SETTLED}th on, ms", "CPU ms", "OpenVINO from frame"]
    print(table(headers, cells))
    results = {"machine": machine_facts(), "versions": versions(), "runs": found}
    save_results("first_depth.tiny.json", results)


def _cells(runs: list[dict[str, Any]]) -> list[str]:
    def median(kind: str, name: str, factor: float = 1.0) -> str:
        return f"{factor * statistics.median(run[kind][name] for run in runs):.4g}"

    return [
        *(median("cold", "first_s"), median("cold", "first_cpu_s")),
        *(median("later", "first_s"), median("later", "first_cpu_s")),
        *(median("whole", "settled_s", 1e3), median("whole", "settled_cpu_s", 1e3)),
        ", ".join(str(run["whole"]["openvino_from"]) for run in runs),
    ]


def process(bundle: str, backend: str, frames: int) -> dict[str, Any]:
    words = ("--measure", bundle, backend, str(frames), str(time.time()))
    return in_a_process(__file__, *words)


def measure(bundle: str, backend: str, frames: str, started: str) -> dict[str, Any]:
    """In a process that was ``started`` then (time.time)."""
    predictor = load(bundle, backend)
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    predictor(image)
    found: dict[str, Any] = {
        "first_s": time.time() - float(started),
        "first_cpu_s": time.process_time(),
    }
    engines, seconds, cpu_seconds = [predictor.backend], [0.0], [0.0]
    for _ in range(int(frames) - 1):
        start, cpu = time.perf_counter(), time.process_time()
        predictor(image)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu)
        engines.append(predictor.backend)
    if len(seconds) > SETTLED:
        found["settled_s"] = statistics.median(seconds[SETTLED:])
        found["settled_cpu_s"] = statistics.median(cpu_seconds[SETTLED:])
        found["slowest_s"] = max(seconds)
        found["openvino_from"] = engines.index("openvino") + 1 if "openvino" in engines else None
    return found


if __name__ == "__main__":
    main()
