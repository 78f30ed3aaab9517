"""A checkpoint folder as diffusers lays it out: unet/, vae/, prior/, the text, apdepth.json."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import DepthAnythingForDepthEstimation

from apdepth_deploy.checkpoint.parts import Parts, assemble, plain_config, with_scale_of
from apdepth_deploy.checkpoint.places import DIFFUSERS_WEIGHTS, find_folder
from apdepth_deploy.checkpoint.reading import (
    assign,
    loading,
    read_config,
    read_json,
    read_weights,
)
from apdepth_deploy.checkpoint.transformers_layout import load_prior, load_text_embedding
from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.spec import (
    CONVENTIONS,
    Conventions,
    conventions_from_json,
    named_conventions,
    sizes_from_json,
    with_vae_config,
)
from apdepth_deploy.spec.kinds import check_unet, check_vae

SPEC_FILE = "apdepth.json"


def load_checkpoint(
    checkpoint: str,
    *,
    prior: str | None = None,
    conventions: str | None = None,
    unet: str | None = None,
    vae: str | None = None,
    vae_side: str = "both",
    revision: str | None = None,
) -> Parts:
    """See ``ApDepth.from_checkpoint``."""
    folder = find_folder(checkpoint, revision)
    own, trained_at = read_spec_file(folder)
    rules = own
    if conventions is not None:  # the latents are the checkpoint's in any case
        scale = own.latent_scale
        rules = dataclasses.replace(named_conventions(conventions), latent_scale=scale)
    unet_folder = folder / "unet" if unet is None else Path(unet)
    unet_net = _load_diffusers(unet_folder, _UNETS, check_unet)
    whole, half = (vae, None) if vae_side == "both" else (None, vae)
    vae_net = load_vae(folder / "vae" if whole is None else find_folder(whole))
    if whole is not None:
        rules = with_scale_of(vae_net, rules)
    _require_scale(folder / "vae", vae_net, rules)
    prior_net = _find_prior(folder, prior, unet_net.config.in_channels)
    text = load_text_embedding(folder, unet_net.config.cross_attention_dim)
    name = Path(checkpoint).resolve().name
    parts = assemble(name, unet_net, vae_net, prior_net, text, rules)
    if unet is None:
        parts = parts._replace(spec=dataclasses.replace(parts.spec, trained_at=trained_at))
    return parts if half is None else _with_one_side(parts, load_vae(find_folder(half)), vae_side)


def _with_one_side(parts: Parts, other: AutoencoderKL | AutoencoderTiny, side: str) -> Parts:
    """The model with ``other`` as its "encoder" or "decoder", and its own VAE as the other side."""
    spec = with_vae_config(parts.spec, plain_config(other), side)
    encoder, decoder = (other, parts.vae) if side == "encoder" else (parts.vae, other)
    return parts._replace(spec=spec, vae=encoder, decoder=decoder)


def _find_prior(
    folder: Path, prior: str | None, channels: int
) -> DepthAnythingForDepthEstimation | None:
    if prior == "none" or (prior is None and channels == 4):
        return None
    if prior is not None:
        return load_prior(prior)
    if not (folder / "prior").is_dir():
        raise CheckpointError(
            f"{folder} has no prior/ folder and its U-Net takes {channels} channels: pass --prior "
            "(a transformers folder, a hub id such as depth-anything/Depth-Anything-V2-Small-hf, "
            "or depth_anything_v2_vits.pth)"
        )
    return load_prior(str(folder / "prior"))


def read_spec_file(folder: Path) -> tuple[Conventions, tuple[tuple[int, int], ...]]:
    """What a checkpoint says beside its weights: conventions, and frame sizes in training.

    (height, width) each; () where it says none. Raises CheckpointError.
    """
    path = folder / SPEC_FILE
    if not path.is_file():
        return CONVENTIONS["v1.1"], ()
    data = read_json(path)
    try:
        sizes = sizes_from_json(data.get("trained_at", []))
        return conventions_from_json(data["conventions"]), sizes
    except (KeyError, TypeError, CheckpointError) as error:
        raise CheckpointError(f"{path} has no usable 'conventions': {error}") from error


def require_depth(folder: Path) -> None:
    """Raises CheckpointError where the U-Net is not for depth but for another of diffusers' jobs.

    ``model_index.json`` says for which. The authors' pipelines aren't among diffusers' own, and
    their scheduler is Stable Diffusion's as it was: that they predict the sample, no file says.
    """
    index = folder / "model_index.json"
    if (folder / SPEC_FILE).is_file() or not index.is_file():
        return
    kind = str(read_json(index).get("_class_name"))
    channels = read_json(folder / "unet" / "config.json").get("in_channels")
    is_base = kind == "StableDiffusionPipeline" and channels == 8  # with a trained U-Net put in
    if kind in dir(diffusers) and not is_base:
        raise CheckpointError(
            f"{folder} is a {kind}: its U-Net was not trained for ApDepth. Put a trained one over "
            "it with --unet, or name an ApDepth checkpoint"
        )


_UNETS: dict[str, Any] = {"UNet2DConditionModel": UNet2DConditionModel}
_VAES: dict[str, Any] = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}

#: Names that the VAE's attention had in diffusers before 0.15, and has in stored SD 2 checkpoints.
_OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _load_diffusers(
    folder: Path, kinds: Mapping[str, Any], check: Callable[[Mapping[str, Any], object], None]
) -> Any:
    """One of ``kinds`` (class name -> class) as float32, where ``check`` lets its configuration
    pass; its weights are read by ``read_weights``."""
    config = read_config(folder, "_class_name", list(kinds))
    check(config, folder)
    with loading(folder / "config.json"), torch.device("meta"):
        network = kinds[config.get("_class_name", next(iter(kinds)))].from_config(config)
    weights = read_weights(folder, DIFFUSERS_WEIGHTS)
    assign(network, {_rename_attention(key): weights[key] for key in weights}, str(folder))
    return network


def load_vae(folder: Path) -> AutoencoderKL | AutoencoderTiny:
    """The VAE of a ``vae/`` folder as float32. Raises CheckpointError."""
    network: AutoencoderKL | AutoencoderTiny = _load_diffusers(folder, _VAES, check_vae)
    return network


def _require_scale(folder: Path, vae: AutoencoderKL | AutoencoderTiny, rules: Conventions) -> None:
    """The U-Net knows latents of one scale; a VAE of another is another model's."""
    found = float(vae.config.scaling_factor)
    if isinstance(vae, AutoencoderKL) and not math.isclose(found, rules.latent_scale, rel_tol=1e-6):
        raise CheckpointError(
            f"{folder} has scaling_factor {found}, but the U-Net was trained with latents of scale "
            f"{rules.latent_scale}: put that VAE there, or the right latent_scale into {SPEC_FILE}"
        )


def _rename_attention(key: str) -> str:
    return re.sub(
        r"(\.mid_block\.attentions\.\d+)\.(query|key|value|proj_attn)\.",
        lambda match: f"{match[1]}.{_OLD_VAE_ATTENTION[match[2]]}.",
        key,
    )
