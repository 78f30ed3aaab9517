"""A GPU where there is none: the driver's calls on host memory, and plans that are ONNX graphs.

The fake driver is lazy: what is queued on a stream runs only when somebody waits for it, so that a
missing wait shows as a wrong depth. Fresh and freed memory holds garbage. The fake TensorRT runs a
plan's ONNX graph with ONNX Runtime on whatever its addresses point to; everything else of it is the
real ``tensorrt_rtx``. ``test_tensorrt_real.py`` holds both against the real libraries.
"""

# ruff: noqa: N802 - the names are the driver's
from __future__ import annotations

import ctypes
import dataclasses
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tensorrt_rtx as real_trt
from cuda.bindings import driver as real_driver
from numpy.typing import NDArray

from apdepth_deploy.bundle import Bundle, Engine, file_entry
from apdepth_deploy.machine.tensorrt import platform

VERSION = real_trt.__version__
GPU = {"name": "NVIDIA Test GPU", "compute_capability": "8.9"}
OK, INVALID, OUT_OF_MEMORY = (real_driver.CUresult(code) for code in (0, 1, 2))


def at(pointer: int, nbytes: int) -> NDArray[np.uint8]:
    """Emulated device memory: its addresses are the host's."""
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(pointer), np.uint8)


class FakeStream:
    def __init__(self) -> None:
        self.queue: list[Callable[[], None]] = []
        self.done = 0
        self.captured: list[Callable[[], None]] | None = None


