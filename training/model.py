"""What a run starts from: a checkpoint or fresh networks, with the prior joined to the U-Net."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import DepthAnythingForDepthEstimation

from apdepth_deploy.checkpoint import (
    assemble,
    find_folder,
    load_prior,
    load_vae,
    with_scale_of,
)
from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.networks import empty_prior, new_vae
from apdepth_deploy.model.random_weights import fill
from apdepth_deploy.spec import (
    ModelSpec,
    named_conventions,
    preset,
    tiny_vae_layout,
    without_prior,
)

from .config import ModelConfig


def starting_model(config: ModelConfig, seed: int) -> ApDepth:
    """The model as the run finds it, float32, everything frozen.

    Raises CheckpointError where the parts are missing, damaged or don't fit together.
    """
    if config.preset is not None:
        model = _from_preset(config, seed)
    elif config.widen:
        model = _widened(config)
    else:
        assert config.checkpoint is not None, "the configuration has one of the two"
        model = ApDepth.from_checkpoint(
            config.checkpoint, prior=config.prior, conventions=config.conventions
        )
    return model if config.vae is None else with_vae(model, load_vae(Path(config.vae)))


def _from_preset(config: ModelConfig, seed: int) -> ApDepth:
    assert config.preset is not None
    spec = preset(config.preset)
    if config.conventions is not None:
        spec = dataclasses.replace(spec, conventions=named_conventions(config.conventions))
    if config.prior == "none":
        return fresh_model(without_prior(spec), seed)
    prior = None if config.prior is None else load_prior(config.prior)
    return fresh_model(spec, seed, prior)


def fresh_model(
    spec: ModelSpec, seed: int, prior: DepthAnythingForDepthEstimation | None = None
) -> ApDepth:
    """Networks of ``spec``, initialised as their libraries do; ``prior`` in place of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel.from_config(dict(spec.unet))
        vae = new_vae(spec.vae)
        if prior is None and spec.prior is not None:
            prior = _fresh_prior(spec)
        text = torch.randn(1, *spec.text_shape)
    return ApDepth(*assemble(spec.name, unet, vae, prior, text, spec.conventions))


def _fresh_prior(spec: ModelSpec) -> DepthAnythingForDepthEstimation:
    """A prior that signals pass from end to end.

    Its library's own initialisation is meant for fine-tuning: the disparity's contrast starts out
    so far below its mean that bfloat16 rounds it away, and nothing but the bias is learnt.
    """
    prior = empty_prior(spec)
    fill(prior, torch.Generator().manual_seed(torch.initial_seed()))
    # The head ends in a ReLU: it starts near 1/2 everywhere, or the first steps kill it.
    with torch.no_grad():
        prior.head.conv3.weight.mul_(0.1)
        prior.head.conv3.bias.fill_(0.5)
    return prior


def _widened(config: ModelConfig) -> ApDepth:
    assert config.checkpoint is not None and config.prior is not None
    base = ApDepth.from_checkpoint(config.checkpoint, prior="none")
    conventions = named_conventions(config.conventions or "v1.1")
    widen(base.unet)
    prior = load_prior(config.prior)
    return ApDepth(
        *assemble(base.spec.name, base.unet, base.vae, prior, base.text_embedding, conventions)
    )


def widen(unet: UNet2DConditionModel) -> None:
    """First convolution from 4 to 8 input channels, in place: weight repeated and halved.

    Two equal latents then give what one gave before (Marigold's initialisation).
    """
    narrow = unet.conv_in
    wide = nn.Conv2d(8, narrow.out_channels, narrow.kernel_size, padding=narrow.padding)
    with torch.no_grad():
        wide.weight.copy_(narrow.weight.repeat(1, 2, 1, 1) / 2)
        wide.bias.copy_(narrow.bias)  # type: ignore[union-attr]
    unet.conv_in = wide
    unet.register_to_config(in_channels=8)


def light_vae(config: ModelConfig, seed: int) -> AutoencoderTiny:
    """What task "light_vae" starts from. Raises CheckpointError where it is no AutoencoderTiny."""
    if config.light_vae is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layout = tiny_vae_layout(config.light_width)
            fresh: AutoencoderTiny = AutoencoderTiny.from_config(layout)
        return fresh
    vae = load_vae(find_folder(config.light_vae))
    if not isinstance(vae, AutoencoderTiny):
        raise CheckpointError(f"model.light_vae: {config.light_vae} is not an AutoencoderTiny")
    return vae


def with_vae(model: ApDepth, vae: AutoencoderKL | AutoencoderTiny) -> ApDepth:
    """The same model, networks shared, with another VAE and the latent scale that it brings."""
    conventions = with_scale_of(vae, model.spec.conventions)
    prior = None if model.prior is None else model.prior.net
    return ApDepth(
        *assemble(model.spec.name, model.unet, vae, prior, model.text_embedding, conventions)
    )
