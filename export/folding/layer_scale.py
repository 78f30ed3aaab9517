"""l (W x + b) = (l W) x + l b.

DINOv2 multiplies what every branch adds by a vector l: the branch's last linear layer takes it.
"""

from __future__ import annotations

from torch import nn
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded


def layer_scale_into_linears(model: ApDepth) -> None:
    """Both branches of every layer of the prior lose their scale."""
    assert model.prior is not None
    for layer in model.prior.net.backbone.modules():
        if isinstance(layer, Dinov2Layer):
            _scale_last(layer.attention, layer.layer_scale1)
            _scale_last(layer.mlp, layer.layer_scale2)
            layer.layer_scale1 = layer.layer_scale2 = nn.Identity()


def _scale_last(branch: nn.Module, scale: nn.Module) -> None:
    """The branch's last linear layer, whose name depends on transformers' version."""
    linear = [layer for layer in branch.modules() if isinstance(layer, nn.Linear)][-1]
    factor = exact(scale.get_parameter("lambda1"))
    linear.weight = rounded(exact(linear.weight) * factor[:, None], linear.weight)
    linear.bias = rounded(exact(linear.bias) * factor, linear.bias)
