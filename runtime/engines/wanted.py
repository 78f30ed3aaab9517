"""What a caller of ``load`` asked for, and the graphs of a bundle that answer it."""

from __future__ import annotations

import dataclasses
import importlib.util

from apdepth_deploy.bundle import KINDS, Bundle, Graph
from apdepth_deploy.bundle.onnx_file import check_weights
from apdepth_deploy.errors import BackendError

#: Which precision each kind of device runs best, best first.
PREFERRED = {"cpu": ("fp32", "fp16"), "cuda": ("fp16", "bf16", "fp32")}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """See ``load``; None = whatever suits."""

    precision: str | None = None
    graph: str | None = None
    device: str = "auto"
    threads: int | None = None
    hint: str = "latency"
    checkpoint: str | None = None
    check_hashes: bool = True

    @property
    def ordinal(self) -> int:
        """Which GPU: "auto", "cuda" -> 0, "cuda:1" -> 1."""
        return int(self.device.partition(":")[2] or 0)


def wanted_graphs(
    bundle: Bundle, engine: str, runs: tuple[str, ...], wanted: Wanted
) -> tuple[str, str, tuple[Graph, ...]]:
    """(kind, precision, graphs) to run: the engine's favourite, fused before staged.

    Args:
        engine: what runs it and where, for messages; runs: its precisions, best first.

    Raises BackendError where the bundle has none, BundleError where files aren't the manifest's.
    """
    kind, precision = _choose(bundle.chains, engine, runs, wanted)
    graphs = bundle.chain_graphs(kind, precision)
    for graph in graphs if wanted.check_hashes else ():
        bundle.check_hash(graph.file)
        bundle.check_hash(graph.data)
    for graph in graphs:
        check_weights(bundle.path(graph.file), bundle.path(graph.data))
    return kind, precision, graphs


def _choose(
    chains: list[tuple[str, str]], engine: str, runs: tuple[str, ...], wanted: Wanted
) -> tuple[str, str]:
    precision = wanted.precision
    precisions = runs if precision is None else (precision,)
    kinds = KINDS if wanted.graph is None else (wanted.graph,)
    for choice in precisions:
        for kind in kinds:
            if (kind, choice) in chains and choice in runs:
                return kind, choice
    there = ", ".join(f"{kind} {p}" for kind, p in chains) or "no graphs"
    if precision is not None and precision not in runs:
        raise BackendError(f"{engine} runs {', '.join(runs)}, not {precision}")
    raise BackendError(
        f"the bundle has {there}; {engine} needs {' or '.join(precisions)}"
        + ("" if wanted.graph is None else f" {wanted.graph}")
        + f": export with --precision {precisions[0]}"
        + ("" if wanted.graph is None else f" --graph {wanted.graph}")
    )


def is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def require(module: str) -> None:
    """Raises BackendError, with what installs it, where a module is missing."""
    if not is_installed(module):
        extra = "export" if module == "torch" else module
        raise BackendError(f"{module} is not installed: pip install 'apdepth-deploy[{extra}]'")


def place_of(backend: str, wanted: Wanted, has_cuda: bool, remedy: str) -> tuple[str, str]:
    """(device, why) for a backend that runs on the CPU or on CUDA.

    ``remedy``: what to install where CUDA was asked for and isn't there.
    """
    if wanted.device.startswith("cuda") and not has_cuda:
        raise BackendError(
            f"{backend} finds no CUDA device here: use --device cpu, or install {remedy}"
        )
    if wanted.device == "auto":
        return ("cuda", "CUDA is there") if has_cuda else ("cpu", "no CUDA here")
    return "cuda" if wanted.device == "cuda:0" else wanted.device, "as asked"
