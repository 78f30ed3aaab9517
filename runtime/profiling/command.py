"""``apdepth-deploy profile``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from apdepth_deploy.bundle import to_json
from apdepth_deploy.console import steps, table
from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import atomic_file, output_errors

from .measure.profile import profile_bundle
from .measure.results import Plan
from .measure.timing import Layer, by_kind, longest
from .report.html import html_report
from .report.wording import (
    frame_line,
    gpu_line,
    megabytes,
    number,
    peak_line,
    percent,
    roofline_cells,
)

app = typer.Typer(add_completion=False)

_LATENCY = ("p50", "p90", "p99", "min", "max", "stddev")
_MOST_LAYERS = 20


@app.command()
def profile(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="As in infer; repeat to compare several with the first."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp32, fp16, bf16; repeat for several; default: what runs best."),
    ] = None,
    device: Annotated[str, typer.Option(help="As in infer.")] = "auto",
    image: Annotated[
        Path | None, typer.Option(help="Picture to run on; default: a photo in the package.")
    ] = None,
    runs: Annotated[int, typer.Option(help="Timed runs of each backend.")] = 50,
    warm_up: Annotated[int, typer.Option(help="Runs of each before those.")] = 5,
    layers: Annotated[bool, typer.Option("--layers", help="Time every layer, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with plots: one file, opens from disk.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="For backend torch: weights, if not the manifest's.")
    ] = None,
) -> None:
    """Measure latency, throughput, stages, layers, memory and the roofline, here and now.

    Several backends run in turns in this one process; ratios are of medians, to the first.
    """
    plan = Plan(
        backends=tuple(backend or ["auto"]),
        precisions=tuple(precision or [None]),
        device=device,
        checkpoint=checkpoint,
        image=image,
        runs=runs,
        warm_up=warm_up,
        layers=layers,
    )
    if html is not None:
        _check_writable(html)
    with steps() as progress:
        found = profile_bundle(bundle, plan, progress)
    if html is not None:
        with atomic_file(html) as temporary:
            temporary.write_text(html_report(found), encoding="utf-8")
    print(to_json(found) if as_json else "\n".join(describe(found)))


def _check_writable(target: Path) -> None:
    """Asked before minutes of measuring. Raises UsageError or OutputError."""
    if target.is_dir():
        raise UsageError(f"--html {target} is a folder: name a file")
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=target.parent).close()


def describe(found: dict[str, Any]) -> list[str]:
    """The report as lines of text, part by part."""
    results = found["backends"]
    parts = [
        _heading(found),
        _latency_table(results),
        *[_stage_table(result) for result in results if result["stages"]],
        *[_layer_tables(result) for result in results if result["layers"]],
        _memory_table(results),
        _roofline_table([result for result in results if result["roofline"]]),
        [f"note: {note}" for result in results for note in result["notes"]],
    ]
    return [line for part in parts if part for line in (*part, "")][:-1]


def _heading(found: dict[str, Any]) -> list[str]:
    bundle, machine = found["bundle"], found["machine"]
    weights = ", random weights" if bundle["random_weights"] else ""
    lines = [
        f"{bundle['folder']}: {bundle['spec']}{weights}, {frame_line(found)}",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['os']}",
        ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
    ]
    if found["gpu"]:
        lines += [gpu_line(when, found["gpu"][when]) for when in ("before", "after")]
    return [*lines, *[result["reason"] for result in found["backends"]]]


def _latency_table(results: list[dict[str, Any]]) -> list[str]:
    rows = []
    for result in results:
        ratio = f"{result['ratio']:.2f} x"
        rows.append([result["label"], *_timing(result["host"]), ratio])
        if result["device_only"]:
            rows.append(["  without host copies", *_timing(result["device_only"]), ""])
    headers = ["latency, ms", *_LATENCY, "frames/s", f"p50 / {results[0]['label']}"]
    return [table(headers, rows)]


def _timing(timing: dict[str, Any]) -> list[str]:
    values = [timing["latency"][name] for name in _LATENCY]
    return [*[number(value) for value in values], number(timing["throughput"])]


def _stage_table(result: dict[str, Any]) -> list[str]:
    rows = [
        [
            stage["name"],
            number(stage["latency"]["p50"]),
            number(stage["latency"]["p99"]),
            percent(stage["share"]),
            number(stage["gflop"]),
            number(stage["gflops"]),
        ]
        for stage in result["stages"]
    ]
    total = sum(stage["latency"]["p50"] for stage in result["stages"])
    headers = [f"stages of {result['label']}", "p50 ms", "p99 ms", "share", "GFLOP", "GFLOP/s"]
    return [table([*headers], [*rows, ["sum", number(total), "", "", "", ""]])]


def _layer_tables(result: dict[str, Any]) -> list[str]:
    layers = [Layer(**layer) for layer in result["layers"]]
    kinds = [
        [kind, str(count), number(ms), percent(share)] for kind, count, ms, share in by_kind(layers)
    ]
    rows = [
        [layer.label, number(layer.ms), percent(layer.share)]
        for layer in longest(layers, _MOST_LAYERS)
    ]
    return [
        table([f"operations of {result['label']}", "layers", "ms", "share"], kinds),
        "",
        table([f"longest of {len(layers)} layers (all are in --json)", "ms", "share"], rows),
    ]


def _memory_table(results: list[dict[str, Any]]) -> list[str]:
    names = ("host_growth", "gpu_growth", "weights", "activations")
    rows = [
        [result["label"], *[megabytes(result["memory"][name]) for name in names]]
        for result in results
    ]
    headers = ["memory, MB", "host peak growth", "GPU growth", "weights", "activations"]
    return [table(headers, rows)]


def _roofline_table(results: list[dict[str, Any]]) -> list[str]:
    if not results:
        return []
    rows = []
    peaks: dict[str, None] = {}
    for result in results:
        roof = result["roofline"]
        peaks[peak_line(roof["peak"])] = None
        rows.append([result["label"], *roofline_cells(roof)])
    headers = ["roofline", "GFLOP", "MB", "FLOP/byte", "GFLOP/s", "of peak", "of roof", "bound"]
    return [table(headers, rows), *peaks]
