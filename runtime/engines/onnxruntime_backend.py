"""ONNX Runtime, on the CPU or on an NVIDIA GPU."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from apdepth_deploy.bundle import Bundle, Graph
from apdepth_deploy.errors import BackendError, BundleError, UsageError
from apdepth_deploy.machine.devices import (
    cpu_model,
    driver_version,
    missing_cuda_libraries,
    nvidia_gpus,
)
from apdepth_deploy.machine.telemetry import import_onnxruntime
from apdepth_deploy.pictures.image import ImageArray

from .chain import Chain, Finished, FloatArray, check_tensors, one_line, run_all, run_one
from .verdicts import Place
from .wanted import PREFERRED, Wanted, place_of, require, wanted_graphs

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


def open_onnxruntime(bundle: Bundle, wanted: Wanted) -> Chain:
    """On CUDA where it is. Raises BackendError, BundleError, UsageError."""
    if wanted.hint != "latency":
        raise UsageError("onnxruntime has no throughput hint: use --backend openvino")
    require("onnxruntime")
    place, why = place_of("onnxruntime", wanted, has_cuda(), "'apdepth-deploy[gpu]'")
    if wanted.ordinal > 0:
        raise UsageError(
            f"onnxruntime runs on the first GPU, not on {wanted.device}: use --device cuda and set "
            f"CUDA_VISIBLE_DEVICES={wanted.ordinal}"
        )
    engine = f"ONNX Runtime on {place}"
    kind, precision, graphs = wanted_graphs(bundle, engine, PREFERRED[place], wanted)
    chain = OrtChain(bundle, graphs, place, threads=wanted.threads)
    chain.reason = f"onnxruntime on {place}, {precision}, {kind} graph: {why}"
    return chain


def open_chain(bundle: Bundle, kind: str, precision: str, *, probe: bool = False) -> Chain:
    """One chain on ONNX Runtime's CPU; ``probe`` also gives the stages inside a fused graph."""
    require("onnxruntime")
    return OrtChain(bundle, bundle.chain_graphs(kind, precision), "cpu", probe=probe)


def has_cuda() -> bool:
    """Whether this ONNX Runtime has CUDA, and this machine a GPU for it."""
    built = _CUDA in import_onnxruntime().get_available_providers()
    return built and bool(nvidia_gpus())


