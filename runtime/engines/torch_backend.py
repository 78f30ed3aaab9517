"""The PyTorch model itself behind the runtime's interface: slow, and what the others must equal."""

from __future__ import annotations

import functools
import os

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.errors import UsageError
from apdepth_deploy.pictures.image import ImageArray

from .chain import Chain, Finished, FloatArray
from .wanted import Wanted, place_of, require


def open_torch(bundle: Bundle, wanted: Wanted) -> Chain:
    """The PyTorch model takes the frames that the bundle's graphs take.

    Raises BackendError, CheckpointError, UsageError.
    """
    if wanted.precision not in (None, "fp32"):
        raise UsageError(
            f"backend torch runs in fp32, not {wanted.precision}: use backend onnxruntime"
        )
    require("torch")
    import torch

    has_cuda = bool(torch.cuda.is_available())
    place, why = place_of("torch", wanted, has_cuda, "a CUDA build of torch")
    chain = TorchChain(bundle, place, wanted.checkpoint)
    chain.reason = f"torch on {place}, fp32: {why}"
    return chain


class TorchChain(Chain):
    """The float32 model, from the weights that the bundle was exported from."""

    backend = "torch"
    precision = "fp32"
    graphs = ("fused",)

    def __init__(self, bundle: Bundle, device: str, checkpoint: str | None) -> None:
        """Raises CheckpointError where the weights are not found."""
        from apdepth_deploy.model.loading import load_model

        self.device = device
        self.batch, self.height, self.width = bundle.frame_extents
        self._model = load_model(bundle.source(checkpoint)).to(device)
        _survive_forks()

    def run(self, frames: ImageArray, finished: Finished | None = None) -> dict[str, FloatArray]:
        """See ``Chain.run``; the whole model is one graph."""
        import torch

        with torch.inference_mode():
            stages = self._model.stages(torch.from_numpy(frames).to(self.device))
        results = {name: result.cpu().numpy() for name, result in stages.items()}
        if finished is not None:
            finished(self.graphs[0])
        return results


@functools.lru_cache
def _survive_forks() -> None:
    """A forked child would wait for its parent's threads for ever: it gets by with one."""
    import torch

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
