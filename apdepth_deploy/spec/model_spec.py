"""What a model is made of, as plain data: network configurations, conventions, presets.

Knows nothing about torch: a bundle's reader uses it on machines that have none.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from apdepth_deploy.errors import CheckpointError, UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Conventions:
    """Everything about the chain that weights alone don't tell.

    The defaults are those of the authors' release V1-1, read in its code.
    """

    name: str = "v1.1"
    #: Prior input: (rgb / 255 - mean) / std. The authors feed [-1, 1], not ImageNet statistics.
    prior_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    prior_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    #: Prior size: None rounds H and W up to whole patches; a number is what the shorter side gets.
    prior_side: int | None = None
    #: DINOv2 resamples its position table with the scale (n + offset) / N; transformers uses 0.
    position_offset: float = 0.1
    #: "raw": ReLU disparity as it is; "minmax": each image's disparity stretched to [-1, 1].
    prior_output: str = "raw"
    #: Order of the latents at the U-Net's input.
    concat: tuple[str, ...] = ("prior", "rgb")
    timestep: int = 1
    #: U-Net latent = VAE latent x this.
    latent_scale: float = 0.18215

    def __post_init__(self) -> None:
        rules = {
            "prior_mean": (_are_numbers(self.prior_mean, 3), "three numbers"),
            "prior_std": (
                _are_numbers(self.prior_std, 3) and all(n > 0 for n in self.prior_std),
                "three numbers above 0",
            ),
            "prior_side": (
                self.prior_side is None or (type(self.prior_side) is int and self.prior_side > 0),
                "null or a number of pixels",
            ),
            "position_offset": (_are_numbers((self.position_offset,), 1), "a number"),
            "prior_output": (self.prior_output in ("raw", "minmax"), "'raw' or 'minmax'"),
            "concat": (
                self.concat in (("prior", "rgb"), ("rgb", "prior"), ("rgb",)),
                "an order of 'prior' and 'rgb'",
            ),
            "timestep": (type(self.timestep) is int and self.timestep >= 0, "a whole number"),
            "latent_scale": (
                _are_numbers((self.latent_scale,), 1) and self.latent_scale > 0,
                "a number above 0",
            ),
        }
        for field, (holds, rule) in rules.items():
            if not holds:
                value = getattr(self, field)
                raise CheckpointError(f"conventions: {field} is {value!r}; it must be {rule}")


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(type(n) in (int, float) for n in values)
    )


CONVENTIONS: dict[str, Conventions] = {
    "v1.1": Conventions(),
    "normalized": Conventions(
        name="normalized",
        prior_mean=IMAGENET_MEAN,
        prior_std=IMAGENET_STD,
        position_offset=0.0,
        prior_output="minmax",
    ),
}


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One model: three network configurations in their libraries' own terms, and the conventions.

    Attributes:
        name: a preset's name, or the checkpoint's.
        unet: configuration of diffusers' ``UNet2DConditionModel``.
        vae: configuration of ``AutoencoderKL`` or ``AutoencoderTiny``, as ``_class_name`` says.
        prior: configuration of transformers' ``DepthAnythingForDepthEstimation``; None = no prior.
        text_shape: (tokens, channels) of the constant empty-text embedding.
        conventions: how the parts are joined.
        decoder: configuration of another VAE of the same latents that decodes in the place of
            ``vae``, with its own scale; None = ``vae`` does both.
    """

    name: str
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    prior: Mapping[str, Any] | None
    text_shape: tuple[int, int]
    conventions: Conventions
    decoder: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        expected = 4 if self.prior is None else 8
        channels = self.unet.get("in_channels", 4)
        if channels != expected:
            with_prior = "no prior" if self.prior is None else "a prior"
            fix = {8: "pass --prior", 4: "use --prior none"}.get(channels, "it must be 4 or 8")
            raise CheckpointError(
                f"the U-Net takes {channels} channels, but {with_prior} gives {expected}: {fix}"
            )

    @property
    def latent_stride(self) -> int:
        """Pixels per latent: height and width must be multiples of it."""
        key = "encoder_block_out_channels" if is_tiny_vae(self.vae) else "block_out_channels"
        return int(2 ** (len(self.vae[key]) - 1))

    @property
    def decoding(self) -> Mapping[str, Any]:
        """Configuration of the VAE that decodes."""
        return self.vae if self.decoder is None else self.decoder

    @property
    def decoding_scale(self) -> float:
        """U-Net latent = latent of the VAE that decodes x this."""
        if self.decoder is None:
            return self.conventions.latent_scale
        return float(self.decoder["scaling_factor"])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only; ``from_json`` gives back an equal spec."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Raises CheckpointError where a field is missing or unknown."""
        try:
            conventions = conventions_from_json(data["conventions"])
            fields = {**data, "conventions": conventions, "text_shape": tuple(data["text_shape"])}
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the model description is not one of ours: {error}") from error


