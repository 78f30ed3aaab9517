"""One ONNX graph -> one TensorRT plan: one code path for TensorRT 10, 11 and TensorRT for RTX.

Graphs are strongly typed, so nothing here chooses a precision. What differs between the TensorRTs
is asked of the module by name.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from apdepth_deploy.bundle import Graph, axis_sizes
from apdepth_deploy.errors import ExportError
from apdepth_deploy.machine.gpus import sm

#: Called with a line on what the builder is doing, many times a second.
Detail = Callable[[str], None]

_MEMORY = {
    "weights_bytes": re.compile(r"Total Weights Memory: (\d+) bytes"),
    "activation_bytes": re.compile(r"Total Activation Memory: (\d+) bytes"),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A serialized engine, and what its builder said of it.

    ``data`` supports the buffer protocol; ``layers`` counts the parsed network's.
    """

    data: Any
    weights_bytes: int
    activation_bytes: int
    layers: int
    seconds: float


def build_plan(
    trt: Any,
    path: Path,
    graph: Graph,
    capabilities: Sequence[str],
    workspace: int | None = None,
    detail: Detail = lambda line: None,
) -> Plan:
    """Build a plan from the graph at ``path``.

    Args:
        trt: the module, ``tensorrt`` or ``tensorrt_rtx``.
        capabilities: compute capabilities to build for, TensorRT for RTX only; none = the GPU here.
        workspace: bytes of scratch memory that a layer may take; None = TensorRT's default.

    Raises ExportError with TensorRT's own reason where the graph can't be parsed or built.
    """
    start = time.monotonic()
    log = _make_log(trt)
    builder = trt.Builder(log)
    if builder is None:
        raise ExportError(f"TensorRT could not start: {log.reason()}")
    network = builder.create_network(_creation_flags(trt))
    _parse(trt, network, log, path)
    config = builder.create_builder_config()
    monitor = _make_monitor(trt, log, detail)  # the builder doesn't keep it alive
    config.progress_monitor = monitor
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    _set_capabilities(trt, config, capabilities)
    _add_profile(builder, network, config, graph)
    data = builder.build_serialized_network(network, config)
    if log.failure is not None:
        raise log.failure
    if data is None:
        raise ExportError(f"TensorRT can't build {graph.label}: {log.reason()}")
    return Plan(data, **log.memory, layers=network.num_layers, seconds=time.monotonic() - start)


def _creation_flags(trt: Any) -> int:
    """Strong typing is a flag in TensorRT 10 and the only way later."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(trt: Any, network: Any, log: Any, path: Path) -> None:
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse_from_file(str(path))
    if log.failure is not None:
        raise log.failure
    if not parsed:
        errors = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        reason = _one_line(errors[0]) if errors else log.reason()
        raise ExportError(f"TensorRT can't read {path.name}: {reason}")
    _allow_decomposing(trt, network)


def _allow_decomposing(trt: Any, network: Any) -> None:
    """Let opset 23's Attention be several kernels: no fused one takes the VAE's head of 512."""
    kind = getattr(trt.LayerType, "ATTENTION_INPUT", None)
    for number in range(network.num_layers if kind is not None else 0):
        layer = network.get_layer(number)
        if layer.type == kind:
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True


def _set_capabilities(trt: Any, config: Any, capabilities: Sequence[str]) -> None:
    """A capability without a name in TensorRT for RTX can only be that of the GPU here."""
    if not capabilities:
        return
    known = trt.ComputeCapability
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(known, sm(capability).upper(), known.CURRENT), number)


def _add_profile(builder: Any, network: Any, config: Any, graph: Graph) -> None:
    """One optimisation profile where the graph takes a range of sizes."""
    if all(isinstance(n, int) for tensor in graph.inputs for n in tensor.shape):
        return
    profile = builder.create_optimization_profile()
    for tensor in graph.inputs:
        profile.set_shape(tensor.name, *zip(*map(axis_sizes, tensor.shape), strict=True))
    config.add_optimization_profile(profile)


def _make_log(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps the errors and the memory figures; prints nothing.

        An exception must not cross the builder's C++: it is kept as ``failure``.
        """

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.memory = dict.fromkeys(_MEMORY, 0)
            self.failure: BaseException | None = None

        def log(self, severity: Any, message: str) -> None:
            try:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.errors.append(_one_line(message))
                elif severity == trt.ILogger.INFO:
                    self._read_memory(message)
            except BaseException as error:  # noqa: BLE001 - a Ctrl-C, too, lands here
                self.failure = self.failure or error

        def _read_memory(self, message: str) -> None:
            for name, pattern in _MEMORY.items():
                if found := pattern.search(message):
                    self.memory[name] = max(self.memory[name], int(found[1]))

        def reason(self) -> str:
            """The first error that is not about the missing driver of a machine without a GPU."""
            telling = [line for line in self.errors if "catchCudaError" not in line]
            return (telling or self.errors or ["no reason given"])[0][:400]

    return Log()


def _make_monitor(trt: Any, log: Any, detail: Detail) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Tells how far the innermost phase is; an exception stops the build and is kept."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._steps[name] = steps

        def step_complete(self, name: str, step: int) -> bool:
            try:
                detail(f"{name}, {step + 1} of {self._steps.get(name, 0)}")
            except BaseException as error:  # noqa: BLE001 - kept, and raised after the build
                log.failure = log.failure or error
            return log.failure is None

        def phase_finish(self, name: str) -> None:
            self._steps.pop(name, None)

    return Monitor()


def _one_line(message: str) -> str:
    return " ".join(message.split())