def takes_path(path: Path) -> bool:
    """Whether ONNX Runtime can open a path: only if it is UTF-8."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


class OrtChain(Chain):
    """The graphs of one precision as ONNX Runtime sessions, run one after the other."""

    backend = "onnxruntime"

    def __init__(
        self,
        bundle: Bundle,
        graphs: tuple[Graph, ...],
        device: str = "cpu",
        *,
        threads: int | None = None,
        probe: bool = False,
    ) -> None:
        """
        Args:
            device: "cpu" or "cuda".
            threads: CPU threads; None = one for each core.
            probe: give every stage's result, also those inside a fused graph.

        Raises:
            BundleError: a damaged graph. BackendError: the device or the precision can't run here.
        """
        if not takes_path(bundle.folder):
            raise BackendError(
                f"{bundle.folder}: ONNX Runtime takes no path that isn't UTF-8: move the bundle, "
                "or use --backend openvino"
            )
        self.device, self.precision = device, graphs[0].precision
        self.batch, self.height, self.width = graphs[0].batch, graphs[0].height, graphs[0].width
        self.graphs = tuple(graph.name for graph in graphs)
        self.files = tuple(file for graph in graphs for file in (graph.file, graph.data))
        self._bundle, self._graphs, self._threads = bundle, graphs, threads
        self._sessions = [_Session(bundle, graph, device, threads, probe) for graph in graphs]

    def run(self, frames: ImageArray, finished: Finished | None = None) -> dict[str, FloatArray]:
        """See ``Chain.run``. Safe to call from several threads."""
        return run_all(self._sessions, frames, finished)

    def run_graph(self, name: str, tensors: Mapping[str, Any]) -> dict[str, FloatArray]:
        """See ``Chain.run_graph``."""
        return run_one(self._sessions, name, tensors)

    def place(self) -> Place:
        """See ``Chain.place``."""
        library = import_onnxruntime().__version__
        if self.device == "cpu":
            return Place(cpu_model(), "", library)
        return Place(nvidia_gpus()[0]["name"], driver_version(), library)

    def layer_seconds(self, frames: ImageArray, runs: int) -> list[tuple[str, float]] | None:
        """See ``Chain.layer_seconds``: layers are nodes after ONNX Runtime's fusions, named
        "Type: graph/node". None on CUDA, where only the time to launch a node would be known."""
        if self.device != "cpu":
            return None
        with tempfile.TemporaryDirectory(prefix="apdepth-") as folder:
            sessions = [
                _Session(
                    self._bundle,
                    graph,
                    self.device,
                    self._threads,
                    trace=Path(folder) / graph.name,
                )
                for graph in self._graphs
            ]
            for _ in range(runs + 1):
                run_all(sessions, frames)
            traces = [(session.name, session.end_trace()) for session in sessions]
        return [layer for name, events in traces for layer in node_seconds(events, name, runs)]


def node_seconds(events: list[dict[str, Any]], graph: str, runs: int) -> list[tuple[str, float]]:
    """(layer, mean seconds) of the last ``runs`` runs of an ONNX Runtime trace, in order."""
    starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    totals: dict[tuple[str, str], float] = {}
    for event in sorted(nodes, key=lambda event: float(event["ts"])):
        if event["ts"] < starts[-runs]:
            continue
        arguments, name = event["args"], event["name"].removesuffix("_kernel_time")
        key = (arguments["node_index"], f"{arguments['op_name']}: {graph}/{name}")
        totals[key] = totals.get(key, 0.0) + event["dur"] / 1e6
    return [(layer, total / runs) for (_, layer), total in totals.items()]


class _Session:
    """One graph."""

    def __init__(
        self,
        bundle: Bundle,
        graph: Graph,
        device: str,
        threads: int | None,
        probe: bool = False,
        trace: Path | None = None,
    ) -> None:
        """``trace``: where a record of every node's run goes, until ``end_trace``."""
        ort = import_onnxruntime()
        self.name = graph.name
        self.inputs = [tensor.name for tensor in graph.inputs]
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what fails is raised, and said by us
        options.intra_op_num_threads = threads or 0  # 0 = its own choice
        # One block planned ahead for all maps is no faster, and at full size 2.3 GB larger.
        options.enable_mem_pattern = device != "cpu"
        # Threads that spin on after a run starve the next session and the caller's own work.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if trace is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(trace)
        model: Any = str(bundle.path(graph.file))
        if probe:
            from .onnx_edit import probed

            model = probed(bundle.path(graph.file), emulate_bf16=device == "cpu")
            _save_memory(options, bundle.path(graph.file).parent)
        providers = [_CUDA, _CPU] if device == "cuda" else [_CPU]
        missing = missing_cuda_libraries(ort) if device == "cuda" else []
        try:
            # On a CPU there is nothing to fall back to, and what it says of that goes to stdout.
            self._session = ort.InferenceSession(
                model, options, providers=providers, enable_fallback=device == "cuda"
            )
        except Exception as error:  # ONNX Runtime's errors share no public base class
            raise BundleError(
                f"{graph.file}: ONNX Runtime can't load it: {one_line(error)}"
            ) from error
        if device == "cuda" and self._session.get_providers()[0] != _CUDA:
            raise BackendError(
                "ONNX Runtime could not start CUDA and would have used the CPU"
                + (f", for it lacks {', '.join(missing)}" if missing else "")
                + ": see `apdepth-deploy doctor`, or pass --device cpu"
            )
        self.outputs = [tensor.name for tensor in self._session.get_outputs()]
        check_tensors(
            graph, _declared(self._session.get_inputs()), _declared(self._session.get_outputs())
        )

    def run(self, tensors: dict[str, Any]) -> dict[str, FloatArray]:
        feeds = {name: tensors[name] for name in self.inputs}
        try:
            values = self._session.run(self.outputs, feeds)
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime failed on {self.inputs}: {one_line(error)}"
            ) from error
        return {name: np.asarray(v) for name, v in zip(self.outputs, values, strict=True)}

    def end_trace(self) -> list[dict[str, Any]]:
        """What was recorded, in the Chrome trace format."""
        text = Path(self._session.end_profiling()).read_text(encoding="utf-8")
        events: list[dict[str, Any]] = json.loads(text)
        return events


def _declared(tensors: list[Any]) -> dict[str, tuple[str, list[int | None]]]:
    """See ``chain.Declared``; a type that has no place in our graphs keeps its ONNX name."""
    names = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    return {
        tensor.name: (
            names.get(tensor.type, tensor.type),
            [n if isinstance(n, int) else None for n in tensor.shape],
        )
        for tensor in tensors
    }


def _save_memory(options: Any, weights_folder: Path) -> None:
    """A probe runs once or twice, right after PyTorch: 7 GB at full size instead of 11."""
    key = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(key, str(weights_folder))
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
