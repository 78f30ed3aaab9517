"""What a model is made of, before it is one."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, NamedTuple

from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from transformers import DepthAnythingForDepthEstimation

from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.spec import Conventions, ModelSpec


class Parts(NamedTuple):
    """Networks in float32 and how they are joined, in the order in which ``ApDepth`` takes them."""

    spec: ModelSpec
    unet: UNet2DConditionModel
    vae: AutoencoderKL | AutoencoderTiny
    prior: DepthAnythingForDepthEstimation | None
    text_embedding: Tensor
    decoder: AutoencoderKL | AutoencoderTiny | None = None


def assemble(
    name: str,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL | AutoencoderTiny,
    prior: DepthAnythingForDepthEstimation | None,
    text: Tensor,
    conventions: Conventions,
) -> Parts:
    """The model of these networks; ``text`` is the constant embedding [1, tokens, channels].

    Raises CheckpointError where they don't fit together.
    """
    spec = ModelSpec(
        name=name,
        unet=plain_config(unet),
        vae=plain_config(vae),
        prior=None if prior is None else _plain_prior_config(prior),
        text_shape=(text.shape[1], text.shape[2]),
        conventions=_fit_conventions(conventions, prior is not None, vae),
    )
    return Parts(spec, unet, vae, prior, text)


def _fit_conventions(
    rules: Conventions, has_prior: bool, vae: AutoencoderKL | AutoencoderTiny
) -> Conventions:
    """The rules that follow from the parts: no prior, no prior latent; a tiny VAE's own scale."""
    concat = rules.concat if has_prior else ("rgb",)
    if has_prior and "prior" not in concat:
        raise CheckpointError(
            "apdepth.json describes a model without a prior: pass --prior none or --conventions"
        )
    rules = dataclasses.replace(rules, concat=concat)
    return with_scale_of(vae, rules) if isinstance(vae, AutoencoderTiny) else rules


def with_scale_of(vae: AutoencoderKL | AutoencoderTiny, rules: Conventions) -> Conventions:
    """The rules with the latent scale that a VAE was trained for."""
    return dataclasses.replace(rules, latent_scale=float(vae.config.scaling_factor))


def plain_config(network: Any) -> dict[str, Any]:
    """A diffusers configuration as plain JSON, without private bookkeeping."""
    config = {k: v for k, v in dict(network.config).items() if not k.startswith("_")}
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return {"_class_name": type(network).__name__, **plain}


def _plain_prior_config(network: DepthAnythingForDepthEstimation) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(network.config.to_json_string(use_diff=True))
    return plain
