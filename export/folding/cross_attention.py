"""A softmax over two scores is a sigmoid: O softmax(q K^T) V + o = sigmoid(x S^T + s) U^T + b.

The text is two constant tokens. With q = Q x, the tokens' keys k0, k1 and values v0, v1, head h
gives v1 + w (v0 - v1), where w = sigmoid(scale q (k0 - k1)). So

    S[h] = scale (k0 - k1)^T Q, its head's rows       [heads, C]
    U[:, h] = O (v0 - v1), its head's columns         [C, heads]
    b = O v1 + o                                      [C]

and s = scale (k0 - k1)^T q0, where Q has a bias q0.
"""

from __future__ import annotations

import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded


def cross_attention_into_sigmoid(model: ApDepth) -> str | None:
    """Every attention to the text becomes a ``SigmoidAttention``."""
    tokens = model.text_embedding.shape[1]
    if tokens != 2:
        return f"the text embedding has {tokens} tokens, not 2"
    for block in list(model.unet.modules()):
        if isinstance(getattr(block, "attn2", None), Attention):
            block.attn2 = SigmoidAttention(block.attn2, model.text_embedding)
    return None


class SigmoidAttention(nn.Module):
    """Attention to two constant tokens: the rule's S, s, U and b are ``score``, ``score_bias``,
    ``value`` and ``bias``.
    """

    score_bias: Tensor | None

    def __init__(self, attention: Attention, text: Tensor) -> None:
        """``text`` is [1, 2, C']."""
        super().__init__()
        heads = attention.heads
        query, out = attention.to_q, attention.to_out[0]
        keys, values = (_project(layer, text) for layer in (attention.to_k, attention.to_v))
        apart = attention.scale * (keys[0] - keys[1]).reshape(heads, -1, 1)
        score = (exact(query.weight).reshape(heads, apart.shape[1], -1) * apart).sum(1)
        difference = (values[0] - values[1]).reshape(heads, -1)
        value = (exact(out.weight).reshape(-1, *difference.shape) * difference).sum(2)
        bias = F.linear(values[1], exact(out.weight), exact(out.bias))
        self.score, self.value = rounded(score, query.weight), rounded(value, out.weight)
        self.bias = rounded(bias, out.bias)
        self.score_bias = None
        if query.bias is not None:
            shift = (exact(query.bias).reshape(heads, -1, 1) * apart).sum((1, 2))
            self.score_bias = rounded(shift, query.bias)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """[B,N,C] -> [B,N,C]; the text is in the weights."""
        weights = F.linear(hidden_states, self.score, self.score_bias).sigmoid()
        return F.linear(weights, self.value, self.bias)


def _project(layer: nn.Linear, text: Tensor) -> Tensor:
    """[1,2,C'] -> keys or values [2, C] in float64."""
    bias = None if layer.bias is None else exact(layer.bias)
    return F.linear(exact(text)[0], exact(layer.weight), bias)
