"""What folds share: arithmetic in float64, rounded once at the end; where self-attention is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from transformers.models.dinov2.modeling_dinov2 import Dinov2Attention


def exact(value: Tensor) -> Tensor:
    """A weight as float64."""
    return value.detach().double()


def rounded(value: Tensor, like: Tensor) -> nn.Parameter:
    """A result as a parameter of the type of ``like``."""
    return nn.Parameter(value.to(like.dtype), requires_grad=False)


def mix_outputs(conv: nn.Conv2d, matrix: Tensor, offset: Tensor | None = None) -> None:
    """conv(x) becomes matrix @ conv(x) + offset, at every pixel, in place.

    Exact at the borders too: a bias is added after the padding, not before. ``matrix`` is
    [outputs, conv's outputs] and ``offset`` [outputs], both float64.
    """
    assert conv.bias is not None and conv.groups == 1
    weight = torch.einsum("oc,cihw->oihw", matrix, exact(conv.weight))
    bias = matrix @ exact(conv.bias)
    conv.bias = rounded(bias if offset is None else bias + offset, conv.bias)
    conv.weight = rounded(weight, conv.weight)
    conv.out_channels = len(matrix)


def scale_inputs(conv: nn.Conv2d, factor: float) -> None:
    """conv(x) becomes conv(factor x), in place. Exact at the borders: zeros stay zeros."""
    conv.weight = rounded(exact(conv.weight) * factor, conv.weight)


def identity(conv: nn.Conv2d) -> Tensor:
    """The matrix that leaves a convolution's outputs as they are, float64."""
    return torch.eye(conv.out_channels, dtype=torch.float64, device=conv.weight.device)


def self_attentions(model: nn.Module) -> Iterator[tuple[nn.Linear, nn.Linear, nn.Linear]]:
    """Key, value and output layer of every attention."""
    for module in model.modules():
        if isinstance(module, Attention):
            yield module.to_k, module.to_v, module.to_out[0]
        elif isinstance(module, Dinov2Attention):
            # The names depend on transformers' version, the order does not.
            _, key, value, out = (m for m in module.modules() if isinstance(m, nn.Linear))
            yield key, value, out
