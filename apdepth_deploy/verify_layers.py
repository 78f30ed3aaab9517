"""Which layer strays: the engines that missed the golden frames, taken apart with Polygraphy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from apdepth_deploy.bundle import Bundle, Graph
from apdepth_deploy.errors import ParityError, UsageError
from apdepth_deploy.files import output_errors
from apdepth_deploy.verify import THRESHOLDS, Progress, Record, verify_backend

if TYPE_CHECKING:
    from apdepth_deploy.runtime.bisection.search import Finding
    from apdepth_deploy.runtime.engines.verdicts import Verdict

#: ONNX Runtime and OpenVINO have no kernels for graphs in bfloat16.
_COMPARED = ("fp32", "fp16")


def least_decibels(precision: str) -> float:
    """Of a layer's value over its difference: ten times what ``verify`` allows a result's mean.

    A result's magnitude there is its largest value, here its root mean square, a few times less.
    """
    return round(-20.0 * math.log10(10.0 * THRESHOLDS[precision].mean_abs), 1)


def bisect_backend(
    bundle: Bundle,
    judged: Sequence[tuple[Verdict, Sequence[Record]]],
    device: str,
    folder: Path,
    reduce: bool,
    progress: Progress,
) -> list[Finding]:
    """Take apart the chains that missed, or where none did, all of them, up to the first departure.

    Args:
        judged: of ``verify_backend``; device: as there; folder: where golden frames, inputs and
            graphs go, made where it isn't there.

    Raises:
        UsageError: bfloat16 alone. BackendError: a package is missing, or an engine refuses a
        graph's inner values. OutputError: the folder can't be written.
    """
    from apdepth_deploy.runtime.bisection import choose_tensorrt

    chains = [(verdict.backend, verdict.graph, verdict.precision) for verdict, _ in judged]
    if not (chains := [chain for chain in chains if chain[2] in _COMPARED]):
        raise UsageError(f"layers are compared in {' and '.join(_COMPARED)}: give --precision")
    missed = [(v.backend, v.graph, v.precision) for v, _ in judged if not v.passed]
    limits = {precision: least_decibels(precision) for precision in _COMPARED}
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    choose_tensorrt(chains[0][0])
    from apdepth_deploy.runtime.bisection.search import engine_of, search

    findings = []
    for backend, kind, precision in [chain for chain in chains if chain in missed] or chains:
        engine = engine_of(backend, device)
        sisters = _sisters(bundle, kind, precision, progress)
        for graph in bundle.chain_graphs(kind, precision):
            sister = sisters.get(graph.name)
            mean = THRESHOLDS[precision].mean_abs
            finding = search(bundle, graph, engine, sister, limits, mean, folder, reduce, progress)
            findings.append(finding)
            if finding.node:
                return findings
    return findings


def _sisters(bundle: Bundle, kind: str, precision: str, progress: Progress) -> dict[str, Graph]:
    """{name: graph} in another precision, if ONNX Runtime keeps to the golden frames with it."""
    for other in _COMPARED:
        if other != precision and (kind, other) in bundle.chains:
            judged = verify_backend(bundle, "onnxruntime", "cpu", other, progress, kind)
            if all(verdict.passed for verdict, _ in judged):
                return {graph.name: graph for graph in bundle.chain_graphs(kind, other)}
    return {}


def describe(findings: Sequence[Finding], strayed: bool) -> str:
    """In words, with the command lines that show it; ``strayed``: from the golden frames."""
    lines = [line for finding in findings for line in _lines(finding)]
    if strayed and not any(finding.node for finding in findings):
        lines.append(
            "note: it strays from the golden frames, and no layer departs: either what goes wrong "
            "is how layers are run together, which stops when their values are asked for, or the "
            "graphs of all precisions are wrong alike"
        )
    return "\n".join(lines)


def _lines(finding: Finding) -> list[str]:
    lines = [f"{finding.graph}: compared {finding.compared}"]
    if finding.node:
        weight = finding.weight and f", {finding.weight}"
        before = "" if finding.before is None else f"; before it {finding.before:.1f}"
        asked = f"{finding.limit:.1f} asked{before}"
        lines += [
            f"  departs in stage {finding.stage}: {finding.node} ({finding.operator}{weight})",
            f"  {finding.frame} frame: {finding.decibels:.1f} dB, {asked}",
        ]
        if len(finding.between) > 1:
            lines.append(f"  or before it in one of {', '.join(finding.between[:-1])}")
    else:
        lines.append("  nothing departs")
    lines += ["  the golden frames:", f"    {finding.golden_line}"]
    if finding.node:
        lines += ["  the node:", f"    {finding.node_line}"]
    if finding.reduced_line:
        lines += [f"  a graph of {finding.reduced_nodes} nodes:", f"    {finding.reduced_line}"]
    return lines


def raise_on_departure(findings: Sequence[Finding]) -> None:
    """Raises ParityError naming the node."""
    for finding in findings:
        if finding.node:
            raise ParityError(
                f"{finding.graph} departs in node {finding.node!r} of stage {finding.stage!r}"
            )
