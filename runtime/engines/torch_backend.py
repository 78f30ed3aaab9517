"""The PyTorch model itself behind the runtime's interface: slow, and what the others must equal."""

from __future__ import annotations

import functools
import os

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.image import ImageArray

from .chain import Chain, Finished, FloatArray


class TorchChain(Chain):
    """The float32 model, from the weights that the bundle was exported from."""

    backend = "torch"
    graphs = ("fused",)

    def __init__(self, bundle: Bundle, device: str, checkpoint: str | None) -> None:
        """Raises CheckpointError where the weights are not found."""
        self.device = device
        self.batch, self.height, self.width = bundle.frame_extents
        self._model = bundle.source(checkpoint).load().to(device)
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
