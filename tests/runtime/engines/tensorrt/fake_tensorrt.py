"""TensorRT on ``fake_driver.py``'s memory: its plans are ONNX graphs. ``conftest.py`` says more."""

# ruff: noqa: N802 - the names are TensorRT's
from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import onnxruntime
import tensorrt_rtx as real_trt


class FakeTensorRT:
    """The real tensorrt_rtx with another Runtime; without RTX's own names it is the standard one.

    ``_contexts`` has every context ever made; ``_kernels`` is what compiled kernels begin with.
    """

    __version__ = real_trt.__version__

    def __init__(self, driver: Any, rtx: bool = True) -> None:
        self._driver = driver
        self._rtx = rtx
        self._contexts: list[FakeContext] = []
        self._asked = 0  # how often for a context
        self._kernels = b"for this GPU:"
        self._fails: dict[str, str] = {}  # step -> what the log then says, or ""

    def __getattr__(self, name: str) -> Any:
        only_rtx = ("CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy")
        if not self._rtx and name in only_rtx:
            raise AttributeError(name)
        return getattr(real_trt, name)

    def Runtime(self, log: Any) -> FakeRuntime:
        return FakeRuntime(self, log)

    def _fail(self, log: Any, step: str) -> bool:
        if self._fails.get(step):
            log.log(real_trt.ILogger.Severity.WARNING, "nothing to do with it")
            log.log(real_trt.ILogger.Severity.ERROR, self._fails[step])
            log.log(real_trt.ILogger.Severity.ERROR, "an echo of it")
        return step in self._fails


class FakeRuntime:
    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        self._trt, self._log = trt, log

    def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
        return None if self._trt._fail(self._log, "load") else FakeEngine(self, json.loads(plan))


class FakeEngine:
    def __init__(self, runtime: FakeRuntime, plan: Any) -> None:
        self._trt, self._log = runtime._trt, runtime._log
        session = onnxruntime.InferenceSession(plan["onnx"])
        self._session, self._ranges = session, plan["ranges"]
        self._inputs = {value.name: value for value in session.get_inputs()}
        self._all = {**self._inputs, **{value.name: value for value in session.get_outputs()}}
        self._renamed = plan.get("renamed", {})

    @property
    def num_io_tensors(self) -> int:
        return len(self._all)

    def get_tensor_name(self, index: int) -> str:
        name = list(self._all)[index]
        return str(self._renamed.get(name, name))

    def get_tensor_mode(self, name: str) -> Any:
        modes = real_trt.TensorIOMode
        return modes.INPUT if name in self._inputs else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        names = {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT"}
        return getattr(real_trt.DataType, names[self._all[name].type])

    def get_tensor_shape(self, name: str) -> Any:
        shape = [axis if isinstance(axis, int) else -1 for axis in self._all[name].shape]
        return real_trt.Dims(shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Any:
        return [real_trt.Dims(shape) for shape in self._ranges[name]]

    def create_runtime_config(self) -> FakeRuntimeConfig:
        return FakeRuntimeConfig(self._trt)

    def create_execution_context(self, runtime_config: Any = None) -> FakeContext | None:
        self._trt._asked += 1
        if self._trt._fail(self._log, "context"):
            return None
        context = FakeContext(self, runtime_config)
        self._trt._contexts.append(context)
        return context


class FakeRuntimeConfig:
    cuda_graph_strategy: Any = None
    dynamic_shapes_kernel_specialization_strategy: Any = None

    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self._cache: Any = None

    def create_runtime_cache(self) -> FakeRuntimeCache:
        return FakeRuntimeCache(self._trt)

    def set_runtime_cache(self, cache: Any) -> bool:
        self._cache = cache
        return True


class FakeRuntimeCache:
    """Its kernels are those of this GPU, whatever it was given before."""

    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self._given: bytes | None = None
        self._serialized = 0

    def deserialize(self, blob: bytes) -> bool:
        self._given = bytes(blob)
        return self._given.startswith(self._trt._kernels)

    def serialize(self) -> Any:
        self._serialized += 1
        return memoryview(self._trt._kernels + b" kernels")


class FakeContext:
    profiler: Any = None

    def __init__(self, engine: FakeEngine, config: Any) -> None:
        self._engine, self._config = engine, config
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._threads: set[int] = set()
        self._runs = self._reshaped = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._reshaped += 1
        if self._engine._trt._fail(self._engine._log, "shape"):
            return False
        self._shapes[name] = tuple(shape)
        fixed = self._engine.get_tensor_shape(name)
        return all(axis in (-1, size) for axis, size in zip(fixed, shape, strict=True))

    def get_tensor_shape(self, name: str) -> Any:
        sizes: dict[str, int] = {}
        for given, shape in self._shapes.items():
            axes = self._engine._all[given].shape
            sizes |= {a: n for a, n in zip(axes, shape, strict=True) if isinstance(a, str)}
        return real_trt.Dims([sizes.get(axis, axis) for axis in self._engine._all[name].shape])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % 256 == 0
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, trt = self._engine, self._engine._trt
        driver = trt._driver
        if trt._fail(engine._log, "run"):
            return False
        self._threads.add(threading.get_ident())
        outputs = [value.name for value in engine._session.get_outputs()]
        shapes = {name: tuple(self.get_tensor_shape(name)) for name in outputs} | self._shapes
        addresses = dict(self._addresses)

        def work() -> None:
            self._runs += 1
            feeds = {name: read(addresses[name], shapes[name], name) for name in engine._inputs}
            for name, value in zip(outputs, engine._session.run(outputs, feeds), strict=True):
                driver._at(addresses[name], value.nbytes)[:] = value.reshape(-1).view(np.uint8)
            if self.profiler is not None:
                for layer, ms in (("conv", 2.0), ("norm", 1.0)):
                    self.profiler.report_layer_time(layer, ms)

        def read(pointer: int, shape: tuple[int, ...], name: str) -> Any:
            dtype = np.dtype(np.uint8 if name == "image" else np.float32)
            raw = driver._at(pointer, int(np.prod(shape)) * dtype.itemsize)
            return raw.view(dtype).reshape(shape).copy()

        driver._queue(stream_handle, work)
        return True
