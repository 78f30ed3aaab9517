"""P (F y + f + x) + p = P (F y + x) + (P f + p).

After a transformer's last block comes only its output projection P.
"""

from __future__ import annotations

from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded


def feed_forward_bias_into_projection(model: ApDepth) -> None:
    """``proj_out`` takes the bias of the last block's feed-forward layer."""
    for transformer in model.unet.modules():
        if isinstance(transformer, Transformer2DModel):
            feed_forward = transformer.transformer_blocks[-1].ff
            last = [layer for layer in feed_forward.modules() if isinstance(layer, nn.Linear)][-1]
            projection = transformer.proj_out
            shift = exact(projection.weight).flatten(1) @ exact(last.bias)
            projection.bias = rounded(exact(projection.bias) + shift, projection.bias)
            last.register_parameter("bias", None)
