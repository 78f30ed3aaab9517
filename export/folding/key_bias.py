"""q (K x + k) = q K x + q k: the last term is the same for every key.

A softmax doesn't change when all its scores move together, so the keys' bias goes (prior, VAE).
"""

from __future__ import annotations

from apdepth_deploy.model import ApDepth

from .exact import self_attentions


def key_bias_out_of_softmax(model: ApDepth) -> None:
    """The key layers of every self-attention lose their bias."""
    for key, _, _ in self_attentions(model):
        key.register_parameter("bias", None)
