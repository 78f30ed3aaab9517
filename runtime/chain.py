"""What every backend offers: a chain from frames to depth, its stages' results, and its timings."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import UsageError
from apdepth_deploy.image import ImageArray

FloatArray = NDArray[np.float32]
#: A graph's tensors and the stage each is the result of.
STAGE_OF = {"prior": "prior", "latents": "encoder", "depth_latent": "unet", "depth": "decoder"}
#: Called with a graph's name as soon as its result is there.
Finished = Callable[[str], None]


class Chain(abc.ABC):
    """Frames in, depth out, on one engine.

    Attributes:
        backend: the backend's name; device: where it runs ("cpu", "cuda:0", ...).
        graphs: names of the graphs it runs, in order: "fused", or the stages'.
        batch, height, width: frame sizes it takes, as in the manifest (number or [min, opt, max]).
    """

    backend: str
    device: str
    graphs: tuple[str, ...]
    batch: Any
    height: Any
    width: Any

    @abc.abstractmethod
    def run(self, frames: ImageArray, finished: Finished | None = None) -> Mapping[str, FloatArray]:
        """uint8 [B,H,W,3] -> {"decoder": depth float32 [B,H,W]}, and the stages that are known.

        ``finished`` makes an asynchronous engine wait for each graph: for profiling only.
        """

    def enqueue(self, frames: Any, stream: Any, out: Any = None) -> Any:
        """See ``Predictor.enqueue``."""
        raise UsageError(
            f"{self.backend} takes host arrays only: call predictor with a NumPy array, or build "
            "an engine and load it with backend tensorrt-rtx or tensorrt"
        )

    def predict_on_device(self, image: Any) -> Any:
        """[H,W,3] uint8 on a GPU, of the graph's own size -> depth [H,W] there."""
        return self.enqueue(image, None)

    def close(self) -> None:  # noqa: B027 - most engines free themselves
        """Free the device's memory now; a later call would take it again."""

    def device_seconds(self, frames: ImageArray, runs: int) -> list[float] | None:
        """Seconds of each of ``runs`` runs on the device alone, without copies to and from the
        host; None where there is no such thing."""
        return None

    def layer_seconds(self, frames: ImageArray, runs: int) -> list[tuple[str, float]] | None:
        """(layer, mean seconds) in the order in which they run; None where the engine can't tell.

        Measuring layers slows the whole: only the shares mean something.
        """
        return None
