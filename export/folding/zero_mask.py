"""x + 0 = x.

Traced, transformers adds a mask of zeros to the scores of every layer of the prior.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.models.dinov2.modeling_dinov2 import Dinov2Attention

from apdepth_deploy.model import ApDepth


def zero_mask_out_of_prior(model: ApDepth) -> None:
    """Every attention of the prior looks at the whole picture without a mask."""
    assert model.prior is not None
    for attention in model.prior.net.backbone.modules():
        if isinstance(attention, Dinov2Attention):
            attention.__class__ = UnmaskedAttention


class UnmaskedAttention(Dinov2Attention):
    """DINOv2's attention to the whole picture."""

    def forward(self, hidden_states: Tensor, *mask: Any, **options: Any) -> Any:
        """[B,N,C] -> what transformers' own gives, whose forward takes a mask since 5.18."""
        options.pop("attention_mask", None)
        return super().forward(hidden_states, **options)
