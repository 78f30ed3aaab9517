"""W * (3 y) = (3 W) * y, and 2 (W * x + b) - 1 = (2 W) * x + (2 b - 1).

AutoencoderTiny's decoder takes 3 y with y = tanh(z / 3), and gives twice its last map, less 1.
(Its encoder's (x + 1) / 2 stays: the padding after it is 0, which is -1 before it.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from apdepth_deploy.model import ApDepth

from .exact import identity, mix_outputs, scale_inputs


def ranges_into_tiny_decoder(model: ApDepth) -> None:
    """The decoder's first and last convolution take its factors; ``SoftClip`` keeps the tanh."""
    layers = model.decoding_vae.decoder.layers
    scale_inputs(layers[0], 3.0)
    ones = identity(layers[-1])
    mix_outputs(layers[-1], 2.0 * ones, -torch.ones_like(ones[0]))
    model.decoding_vae.decoder = nn.Sequential(SoftClip(3.0), *layers)


class SoftClip(nn.Module):
    """tanh(x / limit)."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / self.limit)
