"""The PyTorch reference model. Needs torch, diffusers and transformers (``[export]``)."""

from apdepth_deploy.model.apdepth import STAGES, ApDepth

__all__ = ["STAGES", "ApDepth"]
