"""How the parts of a model are joined: what its weights alone don't tell, as plain data.

    prior's input   x = (rgb / 255 - prior_mean) / prior_std, resized by prior_side
    prior's output  q = disparity, or 2 (q - min q) / (max q - min q) - 1 for each picture (minmax)
    U-Net's input   z = latent_scale E(concat[0]) and latent_scale E(concat[1]), in that order
    U-Net           z0 = U(z, timestep, text)
    depth           clip(mean(D(z0 / latent_scale)), -1, 1) / 2 + 1/2

E and D are the VAE's sides. docs/conventions.md says where each comes from.
"""

from __future__ import annotations

import dataclasses
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
                self.prior_side is None or is_count(self.prior_side, 1, 2**16),
                "null or a number of pixels",
            ),
            "position_offset": (_are_numbers((self.position_offset,), 1), "a number"),
            "prior_output": (self.prior_output in ("raw", "minmax"), "'raw' or 'minmax'"),
            "concat": (
                self.concat in (("prior", "rgb"), ("rgb", "prior"), ("rgb",)),
                "an order of 'prior' and 'rgb'",
            ),
            "timestep": (is_count(self.timestep, 0, 2**31), "a whole number"),
            "latent_scale": (
                _are_numbers((self.latent_scale,), 1) and self.latent_scale > 0,
                "a number above 0",
            ),
        }
        for field, (holds, rule) in rules.items():
            if not holds:
                value = getattr(self, field)
                raise CheckpointError(f"conventions: {field} is {value!r}; it must be {rule}")


def is_count(value: Any, low: int, end: int) -> bool:
    """Whether it is a whole number from ``low`` on, below ``end``."""
    return type(value) is int and low <= value < end


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(type(n) in (int, float) and abs(n) < 1e9 for n in values)
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
