"""Golden frames as Polygraphy has them, and the command lines that judge a graph by them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from polygraphy.comparator import IterationResult, RunResults
from polygraphy.json import save_json

from apdepth_deploy.bundle import Graph, axis_sizes
from apdepth_deploy.bundle.golden import Golden
from apdepth_deploy.errors import BackendError
from apdepth_deploy.files import atomic_file

from .runners import Engine, Shapes, polygraphy_errors

Array = NDArray[Any]
Tensors = dict[str, Array]


class Frame(NamedTuple):
    """One run of one graph: what it takes, and what PyTorch's float32 model gives for that.

    ``scales``: the largest magnitude of each of PyTorch's results.
    """

    name: str
    inputs: Tensors
    results: Tensors
    scales: Mapping[str, float]


def frames_of(graph: Graph, golden: Sequence[Golden]) -> list[Frame]:
    """Each golden frame, and where the graph takes a batch, all in turn at once."""
    smallest, _, largest = axis_sizes(graph.batch)
    runs = [(one.name, [one] * smallest) for one in golden]
    if largest > 1:
        runs.append(("batch", [golden[n % len(golden)] for n in range(largest)]))
    return [_frame(graph, name, ones) for name, ones in runs]


def _frame(graph: Graph, name: str, golden: Sequence[Golden]) -> Frame:
    tensors: list[Tensors] = [{"image": one.image, **one.results} for one in golden]
    stacked = {key: np.stack([one[key] for one in tensors]) for key in tensors[0]}
    inputs = {tensor.name: stacked[tensor.name] for tensor in graph.inputs}
    results = {tensor.name: stacked[tensor.name] for tensor in graph.outputs}
    scales = {key: max(one.scales[key] for one in golden) for key in results}
    return Frame(name, inputs, results, scales)


def shapes_of(graph: Graph) -> Shapes:
    """Of a graph's inputs."""
    axes = {tensor.name: [axis_sizes(n) for n in tensor.shape] for tensor in graph.inputs}
    return {
        name: ([n[0] for n in sizes], [n[1] for n in sizes], [n[2] for n in sizes])
        for name, sizes in axes.items()
    }


def write_inputs(path: Path, runs: Sequence[Tensors]) -> Path:
    """For ``--load-inputs``."""
    with polygraphy_errors(f"writing {path}"), atomic_file(path) as temporary:
        save_json(list(runs), str(temporary))
    return path


def write_results(path: Path, runs: Sequence[Tensors], maker: str) -> Path:
    """For ``--load-outputs``; ``maker`` is who computed them."""
    results = RunResults()
    results.add([IterationResult(run, runner_name=maker) for run in runs], runner_name=maker)
    with polygraphy_errors(f"writing {path}"), atomic_file(path) as temporary:
        results.save(str(temporary))
    return path


def run_line(
    engine: Engine,
    graph: Path,
    inputs: Path,
    results: Path,
    criterion: Sequence[str],
    shapes: Shapes | None = None,
) -> list[str]:
    """The words of ``polygraphy run``: exit code 0 where the engine gives these results.

    Raises BackendError where a name isn't printable: Polygraphy writes them into a script.

    Args:
        criterion: ``mean_within`` or ``noise_within``; shapes: of a graph that takes a range.
    """
    ranges: list[str] = []
    if shapes and engine.words[0] == "--trt":
        for word, which in (("min", 0), ("opt", 1), ("max", 2)):
            ranges += [f"--trt-{word}-shapes"]
            ranges += [f"{name}:{list(three[which])}" for name, three in shapes.items()]
    words = [
        *("polygraphy", "run", str(graph), *engine.words, *ranges),
        *("--load-inputs", str(inputs), "--load-outputs", str(results), *criterion),
    ]
    if not "".join(words).isprintable():
        raise BackendError(f"Polygraphy would run a line break in a name as code: {words!r}")
    return words


def mean_within(limits: Mapping[str, float]) -> list[str]:
    """The mean absolute difference of each result: as `verify` has it."""
    atol = [f"{name}:{limit:.3g}" for name, limit in limits.items()]
    return ["--compare", "simple", "--check-error-stat", "mean", "--rtol", "0", "--atol", *atol]


def noise_within(decibels: float) -> list[str]:
    """The least ratio of a result's power to that of its difference."""
    return ["--compare", "snr", "--snr-threshold", f"{decibels:g}"]


def as_typed(engine: Engine, words: Sequence[str]) -> str:
    """A command line for a shell."""
    variables = [f"{name}={value}" for name, value in engine.variables.items()]
    return " ".join([*variables, shlex.join(words)])
