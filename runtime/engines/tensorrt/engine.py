"""One TensorRT plan, opened: checked against the manifest, with contexts made from it.

One code path for TensorRT 10, 11 and TensorRT for RTX; where they differ, by name. Knows nothing
about buffers and streams.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from typing import Any

from apdepth_deploy.bundle import Bundle, Engine, Graph, TensorInfo, axis_sizes
from apdepth_deploy.errors import BackendError
from apdepth_deploy.files import sha256
from apdepth_deploy.machine.tensorrt import load_tensorrt

from ..cache import cache_folder
from ..cuda import Device
from .choice import Choice, build_line
from .runtime_cache import RuntimeCache, cache_name

Shape = tuple[int, ...]
#: A manifest's types by TensorRT's names.
_DTYPES = {"UINT8": "uint8", "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
_DTYPES |= {"INT32": "int32", "INT64": "int64", "BOOL": "bool"}


class LoadedEngine:
    """A plan on the GPU.

    Attributes:
        name: the graph's; inputs, outputs: names of its tensors.
        cache: kernels compiled for this GPU, kept on disk (TensorRT for RTX), or None.
    """

    def __init__(self, bundle: Bundle, engine: Engine, choice: Choice, device: Device) -> None:
        """Raises BackendError: TensorRT refuses the plan, or it isn't what the manifest says."""
        self._trt = load_tensorrt(choice.target)
        self._log = _logger(self._trt)
        self._device = device
        self._entry = engine
        self._mend = build_line(bundle, choice.target, choice.gpu["compute_capability"])
        self.name = engine.graph
        self._engine = self._deserialize(bundle)
        graph = next(graph for graph in bundle.graphs if graph.label == engine.label)
        self.inputs = [tensor.name for tensor in graph.inputs]
        self.outputs = [tensor.name for tensor in graph.outputs]
        self._check(graph)
        self._lock = threading.Lock()
        self.cache: RuntimeCache | None = None
        self._config = self._runtime_config(bundle, choice)

    @property
    def captures_itself(self) -> bool:
        """Whether TensorRT captures CUDA graphs on its own (TensorRT for RTX)."""
        return hasattr(self._trt, "CudaGraphStrategy")

    def largest(self, name: str) -> Shape:
        """The largest shape of an input."""
        shape = self._engine.get_tensor_shape(name)
        if min(shape) < 0:
            shape = self._engine.get_tensor_profile_shape(name, 0)[2]
        return tuple(shape)

    def new_context(self, profiled: bool = False) -> Any:
        """An execution context, for one thread; ``profiled``: that can tell its layers apart.

        Raises BackendError where there is no room for it.
        """
        with self._lock, self._device.current():
            self._log.clear()
            use = () if profiled or self._config is None else (self._config,)
            context = self._engine.create_execution_context(*use)
        if context is None:
            raise self._error("gives no execution context")
        return context

    def enqueue(self, context: Any, stream: int) -> None:
        """Queue one run. Raises BackendError where TensorRT refuses."""
        self._log.clear()
        if not context.execute_async_v3(stream):
            raise self._error("failed to run")

    def set_shapes(self, context: Any, shapes: dict[str, Shape]) -> None:
        """Set the inputs' shapes, and add the outputs' to ``shapes``."""
        self._log.clear()
        for name in self.inputs:
            if not context.set_input_shape(name, shapes[name]):
                raise self._error(f"refuses {name} {list(shapes[name])}")
        for name in self.outputs:
            shapes[name] = tuple(context.get_tensor_shape(name))
            if min(shapes[name]) < 0:
                raise self._error(f"gives no shape for {name}")

    def profiler(self, times: list[tuple[str, float]]) -> Any:
        """An IProfiler that appends (layer, seconds)."""

        class Profiler(self._trt.IProfiler):  # type: ignore[name-defined]
            def __init__(self) -> None:
                super().__init__()

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.append((layer_name, ms / 1e3))

        return Profiler()

    def _deserialize(self, bundle: Bundle) -> Any:
        """Raises BackendError with what TensorRT's log says."""
        try:
            plan = bundle.path(self._entry.file).read_bytes()
        except OSError as error:
            raise BackendError(f"{self._entry.file} can't be read: {error.strerror}") from error
        with self._device.current():
            self._log.clear()
            self._runtime = self._trt.Runtime(self._log)
            engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._error("can't be loaded", self._mend)
        return engine

    def _runtime_config(self, bundle: Bundle, choice: Choice) -> Any:
        """How contexts run; for RTX: compiled for the shapes at hand, once, and captured."""
        if not self.captures_itself:
            return None
        trt, config = self._trt, self._engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        kernels = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = kernels
        file = self._entry.file
        told = bundle.manifest["files"][file]["sha256"]
        digest = told if choice.checked else sha256(bundle.path(file))
        driver = str(self._device.driver_version())
        folder = cache_folder()
        path = folder and folder / cache_name(choice.gpu, driver, choice.version, digest)
        cache = config.create_runtime_cache()
        with self._device.current():
            self.cache = RuntimeCache(cache, path)
        config.set_runtime_cache(cache)
        return config

    def _check(self, graph: Graph) -> None:
        """The engine's tensors are the graph's."""
        engine, trt = self._engine, self._trt
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        if set(names) != {*self.inputs, *self.outputs}:
            raise self._strays(f"tensors {sorted(names)}", sorted([*self.inputs, *self.outputs]))
        for tensor in (*graph.inputs, *graph.outputs):
            is_input = engine.get_tensor_mode(tensor.name) == trt.TensorIOMode.INPUT
            if is_input != (tensor.name in self.inputs):
                raise self._strays(f"{tensor.name} on the wrong side", "it on the other")
            dtype = engine.get_tensor_dtype(tensor.name).name
            if _DTYPES.get(dtype, dtype) != tensor.dtype:
                raise self._strays(f"{tensor.name} in {dtype}", tensor.dtype)
            shape = self._shape(tensor)
            if not _fits(shape, tensor.shape):
                raise self._strays(f"{tensor.name} {shape}", list(tensor.shape))
            if tensor.name == "image" and shape != self._frame():
                raise self._strays(f"frames {shape}", self._frame())

    def _shape(self, tensor: TensorInfo) -> list[Any]:
        """As a manifest says it; -1 for a range of an output, which only a run fixes."""
        shape = list(self._engine.get_tensor_shape(tensor.name))
        if tensor.name not in self.inputs or min(shape) >= 0:
            return shape
        ends = zip(*self._engine.get_tensor_profile_shape(tensor.name, 0), strict=True)
        return [_extent(axis) for axis in ends]

    def _frame(self) -> list[Any]:
        entry = self._entry
        return [_extent(axis) for axis in (entry.batch, entry.height, entry.width, 3)]

    def _strays(self, found: str, expected: object) -> BackendError:
        return BackendError(
            f"{self._entry.file} has {found} and the manifest says {expected}: {self._mend}"
        )

    def _error(self, what: str, remedy: str = "`apdepth-deploy doctor`") -> BackendError:
        """What TensorRT said about it: the first line is the cause, later ones its echo."""
        errors = list(self._log.errors)
        said = errors[0] if errors else "no reason given"
        if any("memory" in line.lower() for line in errors):
            needs = (self._entry.weights_bytes + self._entry.activation_bytes) / 1e6
            with self._device.current():
                remedy = f"it needs about {needs:.0f} MB; {self._device.memory_hint()}"
        return BackendError(f"{self._entry.file} {what} ({said}): {remedy}")


def _extent(axis: Any) -> Any:
    """A size, or [min, opt, max] where they differ."""
    sizes = [axis] if isinstance(axis, int) else [int(n) for n in axis]
    return sizes[0] if sizes[0] == sizes[-1] else sizes


def _fits(found: list[Any], expected: tuple[Any, ...]) -> bool:
    """Whether every axis is the manifest's, or within its range."""
    if len(found) != len(expected):
        return False
    for here, there in zip(found, expected, strict=True):
        low, _, high = axis_sizes(there)
        smallest, _, largest = axis_sizes(here)
        free = here == -1 and low < high
        if not free and not (low <= smallest and largest <= high):
            return False
    return True


@functools.lru_cache
def _logger(trt: Any) -> Any:
    """TensorRT's log, kept instead of printed: the calling thread's errors since ``clear``.

    One for each TensorRT, which keeps the first it is given.
    """
    kept = threading.local()

    class Log(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()

        @property
        def errors(self) -> deque[str]:
            if not hasattr(kept, "errors"):
                kept.errors = deque(maxlen=8)
            errors: deque[str] = kept.errors
            return errors

        def clear(self) -> None:
            self.errors.clear()

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split())[:200])

    return Log()
