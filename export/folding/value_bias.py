"""Biases of self-attention that the softmax makes redundant, in the prior and in the VAE."""

from __future__ import annotations

from collections.abc import Iterator

from diffusers.models.attention_processor import Attention
from torch import nn
from transformers.models.dinov2.modeling_dinov2 import Dinov2Attention

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded


def key_bias_out_of_softmax(model: ApDepth) -> None:
    """q (K x + k) = q K x + q k: the last term is the same for all keys, and softmax ignores it."""
    for key, _, _ in _projections(model):
        key.register_parameter("bias", None)


def value_bias_into_output(model: ApDepth) -> None:
    """O sum w (V x + v) + o = O sum w V x + (O v + o): the weights w of a softmax sum to 1."""
    for _, value, out in _projections(model):
        if value.bias is not None:
            shift = exact(out.weight) @ exact(value.bias)
            out.bias = rounded(exact(out.bias) + shift, out.bias)
            value.register_parameter("bias", None)


def _projections(model: ApDepth) -> Iterator[tuple[nn.Linear, nn.Linear, nn.Linear]]:
    """Key, value and output layer of every attention."""
    for module in model.modules():
        if isinstance(module, Attention):
            yield module.to_k, module.to_v, module.to_out[0]
        elif isinstance(module, Dinov2Attention):
            # The names depend on transformers' version, the order does not.
            _, key, value, out = (m for m in module.modules() if isinstance(m, nn.Linear))
            yield key, value, out
