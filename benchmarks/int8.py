"""8-bit weights and activations (NNCF, after training) on OpenVINO: their quality and their speed.

    pip install nncf
    python benchmarks/int8.py [--scenes out/synthetic] [--calibration 128]

The fused fp32 graph of `tiny`, 192x256, calibrated on frames of the training split; three ways to
compute it, scored on the held-out split, and timed on one frame in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import nncf
import numpy as np
import openvino
from measuring import run, save_results
from scoring import Way, quality

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions
from apdepth_deploy.runtime.profiling.measure.timing import time_in_turns
from apdepth_deploy.training.data.synthetic import SyntheticDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, default=Path("out/synthetic"))
    parser.add_argument("--calibration", type=int, default=128)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    train, test = (SyntheticDataset(arguments.scenes, split) for split in ("train", "test"))
    frames = [train[index].image[None] for index in range(arguments.calibration)]
    with tempfile.TemporaryDirectory() as folder:
        size = ("--height", "192", "--width", "256")
        run("export", "tiny", "--precision", "fp32", *size, "--output", folder + "/bundle")
        (graph,) = Bundle.open(folder + "/bundle").chain_graphs("fused", "fp32")
        model = openvino.Core().read_model(f"{folder}/bundle/{graph.file}")
        quantised = nncf.quantize(model, nncf.Dataset(frames), subset_size=len(frames))
        ways = {
            "fp32": compiled(model, "f32"),
            "bf16": compiled(model, "bf16"),
            "int8": compiled(quantised, "f32"),
            "int8, the rest in bf16": compiled(quantised, "bf16"),
        }
        rows = {name: quality(way, test) for name, way in ways.items()}
        works = [partial(way, frames[0]) for way in ways.values()]
        seconds = time_in_turns(works, arguments.runs, print)
    for found, taken in zip(rows.values(), seconds, strict=True):
        found["median_s"] = round(statistics.median(taken), 4)
    cells = [
        [name, f"{1000 * r['median_s']:.1f}", f"{r['abs_rel']:.4f}", f"{r['delta1']:.4f}"]
        for name, r in rows.items()
    ]
    print(table(["tiny, 192x256", "ms", "AbsRel", "delta1"], cells))
    results = {
        "machine": machine_facts(),
        "versions": {**versions(), "nncf": nncf.__version__},
        "calibration_frames": len(frames),
        "rows": rows,
    }
    save_results("int8.tiny.json", results)


def compiled(model: openvino.Model, precision: str) -> Way:
    """uint8 [1,H,W,3] -> depth [H,W]."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    network = openvino.Core().compile_model(model, "CPU", settings)
    return lambda frames: np.asarray(network(frames)[0])[0]


if __name__ == "__main__":
    main()
