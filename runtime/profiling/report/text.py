"""The report as lines of text, for a terminal."""

from __future__ import annotations

from typing import Any

from apdepth_deploy.console import table

from ..measure.layers import Layer, by_kind, longest
from .wording import (
    frame_line,
    gpu_line,
    megabytes,
    number,
    peak_line,
    percent,
    roofline_cells,
)

_LATENCY = ("p50", "p90", "p99", "min", "max", "stddev")
_MOST_LAYERS = 20


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
