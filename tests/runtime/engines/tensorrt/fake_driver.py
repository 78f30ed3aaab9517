"""The driver's calls on host memory. ``conftest.py`` says how it behaves."""

# ruff: noqa: N802 - the names are the driver's
from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from cuda.bindings import driver as real_driver
from numpy.typing import NDArray

OK, INVALID, OUT_OF_MEMORY = (real_driver.CUresult(code) for code in (0, 1, 2))


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

    @staticmethod
    def _at(pointer: int, nbytes: int) -> NDArray[np.uint8]:
        """Emulated device memory: its addresses are the host's."""
        return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(pointer), np.uint8)

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
