"""Seconds against the pixels of a frame, and against the batch, on this CPU: table, fit and plot.

    python benchmarks/scaling.py [--preset small] [--runs 3]

One bundle with ranges of batch, height and width; each precision in a process of its own. The fit
is seconds = a n + b n^2, n in megapixels (convolutions, and attention), by least squares of the
relative error.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from measuring import in_a_process, run, save_results, timed

from apdepth_deploy import load
from apdepth_deploy.console import table
from apdepth_deploy.model.networks import count_gflop
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions
from apdepth_deploy.spec import preset
from apdepth_deploy.verify import sample_frames

SIZES = ((192, 256), (240, 320), (384, 512), (480, 640), (768, 1024))
#: Frames at once, of the smallest of ``SIZES``.
BATCHES = (1, 2, 4, 8)
PRECISIONS = ("fp32", "bf16")
PLOT = Path(__file__).parents[1] / "docs" / "images" / "scaling.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--measure", nargs=2, metavar=("PRECISION", "BUNDLE"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.measure:
        precision, bundle = arguments.measure
        print(json.dumps(measure(precision, bundle, arguments.runs)))
        return
    report(arguments.preset, arguments.runs)


def report(name: str, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ranges = ("--min", _words(1, *SIZES[0]), "--max", _words(BATCHES[-1], *SIZES[-1]))
        words = ("export", name, "--random-weights", "--no-verify", "--conventions", "v1.1")
        run(*words, "--precision", "fp32", "--dynamic", *ranges, "--output", folder + "/bundle")
        options = (__file__, "--runs", str(runs), "--measure")
        found = {p: in_a_process(*options, p, folder + "/bundle") for p in PRECISIONS}
    gflop = [sum(count_gflop(preset(name), 1, *size).values()) for size in SIZES]
    fits = {p: fit([size["median_s"] for size in one["sizes"]]) for p, one in found.items()}
    print(sizes_table(name, found, gflop))
    print(batches_table(found))
    print(json.dumps(fits))
    results = {
        "machine": machine_facts(),
        "versions": versions(),
        "runs": runs,
        "unfolded_gflop": [round(one, 1) for one in gflop],
        "openvino": found,
        "fit_seconds_per_megapixel_and_its_square": fits,
    }
    save_results(f"scaling.{name}.json", results)
    plot(name, found, fits)
    print(f"wrote {PLOT}")


def _words(batch: int, height: int, width: int) -> str:
    return f"{batch}x{height}x{width}"


def measure(precision: str, bundle: str, runs: int) -> dict[str, Any]:
    """Seconds of each size and batch, after one run to warm up."""
    chain = load(bundle, "openvino", precision=precision).chain

    def of(batch: int, size: tuple[int, int]) -> dict[str, Any]:
        frames = sample_frames((batch, *size))["photo"]
        chain.run(frames)
        return {"frame": [batch, *size], **timed(lambda: chain.run(frames), runs)}

    return {
        "sizes": [of(1, size) for size in SIZES],
        "batches": [of(batch, SIZES[0]) for batch in BATCHES],
    }


def fit(seconds: list[float]) -> list[float]:
    """Seconds a megapixel, and a squared megapixel, that fit ``SIZES`` best."""
    pixels = megapixels()
    terms = np.stack([pixels, pixels**2], axis=1) / np.array(seconds)[:, None]
    found, *_ = np.linalg.lstsq(terms, np.ones(len(seconds)), rcond=None)
    return [round(float(value), 3) for value in found]


def megapixels() -> np.ndarray:
    return np.array([height * width / 1e6 for height, width in SIZES])


def sizes_table(name: str, found: dict[str, Any], gflop: list[float]) -> str:
    rows = [
        [
            _words(*one["frame"]),
            f"{gflop[i]:.0f}",
            *(str(f["sizes"][i]["median_s"]) for f in found.values()),
        ]
        for i, one in enumerate(found["fp32"]["sizes"])
    ]
    return table([name, "GFLOP", *(f"{p}, s" for p in found)], rows)


def batches_table(found: dict[str, Any]) -> str:
    rows = [
        [
            _words(*one["frame"]),
            *(f"{f['batches'][i]['median_s'] / one['frame'][0]:.3f}" for f in found.values()),
        ]
        for i, one in enumerate(found["fp32"]["batches"])
    ]
    return table(["batch", *(f"{p}, s a frame" for p in found)], rows)


def plot(name: str, found: dict[str, Any], fits: dict[str, list[float]]) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    line = np.linspace(0, megapixels().max() * 1.05, 100)
    for precision, one in found.items():
        a, b = fits[precision]
        (curve,) = axes.plot(line, a * line + b * line**2, label=f"OpenVINO {precision}")
        medians = [size["median_s"] for size in one["sizes"]]
        axes.plot(megapixels(), medians, "o", color=curve.get_color())
    axes.set(
        xlabel="megapixels a frame", ylabel="seconds", title=f"{name}, batch 1", ylim=(0, None)
    )
    axes.grid(alpha=0.3)
    axes.legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
