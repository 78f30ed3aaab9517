"""The profile as a page: one HTML file with its style and its plots in it, and nothing to load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..measure.layers import Layer, by_kind, longest
from .plots import bars, colour, escaped, histogram, roof
from .wording import (
    frame_line,
    gpu_line,
    megabytes,
    number,
    peak_line,
    percent,
    roofline_cells,
)

_LATENCY = ("p50", "p90", "p99", "min", "max", "mean", "stddev")
_MEMORY = {
    "host_growth": "host, peak growth",
    "gpu_growth": "GPU, growth",
    "weights": "weights",
    "activations": "activations",
}

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --sheet: #fff; --ink: #1b1f27; --soft: #5d6675;
  --line: #dfe3e9; --s0: #2f6fde; --s1: #d9662b; --s2: #15877a; --s3: #a2479f; --s4: #8a6d00;
  --s5: #5b6472; }
@media (prefers-color-scheme: dark) { :root { --ground: #12151a; --sheet: #1b1f27; --ink: #e8ebf0;
  --soft: #9aa4b2; --line: #323945; --s0: #6ea0ff; --s1: #ff9a62; --s2: #3fc4b1; --s3: #d98ad6;
  --s4: #d8b53c; --s5: #a3adba; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 0 0 4px; } h3 { font-size: 15px; margin: 18px 0 2px; }
p { margin: 4px 0 12px; color: var(--soft); overflow-wrap: anywhere; }
section { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 24px; margin-top: 20px; overflow-x: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px;
  margin-top: 20px; }
.card { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px;
  border-top: 4px solid var(--tone); padding: 14px 18px; }
.card b { display: block; font-size: 30px; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; } .card b small { font-size: 16px; font-weight: 500; }
.card span { color: var(--soft); display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin: 8px 0; }
th, td { text-align: right; padding: 5px 0 5px 14px; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
th:first-child, td:first-child, .words td { text-align: left; padding-left: 0; }
.words td + td { padding-left: 14px; overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; }
.words td:first-child { color: var(--soft); width: 11em; }
td.name { overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; margin: 8px 0 4px; }
svg text { font-size: 13px; fill: var(--soft); } svg text.strong { fill: var(--ink); }
.grid { stroke: var(--line); fill: none; } .axis { stroke: var(--soft); fill: none; }
.mark { stroke: var(--ink); stroke-dasharray: 3 3; fill: none; }
.roof { stroke: var(--ink); stroke-width: 2; fill: none; } .point { stroke: var(--sheet); }
.s0 { fill: var(--s0); --tone: var(--s0); } .s1 { fill: var(--s1); --tone: var(--s1); }
.s2 { fill: var(--s2); --tone: var(--s2); } .s3 { fill: var(--s3); --tone: var(--s3); }
.s4 { fill: var(--s4); --tone: var(--s4); } .s5 { fill: var(--s5); --tone: var(--s5); }
.meter { background: linear-gradient(var(--tone), var(--tone)) no-repeat left / var(--part) 100%;
  display: inline-block; width: 120px; height: 9px; border-radius: 2px;
  outline: 1px solid var(--line); margin-left: 8px; }
details summary { cursor: pointer; color: var(--soft); margin: 8px 0; }
ul { margin: 4px 0; padding-left: 20px; color: var(--soft); }
@media print { :root { --ground: #fff; } main { max-width: none; padding: 0; font-size: 12px; }
  section, .card, svg, tr { break-inside: avoid; } .meter, .bar, .point, .card {
  print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def html_report(found: dict[str, Any]) -> str:
    """A whole page from what ``profile_bundle`` returned."""
    results = found["backends"]
    bundle = found["bundle"]
    title = f"Profile of {bundle['spec']}"
    weights = " · random weights: the depth means nothing" if bundle["random_weights"] else ""
    parts = [
        f"<h1>{escaped(title)}</h1>",
        f"<p>{escaped(bundle['folder'])} · {escaped(frame_line(found))}"
        f" · {escaped(found['created'])}{weights}</p>",
        _cards(results),
        _latency(results),
        _stages(results),
        _roofline(results),
        _memory(results),
        *[_layers(result, series) for series, result in enumerate(results)],
        _setting(found),
        _notes(results),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _cards(results: Sequence[dict[str, Any]]) -> str:
    cards = []
    for series, result in enumerate(results):
        latency = result["host"]["latency"]
        against = (
            "the base of the ratios"
            if series == 0
            else f"{result['ratio']:.2f} × the time of {results[0]['label']}"
        )
        lines = [f"{number(result['host']['throughput'])} frames/s"]
        lines += [against] if len(results) > 1 else []
        roofline = result["roofline"]
        if roofline and roofline["fraction_of_peak"] is not None:
            lines.append(f"{percent(roofline['fraction_of_peak'])} of the device's peak")
        cards.append(
            f'<div class="card {colour(series)}"><span>{escaped(result["label"])} · '
            f"{escaped(result['device'])}</span><b>{number(latency['p50'])} <small>ms</small></b>"
            + "".join(f"<span>{escaped(line)}</span>" for line in lines)
            + "</div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _latency(results: Sequence[dict[str, Any]]) -> str:
    rows, plots = [], []
    for series, result in enumerate(results):
        kinds = [("with host copies", result["host"])]
        if result["device_only"]:
            kinds.append(("without host copies", result["device_only"]))
        for kind, timing in kinds:
            latency = timing["latency"]
            values = [number(latency[name]) for name in _LATENCY]
            ratio = f"{result['ratio']:.2f} ×" if timing is result["host"] else ""
            label = f"{result['label']}, {kind}"
            rows.append([label, *values, number(timing["throughput"]), ratio])
            marks = {name: latency[name] for name in ("p50", "p90", "p99")}
            plots.append(f"<h3>{escaped(label)}</h3>")
            plots.append(histogram(timing["samples_ms"], marks, series))
    header = ["milliseconds a call", *_LATENCY, "frames/s", "ratio"]
    words = (
        "Percentiles interpolate linearly between samples. The ratio is of medians, to the first "
        "row; several backends run in turns in one process."
    )
    return _section("Latency", words, _table(header, rows), *plots)


def _stages(results: Sequence[dict[str, Any]]) -> str:
    rows, drawn = [], []
    for series, result in enumerate(results):
        for stage in result["stages"] or ():
            label = f"{stage['name']} · {result['label']}"
            latency = stage["latency"]
            text = _taken(latency["p50"], stage["share"])
            drawn.append((label, latency["p50"], text, series))
            values = [number(latency[name]) for name in ("p50", "p90", "p99", "stddev")]
            rates = [number(stage["gflop"]), number(stage["gflops"])]
            rows.append([label, *values, percent(stage["share"]), *rates])
    if not rows:
        return ""
    header = ["milliseconds a call", "p50", "p90", "p99", "stddev", "share", "GFLOP", "GFLOP/s"]
    words = "Each stage's graph by itself, one after the other, waiting for each: the staged chain."
    return _section("Stages", words, bars(drawn, "stages"), _table(header, rows))


def _roofline(results: Sequence[dict[str, Any]]) -> str:
    rows, points = [], dict[str, list[tuple[str, float, float, int]]]()
    peaks: dict[str, dict[str, Any]] = {}
    for series, result in enumerate(results):
        found = result["roofline"]
        if found is None:
            continue
        line = peak_line(found["peak"])
        peaks[line] = found["peak"]
        point = (result["label"], found["intensity"], found["gflops"], series)
        points.setdefault(line, []).append(point)
        basis = "with" if found["basis"] == "host" else "without"
        rows.append([f"{result['label']}, {basis} host copies", *roofline_cells(found)])
    if not rows:
        return ""
    plots = []
    for line, peak in peaks.items():
        if peak["gflops"] and peak["gb_s"]:
            plots.append(roof(points[line], peak["gflops"], peak["gb_s"], peak["device"]))
        plots.append(f"<p>{escaped(line)}</p>")
    header = ["", "GFLOP", "MB", "FLOP/byte", "GFLOP/s", "of peak", "of roof", "bound by"]
    words = (
        "Arithmetic of one call over its median. MB counts weights, inputs and outputs once: a "
        "lower bound, so that the true point lies at the same height, further to the left."
    )
    return _section("Roofline", words, *plots, _table(header, rows))


def _memory(results: Sequence[dict[str, Any]]) -> str:
    rows = [
        (f"{name} · {result['label']}", size / 1e6, f"{megabytes(size)} MB", series)
        for key, name in _MEMORY.items()
        for series, result in enumerate(results)
        if (size := result["memory"][key]) is not None
    ]
    words = (
        "Growth is over loading and warming up: of this process's peak resident memory, and of "
        "the GPU's used memory. Weights and activations are what the manifest says."
    )
    return _section("Memory", words, bars(rows, "memory"))


def _layers(result: dict[str, Any], series: int) -> str:
    if not result["layers"]:
        return ""
    layers = [Layer(**layer) for layer in result["layers"]]
    kinds = by_kind(layers)
    top = [
        (layer.label, layer.ms, _taken(layer.ms, layer.share), series)
        for layer in longest(layers, 10)
    ]
    rows = [[kind, str(count), number(ms), percent(share)] for kind, count, ms, share in kinds]
    shares = [share for *_, share in kinds]
    every = [[layer.label, number(layer.ms), percent(layer.share)] for layer in layers]
    return _section(
        f"Layers of {result['label']}",
        "Measuring layers slows the whole: the shares mean something, the sum less.",
        _table(["operation", "layers", "ms", "share"], rows, shares, series),
        "<h3>The longest</h3>",
        bars(top, "longest layers"),
        f"<details><summary>All {len(layers)} layers, in the order in which they run</summary>",
        _table(["layer", "ms", "share"], every),
        "</details>",
    )


def _taken(ms: float, share: float) -> str:
    return f"{number(ms)} ms, {percent(share)}"


def _setting(found: dict[str, Any]) -> str:
    machine, gpu = found["machine"], found["gpu"]
    memory = machine["memory_bytes"]
    rows = [
        ["processor", f"{machine['cpu']}, {machine['cores']} cores"],
        ["memory", "-" if memory is None else f"{memory / 1e9:,.1f} GB"],
        ["system", machine["os"]],
        ["versions", ", ".join(f"{name} {value}" for name, value in found["versions"].items())],
    ]
    if gpu:
        rows += [[f"GPU, {when}", gpu_line(when, gpu[when])] for when in ("before", "after")]
    else:
        rows.append(["GPU", found["gpu_missing"]])
    rows += [[result["label"], result["reason"]] for result in found["backends"]]
    return _section("Setting", "", _table([], rows, style="words"))


def _notes(results: Sequence[dict[str, Any]]) -> str:
    notes = [note for result in results for note in result["notes"]]
    if not notes:
        return ""
    items = "".join(f"<li>{escaped(note)}</li>" for note in notes)
    return _section("What was not measured", "", f"<ul>{items}</ul>")


def _section(title: str, words: str, *parts: str) -> str:
    told = f"<p>{escaped(words)}</p>" if words else ""
    inside = "\n".join(parts)
    return f"<section>\n<h2>{escaped(title)}</h2>{told}\n{inside}\n</section>"


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    shares: Sequence[float] = (),
    series: int = 0,
    style: str = "",
) -> str:
    """Cells of text; with ``shares``, a meter at the end of each row."""
    head = "".join(f"<th>{escaped(cell)}</th>" for cell in header)
    lines = [f"<thead><tr>{head}</tr></thead>"] if header else []
    for index, row in enumerate(rows):
        cells = [f"<td>{escaped(cell)}</td>" for cell in row]
        cells[0] = cells[0].replace("<td>", '<td class="name">')
        if shares:
            meter = f'<i class="meter {colour(series)}" style="--part:{shares[index]:.1%}"></i>'
            cells[-1] = cells[-1].replace("</td>", f"{meter}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table class="{style}">' + "\n".join(lines) + "</table>"
