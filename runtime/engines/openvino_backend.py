"""OpenVINO on the CPU: float32, or bfloat16 where the processor multiplies it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from apdepth_deploy.bundle import Bundle, Graph, TensorInfo, version
from apdepth_deploy.errors import ApDepthError, BackendError, BundleError, UsageError
from apdepth_deploy.machine.devices import cpu_model
from apdepth_deploy.pictures.image import ImageArray

from .chain import (
    Chain,
    Declared,
    Finished,
    FloatArray,
    check_tensors,
    one_line,
    run_all,
    run_one,
)
from .onnxruntime_backend import OrtChain
from .openvino_compile import Job, compiled, core, openvino_folder
from .relay import PATIENCE, Relay, can_relay
from .verdicts import Place
from .wanted import PREFERRED, Wanted, require, wanted_graphs


def has_bf16() -> bool:
    """Whether this processor has bfloat16 instructions that OpenVINO uses."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def settings_for(arithmetic: str, threads: int | None, hint: str) -> dict[str, Any]:
    """OpenVINO's settings; ``arithmetic`` is "fp32" or "bf16", whatever the graphs' weights are.

    Left alone, OpenVINO computes in bfloat16 wherever the processor can.
    """
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": hint.upper(),
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[arithmetic],
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings


def open_openvino(bundle: Bundle, wanted: Wanted) -> Chain:
    """On the CPU. Raises BackendError, BundleError, UsageError."""
    plan = _plan(bundle, wanted, "as asked")
    return OvChain(plan.graphs, plan.jobs, plan.reason, openvino_folder())


def open_openvino_relayed(bundle: Bundle, wanted: Wanted) -> Chain:
    """The same, after some frames on ONNX Runtime where that starts sooner and computes alike."""
    plan = _plan(bundle, wanted, "the faster one on a CPU")
    alike = (plan.precision, plan.arithmetic, wanted.hint) == ("fp32", "fp32", "latency")
    if not (alike and can_relay(bundle, plan.graphs)):
        return OvChain(plan.graphs, plan.jobs, plan.reason, openvino_folder())
    first = OrtChain(bundle, plan.graphs, "cpu", threads=wanted.threads)
    first.reason = (
        f"onnxruntime on cpu, fp32, {plan.kind} graph: the faster start; openvino takes over "
        f"after some {PATIENCE} frames"
    )
    return Relay(first, plan.jobs, functools.partial(OvChain, plan.graphs, plan.jobs, plan.reason))


class _Plan(NamedTuple):
    """``precision``: the graphs'; ``arithmetic``: what they are computed in."""

    kind: str
    precision: str
    arithmetic: str
    graphs: tuple[Graph, ...]
    jobs: tuple[Job, ...]
    reason: str


def _plan(bundle: Bundle, wanted: Wanted, why: str) -> _Plan:
    """bfloat16 only where it is asked for: it is no graph's precision but the processor's."""
    if wanted.device not in ("auto", "cpu"):
        raise UsageError(f"openvino runs on the CPU, not on {wanted.device}")
    require("openvino")
    arithmetic = "bf16" if wanted.precision == "bf16" else "fp32"
    if arithmetic == "bf16":
        if not has_bf16():
            raise BackendError("this processor has no bfloat16: use --precision fp32")
        wanted = dataclasses.replace(wanted, precision=None)
    engine = "OpenVINO on cpu"
    kind, precision, graphs = wanted_graphs(bundle, engine, PREFERRED["cpu"], wanted)
    settings = settings_for(arithmetic, wanted.threads, wanted.hint)
    jobs = tuple(Job.of(bundle, graph, settings, wanted.check_hashes) for graph in graphs)
    reason = f"openvino on cpu, {precision} {kind} graph computed in {arithmetic}: {why}"
    return _Plan(kind, precision, arithmetic, graphs, jobs, reason)


