"""How good metres are by the number of anchors: with and without the field, and without any model.

    python benchmarks/anchors.py RENDERED [RGBD:UNITS ...] [--frames 40]

RENDERED is a set of ``synthesize`` (its test frames), RGBD a folder of ``NAME_color`` and
``NAME_depth`` pairs with so many stored units in a metre. `tiny`, fp32, 240x320, on ONNX Runtime.
Writes ``results/anchors.json`` and draws ``docs/images/anchors.svg``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from measuring import run, save_results

from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions
from apdepth_deploy.training.data.eval_sets import open_eval_set
from apdepth_deploy.training.evaluation.anchored import Drawing, evaluate_anchored
from apdepth_deploy.training.evaluation.models import open_bundle

COUNTS = ("2", "8", "32", "128", "512", "2048", "rings")
OUTLIERS = (0.0, 0.2, 0.4)
NOISE = 0.02
WAYS = {
    "line": "scale and shift",
    "field": "with the field",
    "interpolated": "without a model",
}
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "anchors.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rendered", type=Path)
    parser.add_argument("rgbd", nargs="*", help="FOLDER:UNITS")
    parser.add_argument("--frames", type=int, default=40)
    arguments = parser.parse_args()
    sets = {"rendered": open_eval_set("synthetic", arguments.rendered, None, 1000.0)}
    for pair in arguments.rgbd:
        folder, _, units = pair.rpartition(":")
        sets[Path(folder).name] = open_eval_set("rgbd", Path(folder), None, float(units))
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        bundle = f"{temporary}/bundle"
        size = ("--height", "240", "--width", "320")
        run("export", "tiny", "--precision", "fp32", "--no-verify", *size, "--output", bundle)
        model = open_bundle(Path(bundle), "onnxruntime")
        for name, rules in sets.items():
            found[name] = {}
            for outliers in OUTLIERS:
                drawing = Drawing(COUNTS, NOISE, outliers)
                place = Path(temporary)
                scored = evaluate_anchored(model, rules, place, drawing, arguments.frames, _quiet)
                found[name][f"{outliers:.0%}"] = scored
                print(f"{name}, {outliers:.0%} outliers\n{_table(scored)}\n", flush=True)
    _draw(found["rendered"])
    results = {"machine": machine_facts(), "versions": versions(), "sets": found}
    save_results("anchors.json", results)


def _quiet(line: str) -> None:
    """No progress: there are many rounds."""


def _table(scored: dict[str, Any]) -> str:
    rows = [
        [count, *(f"{one[way]:.3f}" for way in WAYS), f"{one['known']:.0%}"]
        for count, one in scored["anchors"].items()
    ]
    return table(["anchors", *WAYS.values(), "known"], rows)


def _draw(rendered: dict[str, Any]) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, len(rendered), sharey=True)
    for axes, (share, scored) in zip(panels, rendered.items(), strict=True):
        counts = [count for count in COUNTS if count != "rings"]
        for way, words in WAYS.items():
            numbers = [scored["anchors"][count][way] for count in counts]
            axes.loglog([int(count) for count in counts], numbers, marker="o", label=words)
        axes.set_title(f"{share} outliers", fontsize=10)
        axes.set_xlabel("anchors")
        axes.grid(visible=True, which="both", alpha=0.2)
    figure.axes[0].set_ylabel("AbsRel of metres")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
