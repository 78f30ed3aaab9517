"""Random weights for size, speed and numerics, where no trained ones are at hand.

PyTorch's default initialisation shrinks the signal at every layer until a deep network answers with
its biases; a parity check on such a network passes whatever the graph computes. These keep the
variance of the signal from layer to layer.
"""

from __future__ import annotations

import re

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from apdepth_deploy.model.apdepth import ApDepth
from apdepth_deploy.model.networks import empty_model
from apdepth_deploy.spec import ModelSpec

_SCALES = ("lambda1", "layer_scale")
# Layers with half the gain: the last of a residual branch (trained networks add little per branch),
# and the VAE's output (so that depth stays inside the final clip, which would hide differences).
_HALVED = re.compile(
    r"(conv2|convolution2|to_out\.0|o_proj|dense|fc2|down_proj|net\.2|proj_out|decoder\.conv_out)"
    r"\.weight$"
)
_TABLES = ("position_embeddings", "cls_token", "mask_token")


def random_model(spec: ModelSpec, seed: int = 0) -> ApDepth:
    """The model of ``spec`` with float32 weights drawn from ``seed``: same seed, same weights."""
    generator = torch.Generator().manual_seed(seed)
    empty = empty_model(spec)
    prior = None if empty.prior is None else empty.prior.net
    for net in (empty.unet, empty.vae, prior, empty.decoder_vae):
        if net is not None:
            fill(net.to_empty(device="cpu"), generator)
    if prior is not None:
        # The head ends in a ReLU: a positive bias keeps the disparity from being all zero.
        nn.init.constant_(prior.head.conv3.bias, 0.5)
    if isinstance(empty.decoding_vae, AutoencoderTiny):
        # Its pictures lie in 0 to 1: around 0, half of the depth would end in the final clip.
        nn.init.constant_(empty.decoding_vae.decoder.layers[-1].bias, 0.5)
    tokens, channels = spec.text_shape
    text = torch.randn(1, tokens, channels, generator=generator)
    return ApDepth(spec, empty.unet, empty.vae, prior, text, empty.decoder_vae)


@torch.no_grad()
def fill(net: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter of ``net`` in place: normal, variance 1 / fan-in; norms at 1."""
    assert not list(net.buffers()), "a buffer without values: to_empty() would leave it undefined"
    for name, parameter in net.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if leaf in _TABLES:
            parameter.normal_(0.0, 0.02, generator=generator)
        elif leaf == "bias":
            parameter.normal_(0.0, 0.05, generator=generator)
        elif leaf in _SCALES or parameter.ndim == 1:
            parameter.normal_(1.0, 0.05, generator=generator)
        else:
            gain = 0.5 if _HALVED.search(name) else 1.0
            parameter.normal_(
                0.0, gain * _fan_in(net, name, parameter) ** -0.5, generator=generator
            )


def _fan_in(net: nn.Module, name: str, weight: Tensor) -> int:
    """Inputs that one output sums over."""
    module = net.get_submodule(name.rsplit(".", 1)[0])
    if isinstance(module, nn.ConvTranspose2d):
        # Kernel and stride are equal in this model, so each output sees one tap of the kernel.
        return weight.shape[0]
    return weight[0].numel()
