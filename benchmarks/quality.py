"""What a faster `tiny` costs in quality: AbsRel and delta1 on held-out scenes, beside its seconds.

    python benchmarks/quality.py [--scenes out/synthetic] [--light VAE]

Needs the scenes of `make weights`, and the light VAE that the recipe `tiny_light_vae` trains. Each
row is exported, verified against its own PyTorch model, and evaluated by OpenVINO; then all rows
predict one frame in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from measuring import run, save_results

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import table
from apdepth_deploy.pictures.image import read_image
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions
from apdepth_deploy.runtime.profiling.measure.timing import time_in_turns

SIZE = ("--height", "192", "--width", "256")
LIGHT = "LIGHT"
#: Row -> (options of its export, precision of the arithmetic).
ROWS: dict[str, tuple[tuple[str, ...], str]] = {
    "as it ships": ((), "fp32"),
    "bf16": ((), "bf16"),
    "prior's side 98": (("--prior-side", "98"), "fp32"),
    "prior's side 196": (("--prior-side", "196"), "fp32"),
    "prior sees the whole frame": (("--prior-side", "frame"), "fp32"),
    "light VAE": (("--vae", LIGHT), "fp32"),
    "light decoder": (("--vae", LIGHT, "--vae-side", "decoder"), "fp32"),
    "light encoder": (("--vae", LIGHT, "--vae-side", "encoder"), "fp32"),
}
METRICS = ("abs_rel", "delta1", "boundary_f1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, default=Path("out/synthetic"))
    parser.add_argument("--light", default="out/tiny/light_vae/checkpoint/vae")
    parser.add_argument("--output", type=Path, default=Path("out/quality"))
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    rows = {name: measure(number, name, arguments) for number, name in enumerate(ROWS)}
    seconds = in_turns(arguments.output, arguments.scenes, arguments.runs)
    for number, found in enumerate(rows.values()):
        found["median_s"] = round(statistics.median(seconds[number]), 4)
    cells = [
        [
            name,
            f"{found['gflop']:.2f}",
            f"{1000 * found['median_s']:.1f}",
            *(f"{found[metric]:.4f}" for metric in METRICS),
        ]
        for name, found in rows.items()
    ]
    print(table(["tiny, 192x256", "GFLOP", "ms", "AbsRel", "delta1", "boundary F1"], cells))
    results = {"machine": machine_facts(), "versions": versions(), "rows": rows}
    save_results("quality.tiny.json", results)


def measure(number: int, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Export and evaluate one row."""
    options, precision = ROWS[name]
    words = [arguments.light if word == LIGHT else word for word in options]
    bundle = bundle_of(arguments.output, number)
    run("export", "tiny", "--precision", "fp32", *SIZE, *words, "--output", str(bundle))
    results = bundle.with_suffix(".evaluation")
    command = ["evaluate", bundle, arguments.scenes, "--set", "synthetic", "--output", results]
    command += ["--backend", "openvino", "--precision", precision, "--json"]
    process = [sys.executable, "-m", "apdepth_deploy", *map(str, command)]
    done = subprocess.run(process, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found = json.loads(done.stdout)
    gflop = sum(Bundle.open(bundle).manifest["folding"]["after"]["gflop"].values())
    return {metric: found[metric] for metric in METRICS} | {"gflop": round(gflop, 3)}


def bundle_of(output: Path, number: int) -> Path:
    return output / f"row{number}"


def in_turns(output: Path, scenes: Path, runs: int) -> list[list[float]]:
    """Seconds of each row's frames."""
    frame = read_image(scenes / "test" / "000000_0_rgb.png")
    predictors = [
        load(bundle_of(output, number), "openvino", precision=precision)
        for number, (_, precision) in enumerate(ROWS.values())
    ]
    return time_in_turns([partial(predictor, frame) for predictor in predictors], runs, print)


if __name__ == "__main__":
    main()
