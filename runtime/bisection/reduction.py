"""The smallest graph that still departs: with its inputs, and what it should give."""

from __future__ import annotations

import os
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

#: The tool, with this Python's packages; the graph that it tries, in the folder where it runs.
POLYGRAPHY = (sys.executable, "-c", "import sys; from polygraphy.tools import main; main()")
TRIAL = "trial.onnx"


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
    same_graph = subject.layers is reference.layers
    given = reference if same_graph else subject
    name, feed = found.value, found.frame.inputs
    expected = reference.values([found.counterpart], [feed])[0][found.counterpart]
    right = _values(given, list(found.before), feed)
    path, inputs = folder / "reduced.onnx", folder / "reduced.inputs.json"
    with atomic_file(path) as temporary:
        shown = given.values([name], [feed])[0][name]
        onnx.save(subject.layers.part(right, name, shown), temporary)
    results = write_results(folder / "reduced.results.json", [{name: expected}], reference.label)
    criterion = noise_within(found.limit)
    departs = _departs(subject.engine, path, right, name, expected, found.limit)
    if not departs and same_graph:
        right = _values(reference, subject.layers.upstream(name), feed)
        write_inputs(inputs, [right])
        trial = run_line(
            subject.engine, Path(TRIAL), inputs.absolute(), results.absolute(), criterion
        )
        whole = subject.layers.part(feed, name, expected)
        debug_reduce(whole, inputs, [*POLYGRAPHY, *trial[1:]], path, subject.engine.variables)
        departs = _departs(subject.engine, path, right, name, expected, found.limit)
    if not departs:
        raise BackendError(f"{name} departs in the whole graph only: nothing could be reduced")
    graph = onnx.load(path).graph
    write_inputs(inputs, [{one.name: right[one.name] for one in graph.input}])
    line = run_line(subject.engine, path, inputs, results, criterion)
    return Reduced(path, len(graph.node), line)


def debug_reduce(
    whole: onnx.ModelProto,
    inputs: Path,
    check: Sequence[str],
    target: Path,
    variables: Mapping[str, str],
) -> None:
    """``polygraphy debug reduce``: the latest inputs from which a graph's output still departs.

    Args:
        inputs: every value that may become an input, for ``--load-inputs``.
        check: a command that judges ``trial.onnx``, in the folder that it is run in, and where
            that departs prints "Pass Rate: 0.00%", as ``polygraphy run`` does.
        target: where the smallest graph goes; variables: added to the environment.

    Raises BackendError where the tool fails.
    """
    with tempfile.TemporaryDirectory(prefix="apdepth-") as folder:
        path = Path(folder) / "whole.onnx"
        onnx.save(whole, path, save_as_external_data=True, location="whole.data")
        command = [
            *(*POLYGRAPHY, "debug", "reduce", str(path), "--output", str(target.absolute())),
            *("--no-reduce-outputs", "--load-inputs", str(inputs.absolute())),
            *("--iter-artifact", str(path.with_name(TRIAL))),
            *("--fail-regex", r"Pass Rate: 0\.00%", "--check", *check),
        ]
        env = {**os.environ, **variables}
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, capture_output=True, text=True, env=env
        )
    if done.returncode != 0 or not target.exists():
        words = " ".join((done.stderr or done.stdout).split())[-300:]
        raise BackendError(f"polygraphy debug reduce failed: {words}")


def _values(side: Side, names: Sequence[str], inputs: Tensors) -> Tensors:
    """Of these names, and of the graph's inputs."""
    return {**inputs, **(side.values(names, [inputs])[0] if names else {})}


def _departs(
    engine: Engine,
    path: Path,
    inputs: Mapping[str, Array],
    name: str,
    expected: Array,
    limit: float,
) -> bool:
    feed = {one.name: inputs[one.name] for one in onnx.load(path).graph.input}
    with (
        polygraphy_errors(f"{path.name} on {engine.label}"),
        engine.runner(path, [name], {}) as run,
    ):
        found = run.infer(feed)
    return not decibels({name: expected}, found).get(name, limit) >= limit