class OvChain(Chain):
    """The graphs of one chain, compiled for this CPU and run one after the other."""

    backend = "openvino"
    device = "cpu"

    def __init__(
        self,
        graphs: tuple[Graph, ...],
        jobs: tuple[Job, ...],
        reason: str,
        kept_in: Path | None,
    ) -> None:
        """
        Args:
            jobs: how to compile each of ``graphs``.
            kept_in: the folder of what was compiled earlier; without one ``warnings`` say why.

        Raises BundleError: a damaged graph.
        """
        self.batch, self.height, self.width = graphs[0].batch, graphs[0].height, graphs[0].width
        self.graphs = tuple(graph.name for graph in graphs)
        self.files = tuple(file for graph in graphs for file in (graph.file, graph.data))
        self._steps = list(zip(graphs, jobs, strict=True))
        self._compiled = [_Compiled(graph, job, kept_in) for graph, job in self._steps]
        computes_bf16 = jobs[0].settings["INFERENCE_PRECISION_HINT"] == "bf16"
        self.precision = "bf16" if computes_bf16 else graphs[0].precision
        faster = "; bf16 would be faster here" if not computes_bf16 and has_bf16() else ""
        self.reason = reason + faster
        self.warnings = tuple(
            f"OpenVINO compiles again at every start, for nothing can be kept: {trouble}"
            for trouble in dict.fromkeys(one.trouble for one in self._compiled if one.trouble)
        )

    def run(self, frames: ImageArray, finished: Finished | None = None) -> dict[str, FloatArray]:
        """See ``Chain.run``. Safe to call from several threads."""
        return run_all(self._compiled, frames, finished)

    def run_graph(self, name: str, tensors: Mapping[str, Any]) -> dict[str, FloatArray]:
        """See ``Chain.run_graph``."""
        return run_one(self._compiled, name, tensors)

    def place(self) -> Place:
        """See ``Chain.place``."""
        return Place(cpu_model(), "", version("openvino") or "")

    def layer_seconds(self, frames: ImageArray, runs: int) -> list[tuple[str, float]]:
        """See ``Chain.layer_seconds``: layers are nodes after OpenVINO's fusions, named
        "Type: graph/node"."""
        counted = [_Compiled(graph, _with_counters(job), None) for graph, job in self._steps]
        totals: dict[str, float] = {}
        for run in range(runs + 1):
            run_all(counted, frames)
            if run:  # the first one warms up
                for layer, seconds in (one for graph in counted for one in graph.node_seconds()):
                    totals[layer] = totals.get(layer, 0.0) + seconds
        return [(layer, total / runs) for layer, total in totals.items()]


def _with_counters(job: Job) -> Job:
    return dataclasses.replace(job, settings={**job.settings, "PERF_COUNT": True})


class _Compiled:
    """One graph. Its requests, with their buffers, are kept and lent to one thread at a time.

    ``trouble``: why what was compiled isn't kept, or "".
    """

    def __init__(self, graph: Graph, job: Job, kept_in: Path | None) -> None:
        self.name = graph.name
        self._inputs = [tensor.name for tensor in graph.inputs]
        self._outputs = [tensor.name for tensor in graph.outputs]
        try:
            self._model, self.trouble = compiled(job, kept_in)
        except ApDepthError:
            raise
        except Exception as error:  # of a damaged graph it says many things in many types
            raise BundleError(f"{graph.file}: OpenVINO can't load it: {one_line(error)}") from error
        inputs = _declared(self._model.inputs, graph.inputs)
        check_tensors(graph, inputs, _declared(self._model.outputs, graph.outputs))
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _request(self) -> Iterator[Any]:
        with self._lock:
            request = self._idle.pop() if self._idle else self._model.create_infer_request()
        yield request  # one that failed is not used again
        with self._lock:
            self._idle.append(request)

    def run(self, tensors: dict[str, Any]) -> dict[str, FloatArray]:
        feeds = {name: tensors[name] for name in self._inputs}
        with self._request() as request:
            try:
                results = request.infer(feeds, share_inputs=True)
            except Exception as error:
                raise BackendError(
                    f"OpenVINO failed on {self._inputs}: {one_line(error)}"
                ) from error
            return {name: results[name].copy() for name in self._outputs}

    def node_seconds(self) -> list[tuple[str, float]]:
        """(layer, seconds) of the last run, in order: where its settings have PERF_COUNT."""
        with self._request() as request:
            return [
                (f"{node.node_type}: {self.name}/{node.node_name}", node.real_time.total_seconds())
                for node in request.profiling_info
                if str(node.status) == "Status.EXECUTED"
            ]


def _declared(ports: list[Any], tensors: tuple[TensorInfo, ...]) -> Declared:
    """What OpenVINO reads in a graph. A port that stands for several tensors goes by the manifest's
    name: where a cast falls away, both its ends are one."""
    names, known = {"f32": "float32", "u8": "uint8"}, {tensor.name for tensor in tensors}
    return {
        min(port.names & known or port.names): (
            names.get(port.element_type.get_type_name(), port.element_type.get_type_name()),
            [n.get_length() if n.is_static else None for n in port.partial_shape],
        )
        for port in ports
    }