class FakeDriver:
    """cuda.bindings.driver, as far as it is called. ``calls`` has the names in order."""

    CUresult = real_driver.CUresult
    CUstreamCaptureMode = real_driver.CUstreamCaptureMode
    CUpointer_attribute = real_driver.CUpointer_attribute

    def __init__(self) -> None:
        self._memory: dict[int, tuple[int, NDArray[np.uint8]]] = {}
        self._freed: list[Any] = []  # keeps stray readers from crashing the tests
        self._streams = {0: FakeStream(), 1: FakeStream(), 2: FakeStream()}
        self._events: dict[int, tuple[int, int]] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._handles = 1000
        self._lock = threading.RLock()
        self._free_bytes = self._total = 1 << 30
        self._places: dict[int, int | None] = {}
        self._calls: list[str] = []
        self._refuse: dict[str, Any] = {}

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith("cu") or name == "cuda":
            return value
        self._calls.append(name)
        if name in self._refuse:
            return lambda *arguments: (self._refuse[name], None)
        return value

    def _handle(self) -> int:
        with self._lock:
            self._handles += 1
            return self._handles

    def _queue(self, stream: int, work: Callable[[], None]) -> None:
        found = self._streams[int(stream)]
        (found.queue if found.captured is None else found.captured).append(work)

    def _drain(self, stream: int, count: int | None = None) -> None:
        with self._lock:
            found = self._streams[stream]
            while found.done < (len(found.queue) if count is None else count):
                found.done += 1
                found.queue[found.done - 1]()

    def cuInit(self, flags: int) -> Any:
        return (OK,)

    def cuDeviceGet(self, ordinal: int) -> Any:
        return OK, ordinal

    def cuDevicePrimaryCtxRetain(self, device: Any) -> Any:
        return OK, "context"

    def cuDevicePrimaryCtxRelease(self, device: Any) -> Any:
        return (OK,)

    def cuCtxPushCurrent(self, context: Any) -> Any:
        return (OK,)

    def cuCtxPopCurrent(self) -> Any:
        return OK, "context"

    def cuCtxSynchronize(self) -> Any:
        for stream in self._streams:
            self._drain(stream)
        return (OK,)

    def cuDriverGetVersion(self) -> Any:
        return OK, 13000

    def cuMemGetInfo(self) -> Any:
        return OK, self._free_bytes, self._total

    def cuGetErrorString(self, error: Any) -> Any:
        return OK, f"what {error.name} means".encode()

    def cuPointerGetAttribute(self, attribute: Any, pointer: int) -> Any:
        place = self._places.get(pointer, 0)
        return (INVALID, None) if place is None else (OK, place)

    def cuMemAlloc(self, nbytes: int) -> Any:
        with self._lock:
            if nbytes > self._free_bytes:
                return OUT_OF_MEMORY, None
            raw = np.full(nbytes + 256, 0xCD, np.uint8)
            pointer = -(-raw.ctypes.data // 256) * 256
            self._memory[pointer] = (nbytes, raw)
            self._free_bytes -= nbytes
            return OK, pointer

    def cuMemFree(self, pointer: int) -> Any:
        with self._lock:
            nbytes, raw = self._memory.pop(pointer)  # KeyError: freed twice
            raw[:] = 0xDD
            self._freed.append(raw)
            self._free_bytes += nbytes
            return (OK,)

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> Any:
        return self.cuMemAlloc(nbytes)

    def cuMemFreeHost(self, pointer: int) -> Any:
        return self.cuMemFree(pointer)

    def _copy(self, target: int, source: int, nbytes: int, stream: int) -> Any:
        self._queue(stream, lambda: ctypes.memmove(target, source, nbytes) and None)
        return (OK,)

    def cuMemcpyHtoDAsync(self, target: int, source: int, nbytes: int, stream: int) -> Any:
        return self._copy(target, source, nbytes, stream)

    def cuMemcpyDtoHAsync(self, target: int, source: int, nbytes: int, stream: int) -> Any:
        return self._copy(target, source, nbytes, stream)

    def cuMemcpyDtoDAsync(self, target: int, source: int, nbytes: int, stream: int) -> Any:
        return self._copy(target, source, nbytes, stream)

    def cuMemcpyDtoH(self, target: int, source: int, nbytes: int) -> Any:
        ctypes.memmove(target, source, nbytes)
        return (OK,)

    def cuStreamCreate(self, flags: int) -> Any:
        handle = self._handle()
        self._streams[handle] = FakeStream()
        return OK, handle

    def cuStreamDestroy(self, stream: int) -> Any:
        return (OK,)

    def cuStreamSynchronize(self, stream: int) -> Any:
        self._drain(stream)
        return (OK,)

    def cuStreamIsCapturing(self, stream: int) -> Any:
        return OK, int(self._streams[stream].captured is not None)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> Any:
        if event in self._events:
            marker = self._events[event]
            self._queue(stream, lambda: self._drain(*marker))
        return (OK,)

    def cuStreamBeginCapture(self, stream: int, mode: Any) -> Any:
        self._streams[stream].captured = []
        return (OK,)

    def cuStreamEndCapture(self, stream: int) -> Any:
        graph, found = self._handle(), self._streams[stream]
        self._graphs[graph], found.captured = found.captured or [], None
        return OK, graph

    def cuGraphInstantiate(self, graph: int, flags: int) -> Any:
        executable = self._handle()
        self._graphs[executable] = self._graphs[graph]
        return OK, executable

    def cuGraphLaunch(self, executable: int, stream: int) -> Any:
        for work in self._graphs[executable]:
            self._queue(stream, work)
        return (OK,)

    def cuGraphDestroy(self, graph: int) -> Any:
        del self._graphs[graph]
        return (OK,)

    def cuGraphExecDestroy(self, executable: int) -> Any:
        del self._graphs[executable]
        return (OK,)

    def cuEventCreate(self, flags: int) -> Any:
        return OK, self._handle()

    def cuEventDestroy(self, event: int) -> Any:
        return (OK,)

    def cuEventRecord(self, event: int, stream: int) -> Any:
        self._events[event] = (stream, len(self._streams[stream].queue))
        return (OK,)

    def cuEventSynchronize(self, event: int) -> Any:
        if event in self._events:
            self._drain(*self._events[event])
        return (OK,)

    def cuEventElapsedTime(self, start: int, end: int) -> Any:
        return OK, 2.5


class FakeTensorRT:
    """The real tensorrt_rtx with another Runtime; without RTX's own names it is the standard one.

    ``_contexts`` has every context ever made; ``_kernels`` is what compiled kernels begin with.
    """

    __version__ = VERSION

    def __init__(self, driver: FakeDriver, rtx: bool = True) -> None:
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
                at(addresses[name], value.nbytes)[:] = value.reshape(-1).view(np.uint8)
            if self.profiler is not None:
                for layer, ms in (("conv", 2.0), ("norm", 1.0)):
                    self.profiler.report_layer_time(layer, ms)

        def read(pointer: int, shape: tuple[int, ...], name: str) -> Any:
            dtype = np.dtype(np.uint8 if name == "image" else np.float32)
            raw = at(pointer, int(np.prod(shape)) * dtype.itemsize)
            return raw.view(dtype).reshape(shape).copy()

        trt._driver._queue(stream_handle, work)
        return True


@dataclasses.dataclass
class Gpu:
    """What a test does to the machine's GPU."""

    driver: FakeDriver
    trt: FakeTensorRT
    gpus: list[dict[str, str]]

    def read(self, result: Any) -> NDArray[np.float32]:
        """What is in a float32 array's memory at this moment, whatever is still queued."""
        return at(result.pointer, result.nbytes).view(np.float32).reshape(result.shape).copy()

    def array(self, values: NDArray[Any], offset: int = 0) -> DeviceValues:
        """A copy on the device, ``offset`` bytes after an aligned address."""
        _, pointer = self.driver.cuMemAlloc(values.nbytes + offset)
        at(pointer + offset, values.nbytes)[:] = (
            np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        )
        return DeviceValues(pointer + offset, values.shape, values.dtype)


class DeviceValues:
    """Another library's array by ``__cuda_array_interface__``; ``changes`` alters what it says."""

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.pointer, self.shape, self.dtype = pointer, shape, dtype
        self.changes: dict[str, Any] = {}

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            **self.changes,
        }

    def numpy(self) -> NDArray[Any]:
        nbytes = int(np.prod(self.shape)) * self.dtype.itemsize
        return at(self.pointer, nbytes).view(self.dtype).reshape(self.shape).copy()


