"""Models by name, for size, speed and numerics: networks in their libraries' own terms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from apdepth_deploy.errors import UsageError
from apdepth_deploy.spec.conventions import CONVENTIONS
from apdepth_deploy.spec.model_spec import ModelSpec

_SD21_UNET: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "layers_per_block": 2,
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
    "upcast_attention": True,
    "norm_num_groups": 32,
}


_SD21_VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}


_TINY_UNET: dict[str, Any] = {
    **_SD21_UNET,
    "block_out_channels": [32, 64, 128, 128],
    "layers_per_block": 1,
    "attention_head_dim": [1, 2, 4, 4],
    "cross_attention_dim": 64,
    "norm_num_groups": 16,
}


_TINY_VAE: dict[str, Any] = {
    **_SD21_VAE,
    "block_out_channels": [8, 16, 32, 64],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}


def _depth_anything(
    hidden: int, layers: int, heads: int, fusion: int, neck: list[int], indices: list[int]
) -> dict[str, Any]:
    """Configuration of Depth Anything V2 at one size, in transformers' terms."""
    return {
        "backbone_config": {
            "model_type": "dinov2",
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "image_size": 518,
            "patch_size": 14,
            "use_swiglu_ffn": hidden == 1536,
            "out_indices": indices,
            "apply_layernorm": True,
            "reshape_hidden_states": False,
        },
        "patch_size": 14,
        "reassemble_hidden_size": hidden,
        "neck_hidden_sizes": neck,
        "fusion_hidden_size": fusion,
        "head_hidden_size": 32,
    }


#: Depth Anything V2 by the letter in the authors' file names (depth_anything_v2_vit{s,b,l,g}.pth).
DEPTH_ANYTHING_V2: dict[str, dict[str, Any]] = {
    "s": _depth_anything(384, 12, 6, 64, [48, 96, 192, 384], [3, 6, 9, 12]),
    "b": _depth_anything(768, 12, 12, 128, [96, 192, 384, 768], [3, 6, 9, 12]),
    "l": _depth_anything(1024, 24, 16, 256, [256, 512, 1024, 1024], [5, 12, 18, 24]),
    "g": _depth_anything(1536, 40, 24, 384, [1536, 1536, 1536, 1536], [10, 20, 30, 40]),
}


_TINY_PRIOR = _depth_anything(96, 6, 3, 32, [16, 24, 32, 48], [2, 3, 5, 6])


def _preset(name: str, prior: Mapping[str, Any]) -> ModelSpec:
    return ModelSpec(name, _SD21_UNET, _SD21_VAE, prior, (2, 1024), CONVENTIONS["v1.1"])


#: A prior this small knows pictures of one size: any frame's shorter side becomes 140 pixels.
_TINY_CONVENTIONS = dataclasses.replace(
    CONVENTIONS["normalized"], name="normalized-140", prior_side=140
)


PRESETS: dict[str, ModelSpec] = {
    "tiny": ModelSpec("tiny", _TINY_UNET, _TINY_VAE, _TINY_PRIOR, (2, 64), _TINY_CONVENTIONS),
    "small": _preset("small", DEPTH_ANYTHING_V2["s"]),
    "base": _preset("base", DEPTH_ANYTHING_V2["b"]),
    "large": _preset("large", DEPTH_ANYTHING_V2["l"]),
    "giant": _preset("giant", DEPTH_ANYTHING_V2["g"]),
}


def preset(name: str) -> ModelSpec:
    """Raises UsageError for a name that is not in ``PRESETS``."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


#: The light VAE's layout (github.com/madebyollin/taesd), as ``--vae`` names it for random weights.
TAESD = "taesd"


def tiny_vae_layout(width: int = 64) -> dict[str, Any]:
    """Configuration of an ``AutoencoderTiny`` laid out as TAESD, ``width`` channels wide."""
    return {
        "_class_name": "AutoencoderTiny",
        "encoder_block_out_channels": [width] * 4,
        "decoder_block_out_channels": [width] * 4,
        "num_encoder_blocks": [1, 3, 3, 3],
        "num_decoder_blocks": [3, 3, 3, 1],
        "latent_channels": 4,
        "scaling_factor": 1.0,
    }


def prior_licence(spec: ModelSpec) -> str | None:
    """Licence of the Depth Anything V2 weights of this size; None where the size is not theirs."""
    if spec.prior is None:
        return None
    hidden = spec.prior["reassemble_hidden_size"]
    sizes = {384: "Apache-2.0", 768: "CC-BY-NC-4.0", 1024: "CC-BY-NC-4.0", 1536: "CC-BY-NC-4.0"}
    return sizes.get(hidden)
