"""Both ends of the VAE: the latent's scale, the posterior's mean, the mean of three channels."""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from apdepth_deploy.model import ApDepth

from .exact import exact, mix_outputs, scale_inputs


def latent_scale_into_encoder(model: ApDepth) -> None:
    """``vae.encoder`` gives the scaled latent.

    With conv_out(x) = W * x + b, quant_conv(y) = Q y + q and Q's upper half (the posterior's mean),
    scale (Q (W * x + b) + q) is one convolution. AutoencoderTiny has no quant_conv: Q is 1.
    """
    vae, scale = model.vae, model.spec.conventions.latent_scale
    if isinstance(vae, AutoencoderTiny):
        conv = vae.encoder.layers[-1]
        mix_outputs(conv, scale * _identity(conv))
        return
    mean = exact(vae.quant_conv.weight)[:, :, 0, 0].chunk(2)[0]
    offset = exact(vae.quant_conv.bias).chunk(2)[0]
    mix_outputs(vae.encoder.conv_out, scale * mean, scale * offset)
    vae.quant_conv = None


def latent_scale_into_decoder(model: ApDepth) -> None:
    """``decoding_vae.decoder`` takes the scaled latent: 1 / scale goes into the first layer.

    That is post_quant_conv, which becomes the decoder's own. It doesn't go into the 3x3 convolution
    after it: that one's padding is 0 where post_quant_conv's bias would be.
    """
    vae, scale = model.decoding_vae, model.spec.decoding_scale
    if isinstance(vae, AutoencoderTiny):
        vae.decoder[0].limit *= scale
        return
    scale_inputs(vae.post_quant_conv, 1.0 / scale)
    vae.decoder = nn.Sequential(vae.post_quant_conv, vae.decoder)
    vae.post_quant_conv = None


def depth_into_decoder(model: ApDepth) -> None:
    """``decoding_vae.decoder`` gives depth - 1/2 as one channel, before the clip.

    clip(m, -1, 1) / 2 + 1/2 = clip(m / 2 + 1/2, 0, 1) with m the mean of three channels, and m / 2
    is one convolution.
    """
    conv = [
        layer for layer in model.decoding_vae.decoder.modules() if isinstance(layer, nn.Conv2d)
    ][-1]
    mix_outputs(conv, _identity(conv).mean(0, keepdim=True) / 2.0)


def ranges_into_tiny_decoder(model: ApDepth) -> None:
    """AutoencoderTiny takes 3 tanh(z / 3) and gives 2 y - 1: both factors go into convolutions.

    (Its encoder's (x + 1) / 2 stays: the padding after it is 0, which is -1 before it.)
    """
    layers = model.decoding_vae.decoder.layers
    scale_inputs(layers[0], 3.0)
    identity = _identity(layers[-1])
    mix_outputs(layers[-1], 2.0 * identity, -torch.ones_like(identity[0]))
    model.decoding_vae.decoder = nn.Sequential(SoftClip(3.0), *layers)


class SoftClip(nn.Module):
    """tanh(x / limit)."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / self.limit)


def _identity(conv: nn.Conv2d) -> Tensor:
    """The matrix that leaves a convolution's outputs as they are, float64."""
    return torch.eye(conv.out_channels, dtype=torch.float64, device=conv.weight.device)
