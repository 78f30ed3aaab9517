"""O sum w (V x + v) + o = O sum w V x + (O v + o).

The weights w of a softmax sum to 1, so the values' bias goes into the output layer's (prior, VAE).
"""

from __future__ import annotations

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded, self_attentions


def value_bias_into_output(model: ApDepth) -> None:
    """The output layer of every self-attention takes the values' bias."""
    for _, value, out in self_attentions(model):
        if value.bias is not None:
            shift = exact(out.weight) @ exact(value.bias)
            out.bias = rounded(exact(out.bias) + shift, out.bias)
            value.register_parameter("bias", None)
