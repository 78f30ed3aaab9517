"""s (Q (W * x + b) + q) = (s Q W) * x + s (Q b + q).

W, b is the encoder's last convolution, Q, q the upper half of quant_conv (the posterior's mean), s
the latent's scale. AutoencoderTiny has no quant_conv: Q is 1.
"""

from __future__ import annotations

from diffusers import AutoencoderTiny

from apdepth_deploy.model import ApDepth

from .exact import exact, identity, mix_outputs


def latent_scale_into_encoder(model: ApDepth) -> None:
    """``vae.encoder`` gives the scaled latent; ``quant_conv`` goes."""
    vae, scale = model.vae, model.spec.conventions.latent_scale
    if isinstance(vae, AutoencoderTiny):
        conv = vae.encoder.layers[-1]
        mix_outputs(conv, scale * identity(conv))
        return
    mean = exact(vae.quant_conv.weight)[:, :, 0, 0].chunk(2)[0]
    offset = exact(vae.quant_conv.bias).chunk(2)[0]
    mix_outputs(vae.encoder.conv_out, scale * mean, scale * offset)
    vae.quant_conv = None
