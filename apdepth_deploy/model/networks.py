"""The networks of a spec on the meta device, without weights: for filling and for counting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from apdepth_deploy.model.apdepth import ApDepth
from apdepth_deploy.spec import ModelSpec, is_tiny_vae


def empty_model(spec: ModelSpec) -> ApDepth:
    """The model on the meta device: shapes without memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(spec.unet))
        vae = new_vae(spec.vae)
        prior = empty_prior(spec) if spec.prior is not None else None
        decoder = None if spec.decoder is None else new_vae(spec.decoder)
        return ApDepth(spec, unet, vae, prior, torch.empty(1, *spec.text_shape), decoder)


def new_vae(config: Mapping[str, Any]) -> AutoencoderKL | AutoencoderTiny:
    """A VAE of that configuration, as its library initialises it, on the current device."""
    kind = AutoencoderTiny if is_tiny_vae(config) else AutoencoderKL
    vae: AutoencoderKL | AutoencoderTiny = kind.from_config(dict(config))
    return vae


def empty_prior(spec: ModelSpec) -> DepthAnythingForDepthEstimation:
    """Depth Anything of the spec, on the current default device."""
    return DepthAnythingForDepthEstimation(DepthAnythingConfig.from_dict(dict(spec.prior or {})))


def count_parameters(spec: ModelSpec) -> dict[str, int]:
    """Parameters of each network: {"prior", "vae", "unet"}."""
    return parameters_of(empty_model(spec))


def count_gflop(spec: ModelSpec, batch: int, height: int, width: int) -> dict[str, float]:
    """GFLOP of each stage for one call (2 per multiply-add; matrix products and convolutions)."""
    return gflop_of(empty_model(spec), batch, height, width)


def parameters_of(model: ApDepth) -> dict[str, int]:
    """``count_parameters`` of a model at hand."""
    nets = {
        "prior": (model.prior,),
        "vae": (model.vae, model.decoder_vae),
        "unet": (model.unet,),
    }
    counts = {
        name: sum(p.numel() for net in parts if net is not None for p in net.parameters())
        for name, parts in nets.items()
    }
    return {name: count for name, count in counts.items() if count}


def gflop_of(model: ApDepth, batch: int, height: int, width: int) -> dict[str, float]:
    """``count_gflop`` of a model on the meta device."""
    images = torch.empty(batch, height, width, 3, dtype=torch.uint8, device="meta")
    gflop: dict[str, float] = {}
    results: dict[str, torch.Tensor] = {}
    for name in model.stage_names:
        with FlopCounterMode(display=False) as counter:
            results[name] = model.stage(name, images, results)
        gflop[name] = counter.get_total_flops() / 1e9
    return gflop
