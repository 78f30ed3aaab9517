"""The CUDA driver: as much of it as running an engine takes, checked and freed.

Memory, pinned memory, streams, events and graphs over cuda-bindings' driver API. Knows nothing
about TensorRT, nor what lies in the memory. Everything is freed by ``close``, or when collected.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import BackendError

_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: not ordered with the legacy default stream


class CudaError(BackendError):
    """A call of the driver that failed; ``code`` is its CUresult."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def load_driver() -> Any:
    """cuda-bindings' module of driver calls. Raises BackendError where it is not installed."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise BackendError(
            "cuda-bindings is not installed: pip install 'apdepth-deploy[rtx]'"
        ) from error
    return driver


def driver_version() -> str:
    """CUDA version of the driver, as 1000 * major + 10 * minor; "" where it can't be asked."""
    try:
        code, version = load_driver().cuDriverGetVersion()
    except (BackendError, RuntimeError):
        return ""
    return "" if int(code) else str(int(version))


class Device:
    """One GPU by its ordinal, with the context that the CUDA runtime shares (the primary one)."""

    def __init__(self, ordinal: int = 0) -> None:
        """Raises BackendError where the driver is missing or refuses."""
        self.ordinal = ordinal
        self.label = f"cuda:{ordinal}"
        self.api = load_driver()
        try:
            self.call("cuInit", 0)
        except RuntimeError as error:  # cuda-bindings' own, where it finds no libcuda
            raise BackendError(
                "the NVIDIA driver can't be loaded: `apdepth-deploy doctor` shows what is there"
            ) from error
        handle = self.call("cuDeviceGet", ordinal)
        self._context = self.call("cuDevicePrimaryCtxRetain", handle)
        release = weakref.finalize(self, self.api.cuDevicePrimaryCtxRelease, handle)
        release.atexit = False

    def call(self, name: str, *arguments: Any) -> Any:
        """A driver call's result, or its tuple of results. Raises CudaError where it fails."""
        code, *values = getattr(self.api, name)(*arguments)
        if int(code):
            raise self._failure(name, int(code))
        return values[0] if len(values) == 1 else tuple(values)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this device the calling thread's; what the caller had comes back afterwards."""
        self.call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self.api.cuCtxPopCurrent()

    def driver_version(self) -> int:
        """CUDA version of the driver, as 1000 * major + 10 * minor."""
        return int(self.call("cuDriverGetVersion"))

    def free_memory(self) -> tuple[int, int]:
        """(free, total) bytes."""
        free, total = self.call("cuMemGetInfo")
        return int(free), int(total)

    def memory_hint(self) -> str:
        """What is free, and what to do about it."""
        free, total = self.free_memory()
        return (
            f"{free / 1e6:.0f} of {total / 1e6:.0f} MB are free on {self.label}: end other "
            "programs there, use fewer threads (each has its own buffers), or a smaller frame"
        )

    def device_of(self, pointer: int) -> int | None:
        """Ordinal of the device that a pointer belongs to; None where CUDA doesn't know it."""
        attribute = self.api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        with suppress(CudaError):
            return int(self.call("cuPointerGetAttribute", attribute, pointer))
        return None

    def is_capturing(self, stream: int) -> bool:
        """Whether a stream is being captured in a CUDA graph."""
        return int(self.call("cuStreamIsCapturing", stream)) != 0

    def synchronize(self) -> None:
        """Wait for all work of the context, on whatever stream."""
        self.call("cuCtxSynchronize")

    def free(self, name: str, handle: Any) -> None:
        """Free without ever raising: it runs in finalizers, perhaps after a failed launch."""
        with suppress(CudaError), self.current():
            self.call(name, handle)

    def allocate(self, nbytes: int) -> Memory:
        return Memory(self, nbytes)

    def _failure(self, name: str, code: int) -> CudaError:
        if code == _OUT_OF_MEMORY:
            return CudaError(code, f"{self.label} is out of memory: {self.memory_hint()}")
        result = self.api.CUresult(code)
        _, reason = self.api.cuGetErrorString(result)
        text = reason.decode() if reason else "unknown error"
        return CudaError(code, f"{self.label}: {name} failed: {text} (CUDA error {code})")


class _Owned:
    """A handle of the driver, freed once: by ``close`` or when collected, not at exit."""

    def __init__(self, device: Device, destroy: str, handle: Any) -> None:
        self.device = device
        release = weakref.finalize(self, device.free, destroy, handle)
        release.atexit = False
        self.close: Callable[[], Any] = release


