"""One model as plain data: three network configurations and the conventions that join them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.spec.conventions import Conventions, conventions_from_json, is_count


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
        trained_at: (height, width) of the frames that the U-Net was trained on; () = not known.
    """

    name: str
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    prior: Mapping[str, Any] | None
    text_shape: tuple[int, int]
    conventions: Conventions
    decoder: Mapping[str, Any] | None = None
    trained_at: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not all(map(_is_frame_size, self.trained_at)):
            raise CheckpointError(
                f"trained_at is {str(self.trained_at)[:60]}; it must be a list of [height, width]"
            )
        expected = 4 if self.prior is None else 8
        channels = self.unet.get("in_channels", 4)
        if channels != expected:
            with_prior = "no prior" if self.prior is None else "a prior"
            fix = {8: "pass --prior", 4: "use --prior none"}.get(channels, "it must be 4 or 8")
            raise CheckpointError(
                f"the U-Net takes {channels} channels, but {with_prior} gives {expected}: {fix}"
            )

        if self.decoder is not None and _stride(self.decoder) != self.latent_stride:
            raise CheckpointError(
                f"the VAE that encodes has a latent for {self.latent_stride} pixels, and the one "
                f"that decodes for {_stride(self.decoder)}: they must have the same latents"
            )

    @property
    def latent_stride(self) -> int:
        """Pixels per latent: height and width must be multiples of it."""
        return _stride(self.vae)

    @property
    def coarsest_stride(self) -> int:
        """Pixels per place of the U-Net's lowest level."""
        return int(self.latent_stride * 2 ** (len(self.unet["block_out_channels"]) - 1))

    @property
    def default_size(self) -> tuple[int, int]:
        """See the function of that name."""
        return default_size(self.trained_at)

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
        if not self.trained_at:  # as before there was such a thing
            del plain["trained_at"]
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Raises CheckpointError where a field is missing or unknown."""
        try:
            conventions = conventions_from_json(data["conventions"])
            fields = {**data, "conventions": conventions, "text_shape": tuple(data["text_shape"])}
            return cls(**fields | {"trained_at": sizes_from_json(data.get("trained_at", []))})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the model description is not one of ours: {error}") from error


def default_size(trained_at: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """(height, width) of a frame where none is asked for: the largest in training, or 480x640."""
    return max(trained_at, key=math.prod, default=(480, 640))


def frame_size(size: tuple[int, ...]) -> str:
    """(height, width) to a person: "480x640"."""
    return "x".join(map(str, size))


def sizes_from_json(data: Any) -> tuple[tuple[int, int], ...]:
    """``ModelSpec.trained_at`` of its JSON form. Raises TypeError where it is something else."""
    return tuple(tuple(size) for size in data)


def _is_frame_size(size: Any) -> bool:
    return len(size) == 2 and all(is_count(n, 1, 2**16) for n in size)


def without_prior(spec: ModelSpec) -> ModelSpec:
    """The ablation's base row: the same model with a 4-channel U-Net and no prior."""
    conventions = dataclasses.replace(spec.conventions, concat=("rgb",))
    unet = {**spec.unet, "in_channels": 4}
    return dataclasses.replace(spec, unet=unet, prior=None, conventions=conventions)


def _stride(vae: Mapping[str, Any]) -> int:
    """Pixels per latent of a VAE."""
    key = "encoder_block_out_channels" if is_tiny_vae(vae) else "block_out_channels"
    return int(2 ** (len(vae[key]) - 1))


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
