"""W x at every pixel = the 1x1 convolution W * x.

ONNX gives a convolution its bias in the same node; a linear layer over three axes is a product and
a sum.
"""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from apdepth_deploy.model import ApDepth


def pixel_linears_into_convolutions(model: ApDepth) -> str | None:
    """``proj_in`` and ``proj_out`` of every transformer become convolutions."""
    if not model.unet.config.use_linear_projection:
        return "the U-Net has convolutions there already"
    for transformer in model.unet.modules():
        if isinstance(transformer, Transformer2DModel):
            transformer.proj_in = _pointwise(transformer.proj_in)
            transformer.proj_out = _pointwise(transformer.proj_out)
            transformer.use_linear_projection = False
    return None


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    with torch.device("meta"):
        conv = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1)
    conv.weight = nn.Parameter(linear.weight.detach()[:, :, None, None], requires_grad=False)
    conv.bias = linear.bias
    return conv
