"""clip(m, -1, 1) / 2 + 1/2 = clip(m / 2 + 1/2, 0, 1).

m is the mean of the decoder's three channels: m / 2 is one convolution with one output. The last
1/2 is added after it in float32, as ``FoldedApDepth`` says.
"""

from __future__ import annotations

from torch import nn

from apdepth_deploy.model import ApDepth

from .exact import identity, mix_outputs


def depth_into_decoder(model: ApDepth) -> None:
    """``decoding_vae.decoder`` gives depth - 1/2 as one channel, before the clip."""
    conv = [
        layer for layer in model.decoding_vae.decoder.modules() if isinstance(layer, nn.Conv2d)
    ][-1]
    mix_outputs(conv, identity(conv).mean(0, keepdim=True) / 2.0)
