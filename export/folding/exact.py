"""Arithmetic that the folds share: in float64, rounded once at the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
