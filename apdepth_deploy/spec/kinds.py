"""What the chain takes for granted of each network, held against its configuration.

Networks of another kind can have tensors of the same names and shapes: their weights load, and the
depth is wrong. Knows neither files nor torch; what a configuration leaves out is its library's
default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apdepth_deploy.errors import CheckpointError

Config = Mapping[str, Any]
#: field -> (what it may be, the default first where there are several; what the chain needs).
Rules = Mapping[str, tuple[tuple[Any, ...], str]]

_PRIOR: Rules = {
    "depth_estimation_type": (
        ("relative",),
        "the chain takes disparity, near = large, and metric depth is near = small: use "
        "Depth Anything V2 itself, not one of its metric models",
    ),
    "max_depth": ((None, 1), "only metric models have one, and the chain takes disparity"),
    "backbone": ((None,), "it must be a DINOv2 described in backbone_config"),
    "use_timm_backbone": ((None, False), "it must be a DINOv2 of transformers"),
}
_BACKBONE: Rules = {
    "model_type": (("dinov2",), "Depth Anything V2 stands on DINOv2, without registers"),
    "num_channels": ((3,), "it must see RGB"),
    "apply_layernorm": ((True,), "the head takes normalised features: it must be true"),
    "reshape_hidden_states": ((False,), "the head takes a list of tokens: it must be false"),
}
_UNET: Rules = {
    "in_channels": ((4, 8), "it must take the picture's latent of 4 channels, or the prior's too"),
    "out_channels": ((4,), "it must give the 4 channels of a depth latent"),
    **dict.fromkeys(
        ("class_embed_type", "num_class_embeds", "addition_embed_type", "encoder_hid_dim"),
        ((None,), "it must take a latent, a timestep and a text, and nothing more"),
    ),
}
_ANY_VAE: Rules = {
    "in_channels": ((3,), "it must encode RGB"),
    "out_channels": ((3,), "it must give a picture of 3 channels"),
    "latent_channels": ((4,), "the U-Net takes Stable Diffusion 1's and 2's latents of 4"),
    "shift_factor": ((None, 0), "the latents must have a scale alone: those are of a later model"),
}
_KL_VAE: Rules = {
    **dict.fromkeys(
        ("latents_mean", "latents_std"), ((None,), "the latents must have one scale for all")
    ),
    **dict.fromkeys(
        ("use_quant_conv", "use_post_quant_conv"), ((True,), "the latent goes through quant_conv")
    ),
}


def check_prior(config: Config, what: object) -> None:
    """Depth Anything V2 that gives disparity; ``what`` names it in messages.

    Raises CheckpointError, as all of these do.
    """
    _check(config, _PRIOR, what)
    backbone = config.get("backbone_config") or {}
    if backbone:
        _check({"reshape_hidden_states": True, **backbone}, _BACKBONE, f"{what}'s backbone")
    patches = config.get("patch_size", 14), backbone.get("patch_size", 14)
    if patches[0] != patches[1]:
        raise CheckpointError(f"{what} has patches of {patches[0]}, but its backbone {patches[1]}")


def check_unet(config: Config, what: object) -> None:
    """A U-Net from a latent to a latent."""
    _check(config, _UNET, what)


def check_vae(config: Config, what: object) -> None:
    """An ``AutoencoderKL`` or ``AutoencoderTiny`` with Stable Diffusion's latents of 4 channels."""
    tiny = config.get("_class_name") == "AutoencoderTiny"
    _check(config, _ANY_VAE if tiny else {**_ANY_VAE, **_KL_VAE}, what)


def _check(config: Config, rules: Rules, what: object) -> None:
    for field, (allowed, need) in rules.items():
        value = config.get(field, allowed[0])
        if value not in allowed:
            found = f"{field} is {value!r:.60}"
            raise CheckpointError(f"{what} is a network of another kind: {found}, but {need}")
