"""A bundle that is served: its predictor, the one thread that asks it, and who waits for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.errors import BackendError
from apdepth_deploy.pictures.image import DepthArray, ImageArray, decode_picture

from ..predictor import Predictor

#: Jobs that may wait or run.
QUEUE = 8
#: Of a picture: what the cameras of phones take, and 67 MB of depth.
MAX_PIXELS = 1 << 24

Result = TypeVar("Result")


class BusyError(Exception):
    """The queue is full."""


class Depth(NamedTuple):
    """uint8 [H,W,3], its float32 [H,W], and seconds that decoding and predicting took."""

    image: ImageArray
    depth: DepthArray
    seconds: float


class Served:
    """One of a server's bundles. All but ``depth_of`` is for the thread of the event loop.

    Attributes:
        name: in requests: the folder's, with the backend's where a bundle is served on several, and
            with a number where another has that.
        waiting: how many jobs wait or run.
    """

    def __init__(
        self,
        folder: Path,
        predictor: Predictor,
        taken: Collection[str] = (),
        *,
        several: bool = False,
    ) -> None:
        bundle = Bundle.open(folder)
        base = folder.absolute().name or "bundle"
        if several:
            base += f"-{predictor.backend}"
        numbered = (f"{base}-{number}" for number in range(2, len(taken) + 3))
        self.name = next(name for name in (base, *numbered) if name not in taken)
        self.waiting = 0
        self._predictor = predictor
        self._depth_means, self._random = bundle.manifest["depth"], bundle.random_weights
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"depth-{self.name}")

    async def do(self, work: Callable[[], Result]) -> Result:
        """``work()`` in the bundle's thread, after what was asked for before. BusyError."""
        if self.waiting >= QUEUE:
            raise BusyError
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self.waiting -= 1

    def depth_of(self, data: bytes | bytearray) -> Depth:
        """Of a picture file's bytes. For ``do``. Raises ImageError, BackendError."""
        start = time.perf_counter()
        image = decode_picture(data, MAX_PIXELS).image
        depth: DepthArray = self._predictor(image)
        if not np.isfinite(depth).all():
            raise BackendError("depth has NaN or Inf: `verify` the bundle")
        return Depth(image, depth, time.perf_counter() - start)

    def info(self) -> dict[str, Any]:
        """What a client may want to know of it."""
        size = self._predictor.frame_size
        return {
            "name": self.name,
            "backend": self._predictor.backend,
            "device": self._predictor.device,
            "precision": self._predictor.precision,
            "reason": self._predictor.reason,
            "frame": None if size is None else {"height": size[0], "width": size[1]},
            "quantity": "relative depth",
            "meaning": self._depth_means,
            "near": 0.0,
            "far": 1.0,
            "random_weights": self._random,
        }

    def close(self) -> None:
        """After the job under way; those that wait are dropped."""
        self._thread.shutdown(cancel_futures=True)
        self._predictor.close()