def _install(monkeypatch: pytest.MonkeyPatch, rtx: bool) -> Gpu:
    driver = FakeDriver()
    gpu = Gpu(driver, FakeTensorRT(driver, rtx), [GPU])
    for module in ("engines.tensorrt.choice", "choice"):
        monkeypatch.setattr(f"apdepth_deploy.runtime.{module}.nvidia_gpus", lambda: gpu.gpus)
    monkeypatch.setattr("apdepth_deploy.runtime.engines.cuda.load_driver", lambda: driver)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx" if rtx else "tensorrt", gpu.trt)
    return gpu


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's runtime caches go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "apdepth-deploy"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """One GPU with TensorRT for RTX."""
    return _install(monkeypatch, rtx=True)


@pytest.fixture
def standard_gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """One GPU with the standard TensorRT."""
    return _install(monkeypatch, rtx=False)


@pytest.fixture
def add_engines() -> Callable[..., Path]:
    """(bundle folder, kind, precision, target, **changes of each Engine) -> the folder."""

    def add(
        folder: Path,
        kind: str = "fused",
        precision: str = "fp32",
        target: str = "tensorrt-rtx",
        plan: Any = None,
        **changes: Any,
    ) -> Path:
        bundle = Bundle.open(folder)
        (folder / "engines").mkdir(exist_ok=True)
        for graph in bundle.chain_graphs(kind, precision):
            file = f"engines/{graph.label}.{len(bundle.engines)}.engine"
            ends = {t.name: ends_of(t.shape) for t in graph.inputs}
            content = {"onnx": str(bundle.path(graph.file)), "ranges": ends, **(plan or {})}
            bundle.path(file).write_text(json.dumps(content))
            engine = Engine(
                graph.name, precision, target, VERSION, ("8.9",), platform(), file,
                graph.batch, graph.height, graph.width, {precision: 2}, 8, 100, 3, 1.0,
            )  # fmt: skip
            entry = dataclasses.asdict(dataclasses.replace(engine, **changes))
            bundle.manifest["engines"].append(entry)
            bundle.manifest["files"][file] = file_entry(bundle.path(file))
        bundle.write_manifest()
        return folder

    def ends_of(shape: Iterable[Any]) -> list[list[int]]:
        axes = [[axis] * 3 if isinstance(axis, int) else list(axis) for axis in shape]
        return [list(end) for end in zip(*axes, strict=True)]

    return add


@pytest.fixture
def micro(tmp_path: Path, micro_bundle: Path) -> Path:
    """A micro bundle of the test's own."""
    return Path(shutil.copytree(micro_bundle, tmp_path / "micro"))