class Memory(_Owned):
    """Device memory. Attributes: ``pointer``, aligned to 256 bytes; ``nbytes``."""

    def __init__(self, device: Device, nbytes: int) -> None:
        with device.current():
            self.pointer = int(_allocate(device, "device", "cuMemAlloc", nbytes))
        self.nbytes = nbytes
        super().__init__(device, "cuMemFree", self.pointer)


class Pinned(_Owned):
    """Host memory that the device copies from and to by itself; ``array`` is uint8 [nbytes]."""

    def __init__(self, device: Device, nbytes: int) -> None:
        with device.current():
            self.pointer = int(_allocate(device, "pinned host", "cuMemHostAlloc", nbytes, 0))
        raw: Any = (ctypes.c_uint8 * nbytes).from_address(self.pointer)
        self.array: NDArray[np.uint8] = np.frombuffer(raw, np.uint8)
        super().__init__(device, "cuMemFreeHost", self.pointer)


def _allocate(device: Device, kind: str, name: str, nbytes: int, *flags: int) -> Any:
    try:
        return device.call(name, nbytes, *flags)
    except CudaError as error:
        if error.code != _OUT_OF_MEMORY:
            raise
        raise CudaError(
            error.code, f"no room for {nbytes / 1e6:.1f} MB of {kind} memory: {error}"
        ) from error


class Event(_Owned):
    """A point in a stream."""

    def __init__(self, device: Device, timing: bool = False) -> None:
        with device.current():
            self.handle = device.call("cuEventCreate", 0 if timing else _NO_TIMING)
        super().__init__(device, "cuEventDestroy", self.handle)

    def record(self, stream: int) -> None:
        self.device.call("cuEventRecord", self.handle, stream)

    def hold(self, stream: int) -> None:
        """Work queued on ``stream`` from now on waits for this event; the host does not."""
        self.device.call("cuStreamWaitEvent", stream, self.handle, 0)

    def synchronize(self) -> None:
        """The host waits; at once where nothing was recorded."""
        self.device.call("cuEventSynchronize", self.handle)

    def seconds_since(self, start: Event) -> float:
        return float(self.device.call("cuEventElapsedTime", start.handle, self.handle)) / 1e3


class Stream(_Owned):
    """A queue of work on the device; ``handle`` is what TensorRT takes."""

    def __init__(self, device: Device) -> None:
        with device.current():
            self.handle = int(device.call("cuStreamCreate", _NON_BLOCKING))
        super().__init__(device, "cuStreamDestroy", self.handle)

    def upload(self, target: Memory, source: Pinned, nbytes: int) -> None:
        self.device.call("cuMemcpyHtoDAsync", target.pointer, source.pointer, nbytes, self.handle)

    def download(self, target: Pinned, source: Memory, nbytes: int) -> None:
        self.device.call("cuMemcpyDtoHAsync", target.pointer, source.pointer, nbytes, self.handle)

    def synchronize(self) -> None:
        self.device.call("cuStreamSynchronize", self.handle)

    def capture(self, work: Callable[[], None]) -> Graph:
        """What ``work`` queues on this stream, as a graph; nothing of it runs."""
        # Thread-local: other threads may allocate memory meanwhile.
        mode = self.device.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.device.call("cuStreamBeginCapture", self.handle, mode)
        try:
            work()
        except BaseException:
            _, graph = self.device.api.cuStreamEndCapture(self.handle)  # the first error counts
            if graph:
                self.device.free("cuGraphDestroy", graph)
            raise
        return Graph(self.device, self.device.call("cuStreamEndCapture", self.handle))


class Graph(_Owned):
    """Captured work, launched in one call."""

    def __init__(self, device: Device, captured: Any) -> None:
        try:
            self._executable = device.call("cuGraphInstantiate", captured, 0)
        finally:
            device.free("cuGraphDestroy", captured)
        super().__init__(device, "cuGraphExecDestroy", self._executable)

    def launch(self, stream: int) -> None:
        self.device.call("cuGraphLaunch", self._executable, stream)


def copy_on_device(device: Device, target: int, source: int, nbytes: int, stream: int) -> None:
    """Queue a copy between two places in device memory."""
    device.call("cuMemcpyDtoDAsync", target, source, nbytes, stream)


def read_memory(device: Device, pointer: int, target: NDArray[Any]) -> None:
    """Fill a C-contiguous host array from device memory, and wait for it."""
    with device.current():
        device.call("cuMemcpyDtoH", target.ctypes.data, pointer, target.nbytes)
