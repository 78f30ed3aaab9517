"""One graph of a bundle: compared layer by layer, and what shows it left in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from apdepth_deploy.bundle import Bundle, Graph
from apdepth_deploy.bundle.golden import read_golden
from apdepth_deploy.bundle.onnx_file import check_weights
from apdepth_deploy.errors import BackendError, UsageError
from apdepth_deploy.machine.devices import nvidia_gpus

from ..engines.onnxruntime_backend import has_cuda
from ..engines.wanted import is_installed
from .departure import Departure, Side, first_departure
from .frames import (
    as_typed,
    frames_of,
    mean_within,
    noise_within,
    run_line,
    shapes_of,
    write_inputs,
    write_results,
)
from .layers import Layers, matched
from .reduction import reduce_to
from .runners import REFERENCE, Engine

_NEEDED = ("polygraphy", "onnx", "onnxruntime", "onnx_graphsurgeon")
Progress = Callable[[str], None]


@dataclasses.dataclass
class Finding:
    """What came of one graph; command lines are for a shell, "" where there is nothing to show.

    Attributes:
        graph: such as "unet.fp32"; compared: what was compared with what.
        golden_line: judges the graph on the engine by the golden frames.
        node, operator, stage, weight, value: where it departs; "" where nothing does.
        decibels, limit: what the value has, and the least allowed; before: the least of what the
            values that it is made from have.
        between: nodes from those values to this one, which is the last.
        node_line: shows the departing value.
        reduced_nodes, reduced_line: the smallest graph that departs.
    """

    graph: str
    compared: str
    golden_line: str
    node: str = ""
    operator: str = ""
    stage: str = ""
    weight: str = ""
    value: str = ""
    frame: str = ""
    decibels: float | None = None
    limit: float | None = None
    before: float | None = None
    between: tuple[str, ...] = ()
    node_line: str = ""
    reduced_nodes: int = 0
    reduced_line: str = ""


def engine_of(backend: str, device: str) -> Engine:
    """Where a backend's layers run. Raises BackendError where a package is missing,
    UsageError for another GPU than the first."""
    missing = [module.replace("_", "-") for module in _NEEDED if not is_installed(module)]
    if missing:
        raise BackendError(f"layers are compared with Polygraphy: pip install {' '.join(missing)}")
    if backend == "onnxruntime":
        cuda = has_cuda() if device == "auto" else device != "cpu"
        return Engine(backend, "cuda" if cuda else "cpu")
    if backend == "openvino":
        return Engine(backend, "cpu")
    if device not in ("auto", "cuda", "cuda:0"):
        raise UsageError(
            f"Polygraphy runs on the first GPU, not on {device}: use --device cuda and set "
            f"CUDA_VISIBLE_DEVICES={device.partition(':')[2]}"
        )
    return Engine(backend, nvidia_gpus()[0]["name"] if nvidia_gpus() else "cuda")


def search(
    bundle: Bundle,
    graph: Graph,
    engine: Engine,
    sister: Graph | None,
    limits: Mapping[str, float],
    mean_limit: float,
    folder: Path,
    reduce: bool,
    progress: Progress,
) -> Finding:
    """Compare one graph's layers: with ONNX Runtime's of the same graph, where the engine is
    another; then on ONNX Runtime, with the sister's.

    Args:
        sister: the graph in another precision, known to be right.
        limits: the least dB allowed, by precision; mean_limit: see ``verify.Threshold``.
    """
    for one in (graph, sister) if sister else (graph,):
        bundle.check_hash(one.file)
        bundle.check_hash(one.data)
        check_weights(bundle.path(one.file), bundle.path(one.data))
    frames = frames_of(graph, read_golden(bundle))
    shapes = shapes_of(graph)
    sizes = {name: value.shape for name, value in frames[-1].inputs.items()}
    path = bundle.path(graph.file)
    layers = Layers(path, graph, sizes)
    golden = (
        write_inputs(folder / f"{graph.label}.inputs.json", [frame.inputs for frame in frames]),
        write_results(
            folder / f"{graph.label}.golden.json", [f.results for f in frames], "PyTorch float32"
        ),
    )
    means = {
        name: mean_limit * max(frame.scales[name] for frame in frames) for name in frames[0].scales
    }
    ranged = {} if isinstance(graph.height, int) and isinstance(graph.batch, int) else shapes
    line = run_line(engine, path, *golden, mean_within(means), ranged)
    finding = Finding(graph.label, "", as_typed(engine, line))
    subject = Side(layers, engine, shapes)
    others: list[tuple[Side, Side]] = []
    if engine != REFERENCE:
        others.append((subject, Side(layers, REFERENCE, shapes)))
    if sister is not None:
        other = Layers(bundle.path(sister.file), sister, sizes)
        others.append((Side(layers, REFERENCE, shapes), Side(other, REFERENCE, shapes)))
    labels = []
    for ours, right in others:
        labels.append(f"{ours.label} with {right.label}")
        progress(f"comparing {labels[-1]}")
        same = right.layers is layers
        pairs = [(v, v) for v in layers.values] if same else matched(layers, right.layers)
        limit = min(limits[side.layers.precision] for side in (ours, right))
        found = first_departure(ours, right, pairs, frames, limit)
        if found is not None:
            finding.compared = labels[-1]
            _tell(finding, ours, right, found, folder)
            if reduce:
                progress(f"reducing {graph.label}")
                small = reduce_to(folder, ours, right, found)
                finding.reduced_nodes = small.nodes
                finding.reduced_line = as_typed(ours.engine, small.line)
            return finding
    finding.compared = "; ".join(labels) or "nothing: there is no graph of another precision"
    return finding


def _tell(finding: Finding, ours: Side, right: Side, found: Departure, folder: Path) -> None:
    layers = ours.layers
    node = layers.node(found.value)
    between = layers.between(found.value, found.before)
    finding.node, finding.operator, finding.value = node.name, node.op_type, found.value
    finding.stage, finding.weight = layers.stage(found.value), layers.weight(node)
    finding.frame, finding.decibels, finding.limit = found.frame.name, found.decibels, found.limit
    finding.before = min(found.before.values(), default=None)
    finding.between = tuple(one.name for one in between)
    inputs, counterpart = found.frame.inputs, found.counterpart
    expected = {found.value: right.values([counterpart], [inputs])[0][counterpart]}
    marks = "--trt-outputs" if ours.engine.words[0] == "--trt" else "--onnx-outputs"
    line = run_line(
        ours.engine,
        layers.path,
        write_inputs(folder / "node.inputs.json", [inputs]),
        write_results(folder / "node.results.json", [expected], right.label),
        [*noise_within(found.limit), marks, found.value],
        ours.shapes,
    )
    finding.node_line = as_typed(ours.engine, line)
