"""The predictor: pictures of any size to depth of the same size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from apdepth_deploy.pictures.image import (
    DepthArray,
    ImageArray,
    check_image,
    resize_depth,
    resize_image,
)

from .engines.chain import Chain
from .engines.device_array import is_device_array


class Predictor:
    """Depth from pictures, on one backend. Made by ``load``; may be shared between threads.

    Attributes:
        chain: the engine itself; backend, device, precision: what runs, where, in what.
        reason: why this backend was chosen, in words. Backend and reason are of this moment:
            "auto" may start on one engine and go on with a faster one (``settle``).
        frame_size: (height, width) that a picture is resized to, or None where the graph takes a
            range and each picture keeps its size, rounded to a multiple of 8 within that range.
        warnings: what is known to go wrong with this engine here.

    As a context manager it frees the device's memory at the end. Pickled, it is opened again where
    it is read: the bundle must be there.
    """

    def __init__(
        self, chain: Chain, stride: int, passed_over: str, again: Callable[[], Predictor]
    ) -> None:
        """
        Args:
            stride: of frames' sides; passed_over: what else could have run, and why it doesn't;
            again: opens it once more.
        """
        self.chain = chain
        self._stride = stride
        self._passed_over = passed_over
        self._again = again

    @property
    def backend(self) -> str:
        return self.chain.backend

    @property
    def device(self) -> str:
        return self.chain.device

    @property
    def precision(self) -> str:
        return self.chain.precision

    @property
    def reason(self) -> str:
        return self.chain.reason + self._passed_over

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.chain.warnings

    @property
    def frame_size(self) -> tuple[int, int] | None:
        height, width = self.chain.height, self.chain.width
        fixed = isinstance(height, int) and isinstance(width, int)
        return (height, width) if fixed else None

    def __call__(self, image: Any) -> Any:
        """uint8 RGB [H,W,3] -> float32 depth [H,W], affine-invariant, 0 near .. 1 far.

        A NumPy array of any size gives one of that size. A GPU array (DLPack or
        ``__cuda_array_interface__``) of the engine's own size gives a ``DeviceArray``, finished,
        where the backend is TensorRT.

        Raises ImageError for another dtype or shape, or a side under ``image.MIN_SIDE``.
        """
        if is_device_array(image):
            return self.chain.predict_on_device(image)
        height, width = check_image(image).shape[:2]
        frame = resize_image(image, *self._size_for(height, width))
        return resize_depth(self._run(frame), height, width)

    def enqueue(self, frames: Any, stream: Any, out: Any = None) -> Any:
        """Queue depth for frames on a GPU, on a stream of the caller's; neither copies nor waits.

        For TensorRT backends. Work that the caller queues on ``stream`` afterwards sees the depth.

        Args:
            frames: uint8 [B,H,W,3] of the engine's own size, C-contiguous, on the engine's GPU:
                any object with ``__dlpack__`` or ``__cuda_array_interface__``. The stream waits
                for their producer where it names its own; otherwise they must be ready there.
            stream: the number of a CUstream, or an object with ``__cuda_stream__``,
                ``cuda_stream``, ``handle`` or ``ptr``. It must not be under capture.
            out: where to write, float32 [B,H,W], C-contiguous; by default new memory, which takes
                longer to get. (Memory that isn't aligned to 256 bytes costs a copy on the GPU.)

        Returns:
            DeviceArray float32 [B,H,W], 0 near .. 1 far, with ``__cuda_array_interface__``,
            DLPack and ``numpy()``. It keeps ``frames`` and ``out`` alive: hold it until the work
            that reads it is done. Runs queued by one thread follow each other.

        Raises:
            ImageError: another dtype, shape, order or device. UsageError: a backend or a stream
            that can't. BackendError: TensorRT or CUDA fails.
        """
        return self.chain.enqueue(frames, stream, out)

    def settle(self) -> None:
        """Wait until the engine runs that later frames will run on: for measurements, and for a
        server that isn't to change under way."""
        self.chain.settle()

    def close(self) -> None:
        """Free the device's memory now, where no thread is predicting."""
        self.chain.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[], Predictor], tuple[()]]:
        return self._again, ()

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        return (
            _fit(height, self.chain.height, self._stride),
            _fit(width, self.chain.width, self._stride),
        )

    def _run(self, frame: ImageArray) -> DepthArray:
        """One frame through a chain of whatever batch: a fixed batch is filled with copies."""
        batch = self.chain.batch
        copies = batch if isinstance(batch, int) else batch[0]
        frames = np.repeat(frame[None], copies, axis=0)
        depth: DepthArray = self.chain.run(frames)["decoder"][0]
        return depth


def _fit(size: int, extent: Any, stride: int) -> int:
    """The frame side for a picture's side: the fixed one, or the nearest that the range allows."""
    if isinstance(extent, int):
        return extent
    smallest, _, largest = extent
    return int(min(max(round(size / stride) * stride, smallest), largest))
