"""The smallest graph that still departs: with its inputs, and what it should give."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx

from apdepth_deploy.errors import BackendError
from apdepth_deploy.files import atomic_file

from .departure import Departure, Side, decibels
from .frames import Array, Tensors, noise_within, run_line, write_inputs, write_results
from .runners import Engine, polygraphy_errors

_POLYGRAPHY = (sys.executable, "-c", "import sys; from polygraphy.tools import main; main()")


class Reduced(NamedTuple):
    """A graph file, its number of nodes, and the words of ``polygraphy run`` that show it."""

    path: Path
    nodes: int
    line: list[str]


def reduce_to(folder: Path, subject: Side, reference: Side, found: Departure) -> Reduced:
    """Write ``reduced.onnx``, ``reduced.inputs.json`` and ``reduced.results.json`` to ``folder``.

    First the nodes are tried that lie between the departure and what was still right before it.
    Where those alone compute right, for what goes wrong is how they are run together with others,
    Polygraphy's `debug reduce` goes back until the engine departs again.

    Raises BackendError where only the whole graph departs.
    """
    given = subject if subject.layers is not reference.layers else reference
    expected = reference.values([found.counterpart], [found.frame.inputs])[0][found.counterpart]
    right = _values(given, list(found.before), found.frame.inputs)
    name = found.value
    model = subject.layers.part(right, name, given.values([name], [found.frame.inputs])[0][name])
    path = folder / "reduced.onnx"
    with atomic_file(path) as temporary:
        onnx.save(model, temporary)
    results = write_results(folder / "reduced.results.json", [{name: expected}], reference.label)
    inputs = folder / "reduced.inputs.json"
    line = run_line(subject.engine, path, inputs, results, noise_within(found.limit))
    if not _departs(subject.engine, path, right, name, expected, found.limit):
        if given is subject:
            raise BackendError(f"{name} departs in the whole graph only: nothing could be reduced")
        known = subject.layers.upstream(name)
        right = _values(reference, known, found.frame.inputs)
        with tempfile.TemporaryDirectory(prefix="apdepth-") as scratch:
            whole = Path(scratch) / "whole.onnx"
            part = subject.layers.part(found.frame.inputs, name, expected)
            onnx.save(part, whole, save_as_external_data=True, location="whole.data")
            debug_reduce(whole, write_inputs(inputs, [right]), line, path)
        if not _departs(subject.engine, path, right, name, expected, found.limit):
            raise BackendError(f"{name} departs in the whole graph only: nothing could be reduced")
    nodes = onnx.load(path).graph
    write_inputs(inputs, [{one.name: right[one.name] for one in nodes.input}])
    return Reduced(path, len(nodes.node), line)


def debug_reduce(whole: Path, inputs: Path, check: Sequence[str], target: Path) -> None:
    """``polygraphy debug reduce``: the graph's last inputs from which its output still departs.

    Args:
        inputs: every value that may become an input; check: the words of ``polygraphy run`` on
            ``target``, which then holds the smallest graph.

    Raises BackendError where the tool fails.
    """
    trial = whole.with_name("trial.onnx")
    words = [str(trial) if word == str(target) else word for word in check]
    command = [
        *(*_POLYGRAPHY, "debug", "reduce", str(whole), "--output", str(target)),
        *("--no-reduce-outputs", "--load-inputs", str(inputs), "--iter-artifact", str(trial)),
        *("--fail-regex", "FAILED", "--check", *_POLYGRAPHY, *words[1:]),
    ]
    done = subprocess.run(command, cwd=whole.parent, capture_output=True, text=True)  # noqa: S603
    if done.returncode != 0 or not target.exists():
        raise BackendError(f"polygraphy debug reduce failed: {' '.join(done.stderr.split())[-300:]}")


def _values(side: Side, names: Sequence[str], inputs: Tensors) -> Tensors:
    """Of these names, and of the graph's inputs."""
    return {**inputs, **(side.values(names, [inputs])[0] if names else {})}


def _departs(
    engine: Engine, path: Path, inputs: Mapping[str, Array], name: str, expected: Array, limit: float
) -> bool:
    feed = {one.name: inputs[one.name] for one in onnx.load(path).graph.input}
    with polygraphy_errors(f"{path.name} on {engine.label}"), engine.runner(path, [name], {}) as run:
        found = run.infer(feed)
    return not decibels({name: expected}, found).get(name, limit) >= limit
