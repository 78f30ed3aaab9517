"""P (z / s) + p = (P / s) z + p.

P, p is post_quant_conv, z the scaled latent, s its scale. It doesn't go into the 3x3 convolution
after it: that one's padding is 0 where p would be. AutoencoderTiny starts with tanh(z / limit)
instead: its limit takes s.
"""

from __future__ import annotations

from diffusers import AutoencoderTiny
from torch import nn

from apdepth_deploy.model import ApDepth

from .exact import scale_inputs


def latent_scale_into_decoder(model: ApDepth) -> None:
    """``decoding_vae.decoder`` takes the scaled latent; ``post_quant_conv`` goes into it."""
    vae, scale = model.decoding_vae, model.spec.decoding_scale
    if isinstance(vae, AutoencoderTiny):
        vae.decoder[0].limit *= scale
        return
    scale_inputs(vae.post_quant_conv, 1.0 / scale)
    vae.decoder = nn.Sequential(vae.post_quant_conv, vae.decoder)
    vae.post_quant_conv = None