def conventions_from_json(data: Mapping[str, Any]) -> Conventions:
    """Raises CheckpointError where a field is unknown."""
    known = {field.name for field in dataclasses.fields(Conventions)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise CheckpointError(f"unknown conventions: {', '.join(unknown)}; known: {sorted(known)}")
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return Conventions(**fields)


def named_conventions(name: str) -> Conventions:
    """Raises UsageError for a name that is not in ``CONVENTIONS``."""
    if name not in CONVENTIONS:
        raise UsageError(f"unknown conventions {name!r}: choose one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


#: The authors' rule for the prior's input size, beside a number of pixels for its shorter side.
WHOLE_FRAME = "frame"


def with_prior_side(rules: Conventions, side: str) -> Conventions:
    """The rules with another input size of the prior: pixels of its shorter side, or "frame".

    Raises UsageError for anything else.
    """
    if side != WHOLE_FRAME and not (side.isdecimal() and int(side) > 0):
        raise UsageError(
            f"the prior's side is a number of pixels such as 518, or '{WHOLE_FRAME}', not {side!r}"
        )
    pixels = None if side == WHOLE_FRAME else int(side)
    name = f"{rules.name.partition('-')[0]}-{side}"
    return dataclasses.replace(rules, name=name, prior_side=pixels)


# --- presets -------------------------------------------------------------------------------------

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


def without_prior(spec: ModelSpec) -> ModelSpec:
    """The ablation's base row: the same model with a 4-channel U-Net and no prior."""
    conventions = dataclasses.replace(spec.conventions, concat=("rgb",))
    unet = {**spec.unet, "in_channels": 4}
    return dataclasses.replace(spec, unet=unet, prior=None, conventions=conventions)


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


def is_tiny_vae(config: Mapping[str, Any]) -> bool:
    """Whether a VAE's configuration is an ``AutoencoderTiny``'s."""
    return config.get("_class_name") == "AutoencoderTiny"


#: What another VAE takes over: one side of the model's, or both.
VAE_SIDES = ("both", "encoder", "decoder")


def with_vae_config(spec: ModelSpec, vae: Mapping[str, Any], side: str = "both") -> ModelSpec:
    """The same model with a VAE of configuration ``vae`` on one of ``VAE_SIDES``, and its scale."""
    if side == "decoder":
        return dataclasses.replace(spec, decoder=vae)
    scale = float(vae["scaling_factor"])
    conventions = dataclasses.replace(spec.conventions, latent_scale=scale)
    decoder = (
        {**spec.decoding, "scaling_factor": spec.decoding_scale} if side == "encoder" else None
    )
    return dataclasses.replace(spec, vae=vae, conventions=conventions, decoder=decoder)


# --- licences ------------------------------------------------------------------------------------


def prior_licence(spec: ModelSpec) -> str | None:
    """Licence of the Depth Anything V2 weights of this size; None where the size is not theirs."""
    if spec.prior is None:
        return None
    hidden = spec.prior["reassemble_hidden_size"]
    sizes = {384: "Apache-2.0", 768: "CC-BY-NC-4.0", 1024: "CC-BY-NC-4.0", 1536: "CC-BY-NC-4.0"}
    return sizes.get(hidden)
