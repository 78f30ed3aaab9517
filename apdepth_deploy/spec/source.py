"""Where a model comes from: kept in the manifest so that ``verify`` can load it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apdepth_deploy.errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """A checkpoint with what is put over it, a preset with random weights, or a model at hand.

    Attributes:
        name: checkpoint folder, hub id, or (with ``seed``) preset.
        seed: draws the weights of preset ``name``; None = trained weights.
        prior, conventions, unet, vae, vae_side, revision: see ``ApDepth.from_checkpoint``; with
            ``seed``, prior may be "none" and vae "taesd": drawn in that layout.
        prior_side: the prior's input size in place of the conventions': see ``with_prior_side``.
        model: an ``ApDepth`` in memory, of which each loading is a copy.
    """

    name: str
    seed: int | None = None
    prior: str | None = None
    conventions: str | None = None
    unet: str | None = None
    vae: str | None = None
    vae_side: str = "both"
    prior_side: str | None = None
    revision: str | None = None
    model: Any = None

    @property
    def kind(self) -> str:
        if self.model is not None:
            return "model"
        return "checkpoint" if self.seed is None else "random"

    @property
    def label(self) -> str:
        """How to name it to a person."""
        return self.name if self.seed is None else f"{self.name} (random weights, seed {self.seed})"

    def to_json(self) -> dict[str, Any]:
        """The manifest's ``source``: {"kind", and the fields that are set}, with absolute paths."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["model"]
        if self.kind == "checkpoint":
            fields |= {key: _absolute(fields[key]) for key in ("name", "prior", "unet", "vae")}
        return {"kind": self.kind, **{k: v for k, v in fields.items() if v is not None}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSource:
        """Raises CheckpointError where the manifest can't say where the weights are."""
        if data.get("kind") == "model":
            raise CheckpointError(
                "the bundle was made from a model in memory: pass --checkpoint to name its weights"
            )
        try:
            return cls(**{key: value for key, value in data.items() if key != "kind"})
        except TypeError as error:
            raise CheckpointError(f"the manifest's source is not one of ours: {error}") from error


def _absolute(place: str | None) -> str | None:
    """A local path as it is found from any folder; hub ids and "none" as they are."""
    if place is None or place == "none" or not Path(place).exists():
        return place
    return str(Path(place).resolve())
