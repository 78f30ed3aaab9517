"""One frame by every way that runs on this CPU: seconds, ratio, memory, and the arithmetic's bound.

    python benchmarks/backends.py [--preset small] [--height 240 --width 320] [--runs 3]

The first row is the authors' way: diffusers' and transformers' modules in eager PyTorch, float32,
nothing folded. Each way runs in a process of its own (together they don't fit in memory), one after
the other, and the first once more at the end: how far its two medians are apart is what a ratio is
worth. Ratios are to the median of all its runs. The bound is the graph's arithmetic over the rate
at which this machine multiplies matrices.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import in_a_process, peak_gb, run, save_results, timed

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions
from apdepth_deploy.verify import sample_frames

#: Way -> (bundle, backend, precision of the arithmetic).
WAYS = {
    "PyTorch eager, unfolded": ("full", "torch", "fp32"),
    "PyTorch eager": ("full", "torch", "fp32"),
    "PyTorch compiled": ("full", "torch", "fp32"),
    "ONNX Runtime": ("full", "onnxruntime", "fp32"),
    "OpenVINO": ("full", "openvino", "fp32"),
    "OpenVINO bf16": ("full", "openvino", "bf16"),
    "light VAE, ONNX Runtime": ("light", "onnxruntime", "fp32"),
    "light VAE, OpenVINO bf16": ("light", "openvino", "bf16"),
}
#: Bundle -> options of its export. "light" computes another depth: its error is left out.
BUNDLES: dict[str, tuple[str, ...]] = {"full": (), "light": ("--vae", "taesd")}
FIRST = next(iter(WAYS))
COMPILED = "PyTorch compiled"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        way, folder = arguments.measure
        print(json.dumps(measure(way, Path(folder), arguments.runs)))
        return
    report(arguments)


def report(arguments: argparse.Namespace) -> None:
    size = ("--height", str(arguments.height), "--width", str(arguments.width))
    rates = {precision: matrix_rate(precision) for precision in ("fp32", "bf16")}
    with tempfile.TemporaryDirectory() as temporary:
        for name, options in BUNDLES.items():
            words = ("export", arguments.preset, "--random-weights", "--no-verify", *options)
            output = str(Path(temporary) / name)
            run(*words, "--precision", "fp32", *size, "--output", output)
        ways = {way: measured(way, temporary, arguments.runs) for way in WAYS}
        again = measured(FIRST, temporary, arguments.runs)
        gflop = {name: gflop_of(Path(temporary) / name, "after") for name in BUNDLES}
        gflop["unfolded"] = gflop_of(Path(temporary) / "full", "before")
    first = statistics.median(ways[FIRST]["seconds"] + again["seconds"])
    for way, found in ways.items():
        bundle, _, precision = WAYS[way]
        bundle = "unfolded" if way == FIRST else bundle
        found["ratio"] = round(first / found["median_s"], 2)
        found["bound_s"] = round(gflop[bundle] / rates[precision], 2)
    cells = [
        [way, *(str(found[key]) for key in ("median_s", "ratio", "bound_s", "peak_gb", "mean_abs"))]
        for way, found in ways.items()
    ]
    label = f"{arguments.preset}, {arguments.height}x{arguments.width}"
    print(table([label, "seconds", "ratio", "bound s", "peak GB", "mean abs error"], cells))
    print(f"{FIRST}, once more at the end: {again['median_s']} s")
    results = {
        "machine": machine_facts(),
        "versions": versions(),
        "frame": [arguments.height, arguments.width],
        "runs": arguments.runs,
        "gflop": gflop,
        "matrix_gflop_s": rates,
        "ways": ways,
        "first_again": again,
    }
    save_results(f"backends.{arguments.preset}.{arguments.height}x{arguments.width}.json", results)


def gflop_of(bundle: Path, when: str) -> float:
    """Of a frame, "before" folding or "after"."""
    return round(sum(Bundle.open(bundle).manifest["folding"][when]["gflop"].values()), 1)


def measured(way: str, folder: str, runs: int) -> dict[str, Any]:
    """``measure`` in a fresh process, and how its depth differs from the first way's."""
    found = in_a_process(__file__, "--runs", str(runs), "--measure", way, folder)
    depths = [np.load(Path(folder) / f"{name}.npy") for name in (way, FIRST)]
    same_model = WAYS[way][0] != "light"
    error = float(f"{np.abs(depths[0] - depths[1]).mean():.1e}") if same_model else None
    return {**found, "mean_abs": error}


def measure(way: str, folder: Path, runs: int) -> dict[str, Any]:
    """Seconds of each run after one to warm up, and the process's peak memory."""
    name, backend, precision = WAYS[way]
    predict = load(folder / name, backend, precision=precision)
    if backend == "torch" and way != FIRST:
        from apdepth_deploy.export.folding import fold

        fold(predict.chain._model)
        if way == COMPILED:
            compile_networks(predict.chain._model)
    height, width = Bundle.open(folder / name).frame_shape[1:]
    frame = sample_frames((1, height, width))["photo"][0]
    np.save(folder / f"{way}.npy", predict(frame))
    found = timed(lambda: predict(frame), runs)
    return {**found, "peak_gb": round(peak_gb(), 1)}


def compile_networks(model: Any) -> None:
    """By torch.compile, at their first call."""
    for network in (model.prior.net, model.vae.encoder, model.unet, model.decoding_vae.decoder):
        network.compile()


def matrix_rate(precision: str, side: int = 2048, runs: int = 7) -> float:
    """GFLOP/s of the fastest of some products of square matrices, in PyTorch on all cores."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    a, b = (torch.randn(side, side, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return round(2 * side**3 / min(seconds) / 1e9, 1)


if __name__ == "__main__":
    main()
