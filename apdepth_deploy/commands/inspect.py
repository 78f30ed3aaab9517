"""``apdepth-deploy inspect``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from apdepth_deploy.bundle import Bundle, Engine, Graph, to_json
from apdepth_deploy.commands.verify import parity_table
from apdepth_deploy.console import table
from apdepth_deploy.errors import BundleError
from apdepth_deploy.machine.gpus import sm
from apdepth_deploy.spec import frame_size
from apdepth_deploy.verify import records_of

app = typer.Typer(add_completion=False)


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show what is in a bundle: graphs, sizes, arithmetic, files, parity."""
    opened = Bundle.open(bundle)
    print(to_json(opened.manifest) if as_json else "\n".join(_describe(opened)))


def _describe(bundle: Bundle) -> list[str]:
    spec, manifest = bundle.spec, bundle.manifest
    weights = ", random weights" if bundle.random_weights else ""
    tools = ", ".join(f"{name} {version}" for name, version in manifest["tools"].items())
    return [
        f"{bundle.folder}: {spec.name}, conventions {spec.conventions.name}{weights}",
        *([f"trained at {', '.join(map(frame_size, spec.trained_at))}"] if spec.trained_at else []),
        f"made {manifest['created']} with {tools}",
        f"depth: {manifest['depth']}",
        f"licence: {bundle.license}",
        "",
        _graphs_table(bundle.graphs, manifest["files"]),
        "",
        *[_tensors(graph) for graph in bundle.graphs],
        "",
        *_size_lines(manifest.get("folding"), bundle.graphs),
        "",
        *([engines_table(bundle.engines), ""] if bundle.engines else []),
        table(
            ["file", "bytes", "sha256"],
            [[name, f"{e['size']:,}", e["sha256"][:16]] for name, e in manifest["files"].items()],
        ),
        "",
        _parity(bundle),
    ]


def _parity(bundle: Bundle) -> str:
    try:
        records = records_of(bundle.manifest)
    except TypeError as error:  # a field that a later version added
        raise BundleError(f"{bundle.folder}: can't read its parity record: {error}") from error
    return parity_table(records) if records else "parity: not measured"


def _graphs_table(graphs: tuple[Graph, ...], files: dict[str, Any]) -> str:
    headers = ["graph", "opset", "batch", "height", "width", "parameters", "nodes", "MB"]
    rows = [
        [
            graph.label,
            str(graph.opset),
            *[_extent(n) for n in (graph.batch, graph.height, graph.width)],
            f"{graph.parameters:,}",
            str(graph.nodes),
            f"{(files[graph.file]['size'] + files[graph.data]['size']) / 1e6:.1f}",
        ]
        for graph in graphs
    ]
    return table(headers, rows)


def engines_table(engines: Sequence[Engine]) -> str:
    headers = ["engine", "for", "with", "weights MB", "activations MB", "seconds", "verified"]
    rows = [
        [
            engine.label,
            "+".join(sm(capability) for capability in engine.compute_capabilities),
            f"{engine.target} {engine.version}",
            f"{engine.weights_bytes / 1e6:,.1f} ({_shares(engine)})",
            f"{engine.activation_bytes / 1e6:,.1f}",
            f"{engine.seconds:.1f}",
            _verified(engine),
        ]
        for engine in engines
    ]
    return table(headers, rows)


def _verified(engine: Engine) -> str:
    """By `build`: on which device, if anywhere."""
    if engine.verified_on is None:
        return "not yet"
    return ("" if engine.verified else "STRAYS on ") + engine.verified_on.get("device", "")


def _shares(engine: Engine) -> str:
    """Share of each type among the weights, as in "fp16 99.970 %, fp32 0.030 %"."""
    total = sum(engine.weights.values())
    counts = sorted(engine.weights.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{name} {100 * count / total:.3f} %" for name, count in counts)


def _tensors(graph: Graph) -> str:
    def text(tensors: Any) -> str:
        return ", ".join(
            f"{t.name} {t.dtype}[{','.join(_extent(n) for n in t.shape)}]" for t in tensors
        )

    return f"{graph.label}: {text(graph.inputs)} -> {text(graph.outputs)}"


def _size_lines(folding: dict[str, Any] | None, graphs: tuple[Graph, ...]) -> list[str]:
    """What was folded, and what that saved: the same for every precision."""
    if folding is None:  # an earlier bundle
        gflop: dict[str, float] = {}
        for graph in graphs:
            gflop |= graph.gflop
        return [_change("GFLOP per call", gflop, gflop, 1)]
    before, after = folding["before"], folding["after"]
    return [
        f"folded: {', '.join(folding['applied']) or 'nothing'}",
        *[f"not folded: {name}: {reason}" for name, reason in folding["skipped"].items()],
        _change("parameters", before["parameters"], after["parameters"], 0),
        _change("GFLOP per call", before["gflop"], after["gflop"], 1),
    ]


def _change(what: str, before: Mapping[str, float], after: Mapping[str, float], digits: int) -> str:
    """As in "GFLOP per call: 6,689.2 -> 6,634.9 (prior 143.0, unet 962.0 -> 908.8)"."""

    def pair(old: float, new: float) -> str:
        texts = dict.fromkeys(f"{n:,.{digits}f}" for n in (old, new))
        return " -> ".join(texts)

    parts = ", ".join(f"{name} {pair(old, after.get(name, 0))}" for name, old in before.items())
    return f"{what}: {pair(sum(before.values()), sum(after.values()))} ({parts})"


def _extent(value: Any) -> str:
    return str(value) if isinstance(value, int) else f"{value[0]}..{value[2]}"
