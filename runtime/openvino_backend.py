"""OpenVINO on the CPU: float32, or bfloat16 where the processor multiplies it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from apdepth_deploy.bundle import Bundle, Graph
from apdepth_deploy.errors import BackendError, BundleError
from apdepth_deploy.image import ImageArray

from .chain import Chain, Finished, FloatArray, one_line, run_all
from .tensorrt.runtime_cache import cache_folder


def has_bf16() -> bool:
    """Whether this processor has bfloat16 instructions that OpenVINO uses."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OvChain(Chain):
    """The graphs of one chain, compiled for this CPU and run one after the other."""

    backend = "openvino"
    device = "cpu"

    def __init__(
        self,
        bundle: Bundle,
        graphs: tuple[Graph, ...],
        arithmetic: str,
        threads: int | None = None,
        hint: str = "latency",
    ) -> None:
        """
        Args:
            arithmetic: "fp32" or "bf16": what is computed in, whatever the graphs' weights are.
            threads: CPU threads; None = one for each core.
            hint: "latency" or "throughput": whether one frame has all threads, or several share.

        Raises BundleError: a damaged graph.
        """
        self.batch, self.height, self.width = graphs[0].batch, graphs[0].height, graphs[0].width
        self.graphs = tuple(graph.name for graph in graphs)
        # Left alone, OpenVINO computes in bfloat16 wherever the processor can.
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": hint.upper(),
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[arithmetic],
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        folder = cache_folder()
        if folder is not None:
            # Each its own: OpenVINO 2026.4.1 takes what was compiled for float32 for bfloat16, too,
            # and gives nonsense then on processors with AMX.
            settings["CACHE_DIR"] = str(folder / "openvino" / arithmetic)
        self._bundle, self._graphs, self._settings = bundle, graphs, settings
        self._compiled = [_Compiled(bundle, graph, settings) for graph in graphs]

    def run(self, frames: ImageArray, finished: Finished | None = None) -> dict[str, FloatArray]:
        """See ``Chain.run``. Safe to call from several threads."""
        return run_all(self._compiled, frames, finished)

    def layer_seconds(self, frames: ImageArray, runs: int) -> list[tuple[str, float]]:
        """See ``Chain.layer_seconds``: layers are nodes after OpenVINO's fusions, named
        "Type: graph/node"."""
        settings = {**self._settings, "PERF_COUNT": True}
        compiled = [_Compiled(self._bundle, graph, settings) for graph in self._graphs]
        totals: dict[str, float] = {}
        for run in range(runs + 1):
            run_all(compiled, frames)
            if run:  # the first one warms up
                for layer, seconds in (one for graph in compiled for one in graph.node_seconds()):
                    totals[layer] = totals.get(layer, 0.0) + seconds
        return [(layer, total / runs) for layer, total in totals.items()]


class _Compiled:
    """One graph. Its requests, with their buffers, are kept and lent to one thread at a time."""

    def __init__(self, bundle: Bundle, graph: Graph, settings: dict[str, Any]) -> None:
        import openvino

        self.name = graph.name
        self._inputs = [tensor.name for tensor in graph.inputs]
        self._outputs = [tensor.name for tensor in graph.outputs]
        path = bundle.path(graph.file)
        try:
            self._model = openvino.Core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            raise BundleError(f"{graph.file}: OpenVINO can't load it: {one_line(error)}") from error
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
            except RuntimeError as error:
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
