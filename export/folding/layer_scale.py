"""Constants of the prior: DINOv2's layer scales, and a mask that masks nothing."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.models.dinov2.modeling_dinov2 import Dinov2Attention, Dinov2Layer

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded


def layer_scale_into_linears(model: ApDepth) -> None:
    """lambda (W x + b) = (lambda W) x + lambda b: the last layer of a branch takes its scale."""
    assert model.prior is not None
    for layer in model.prior.net.backbone.modules():
        if isinstance(layer, Dinov2Layer):
            _scale_last(layer.attention, layer.layer_scale1)
            _scale_last(layer.mlp, layer.layer_scale2)
            layer.layer_scale1 = layer.layer_scale2 = nn.Identity()


def zero_mask_out_of_prior(model: ApDepth) -> None:
    """x + 0 = x: traced, transformers adds a mask of zeros to all scores of every layer."""
    assert model.prior is not None
    for attention in model.prior.net.backbone.modules():
        if isinstance(attention, Dinov2Attention):
            attention.__class__ = UnmaskedAttention


class UnmaskedAttention(Dinov2Attention):
    """DINOv2's attention to the whole picture."""

    def forward(self, hidden_states: Tensor, attention_mask: Any = None, **options: Any) -> Any:
        """[B,N,C] -> what transformers' own gives."""
        return super().forward(hidden_states, None, **options)


def _scale_last(branch: nn.Module, scale: nn.Module) -> None:
    """The branch's last linear layer, whose name depends on transformers' version."""
    linear = [layer for layer in branch.modules() if isinstance(layer, nn.Linear)][-1]
    factor = exact(scale.get_parameter("lambda1"))
    linear.weight = rounded(exact(linear.weight) * factor[:, None], linear.weight)
    linear.bias = rounded(exact(linear.bias) * factor, linear.bias)
