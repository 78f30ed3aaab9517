"""Arrays on the GPU, other libraries' and ours: taken and given without a copy.

In: whatever has ``__dlpack__`` or ``__cuda_array_interface__`` (PyTorch, CuPy, Numba, JAX,
cuda-core). Out: ``DeviceArray``, which has both.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError, UsageError

from .cuda import Device, Event, Memory, read_memory

_ON_DEVICE = (2, 13)  # kDLCUDA, kDLCUDAManaged
_LEGACY_STREAM = 1  # what both protocols call CUDA's default stream, whose handle is 0


def is_device_array(array: object) -> bool:
    """Whether an object says that it lies on a GPU."""
    if hasattr(array, "__cuda_array_interface__"):
        return True
    place = getattr(array, "__dlpack_device__", None)
    return place is not None and place()[0] in _ON_DEVICE


def stream_handle(stream: Any) -> int:
    """The CUstream behind a number or another library's stream object.

    Raises UsageError for anything else.
    """
    if hasattr(stream, "__cuda_stream__"):
        protocol = stream.__cuda_stream__
        return int((protocol() if callable(protocol) else protocol)[1])
    for name in ("cuda_stream", "handle", "ptr"):  # PyTorch, older cuda-core, CuPy
        stream = getattr(stream, name, stream)
    try:
        return int(stream)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"a stream is a CUstream's number or an object with __cuda_stream__, "
            f"not {type(stream).__name__}"
        ) from error


@dataclasses.dataclass(frozen=True)
class DeviceView:
    """Where another library's array lies.

    Attributes:
        strides: in bytes; None for C order.
        ordered: whether work on the stream that it was asked for waits for the array's producer.
        owner: keeps the memory alive.
    """

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    readonly: bool
    ordered: bool
    owner: object

    @property
    def is_contiguous(self) -> bool:
        """C order, without gaps."""
        if self.strides is None:
            return True
        step = self.dtype.itemsize
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True

    def batched(self) -> DeviceView:
        """The same with an axis of one in front."""
        shape, strides = (1, *self.shape), self.strides and (0, *self.strides)
        return dataclasses.replace(self, shape=shape, strides=strides)


def view_array(device: Device, array: Any, stream: int) -> DeviceView:
    """See a GPU array from ``stream``, which waits for the array's producer where it is known.

    Raises ImageError for what is no array on this GPU.
    """
    if not is_device_array(array):
        raise ImageError(
            f"{type(array).__name__} is not on a GPU: pass it to the predictor itself, "
            "which copies it there"
        )
    # DLPack first: its producers order streams; PyTorch's other interface names no stream.
    view = _from_dlpack(array, stream) if hasattr(array, "__dlpack__") else None
    view = view or _from_interface(device, array, stream)
    place = device.device_of(view.pointer)
    if place != device.ordinal:
        where = "memory that CUDA doesn't know" if place is None else f"cuda:{place}"
        raise ImageError(f"the array is on {where} and the engine on {device.label}: copy it there")
    return view


def _from_dlpack(array: Any, stream: int) -> DeviceView:
    from cuda.core.utils import StridedMemoryView

    try:
        view = StridedMemoryView.from_dlpack(array, stream_ptr=stream or _LEGACY_STREAM)
        dtype = np.dtype(view.dtype)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ImageError(f"{type(array).__name__} can't be taken by DLPack: {reason}") from error
    strides = view.strides and tuple(int(n) * dtype.itemsize for n in view.strides)
    shape = tuple(int(n) for n in view.shape)
    return DeviceView(int(view.ptr), shape, strides, dtype, bool(view.readonly), True, view)


def _from_interface(device: Device, array: Any, stream: int) -> DeviceView:
    """``__cuda_array_interface__``, versions 2 and 3."""
    try:
        interface = array.__cuda_array_interface__
        (pointer, readonly), producer = interface["data"], interface.get("stream")
        shape, strides = tuple(interface["shape"]), interface.get("strides")
        dtype = np.dtype(interface["typestr"])
    except (KeyError, TypeError, ValueError) as error:
        name = type(array).__name__
        raise ImageError(f"{name} has a broken __cuda_array_interface__: {error!r}") from error
    if producer is not None and producer != stream:
        wait_for(device, stream, int(producer))
    ordered = producer is not None
    return DeviceView(int(pointer), shape, strides, dtype, bool(readonly), ordered, array)


def wait_for(device: Device, stream: int, producer: int) -> None:
    """Work queued on ``stream`` from now on waits for what is queued on ``producer`` now."""
    with device.current():
        event = Event(device)
        event.record(producer)
        event.hold(stream)
        event.close()  # the driver keeps it until it is no longer waited for


class DeviceArray:
    """A result on the GPU: float32, C order, ready for work queued on ``stream``.

    Offers ``__cuda_array_interface__`` and DLPack. Keeps its own memory and the frames that it was
    computed from alive: hold it until the work that reads it is done.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, device: Device, shape: tuple[int, ...], stream: int, memory: Memory | DeviceView
    ) -> None:
        self.shape = shape
        self.stream = stream
        self.pointer = memory.pointer
        self.device = device.label
        self._device = device
        self._memory = memory
        self._frames: object = None
        self._ready = Event(device)
        # Before its memory goes: nothing that is queued may still write there.
        settle = weakref.finalize(self, device.free, "cuEventSynchronize", self._ready.handle)
        settle.atexit = False

    @classmethod
    def empty(cls, device: Device, shape: tuple[int, ...], stream: int) -> DeviceArray:
        """New memory. Raises BackendError where there is no room for it."""
        nbytes = int(np.prod(shape)) * cls.dtype.itemsize
        return cls(device, shape, stream, device.allocate(nbytes))

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def mark_ready(self, frames: object) -> None:
        """All work that writes it is queued on ``stream`` by now, reading ``frames``."""
        self._frames = frames
        self._ready.record(self.stream)

    def __getitem__(self, index: int) -> DeviceArray:
        """One depth map of several, in the same memory."""
        if not 0 <= index < self.shape[0]:
            raise IndexError(index)
        part = DeviceArray.__new__(DeviceArray)
        part.__dict__.update(self.__dict__)
        part.shape = self.shape[1:]
        part.pointer = self.pointer + index * part.nbytes
        part._frames = self
        return part

    def numpy(self) -> NDArray[np.float32]:
        """A copy on the host, once it is there."""
        host = np.empty(self.shape, np.float32)
        self._ready.synchronize()
        read_memory(self._device, self.pointer, host)
        return host

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": self.stream or _LEGACY_STREAM,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return _ON_DEVICE[0], self._device.ordinal

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        """DLPack's capsule; ``stream``, the reader's, waits until the array is written."""
        from cuda.core import Buffer
        from cuda.core.utils import StridedMemoryView

        if stream != -1:  # -1: the reader sees to it himself
            with self._device.current():
                self._ready.hold(_LEGACY_STREAM if stream is None else stream)
        buffer = Buffer.from_handle(self.pointer, self.nbytes, owner=self)
        return StridedMemoryView.from_buffer(buffer, self.shape, dtype=self.dtype).__dlpack__(
            **options
        )
