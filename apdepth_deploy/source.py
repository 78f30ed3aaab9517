"""Where a model comes from, as data: kept in the manifest so that ``verify`` can load it again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.spec import (
    PRESETS,
    TAESD,
    VAE_SIDES,
    named_conventions,
    preset,
    tiny_vae_layout,
    with_prior_side,
    with_vae_config,
    without_prior,
)

if TYPE_CHECKING:
    from apdepth_deploy.model import ApDepth
    from apdepth_deploy.spec import ModelSpec


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """A checkpoint with what is put over it, a preset with random weights, or a model at hand.

    Attributes:
        name: checkpoint folder, hub id, or (with ``seed``) preset.
        seed: draws the weights of preset ``name``; None = trained weights.
        prior, conventions, unet, vae, vae_side, revision: see ``ApDepth.from_checkpoint``; with
            ``seed``, prior may be "none" and vae "taesd": drawn in that layout.
        prior_side: the prior's input size in place of the conventions': see ``with_prior_side``.
        model: a model in memory; ``load`` gives copies of it.
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
    model: ApDepth | None = None

    @property
    def kind(self) -> str:
        if self.model is not None:
            return "model"
        return "checkpoint" if self.seed is None else "random"

    def trained_at(self) -> tuple[tuple[int, int], ...]:
        """See ``ModelSpec.trained_at``; reads no weights. Raises CheckpointError."""
        from apdepth_deploy.checkpoint import find_folder, read_spec_file

        if self.model is not None:
            return self.model.spec.trained_at
        if self.seed is not None or self.unet is not None:
            return ()
        self._require_weights()
        return read_spec_file(find_folder(self.name, self.revision))[1]

    @property
    def label(self) -> str:
        """How to name it to a person."""
        return self.name if self.seed is None else f"{self.name} (random weights, seed {self.seed})"

    def load(self) -> ApDepth:
        """The float32 model, a new one each time. Raises CheckpointError, UsageError."""
        if self.vae_side not in VAE_SIDES or (self.vae is None and self.vae_side != "both"):
            raise UsageError(
                f"vae_side is {self.vae_side!r}: with another vae, one of {', '.join(VAE_SIDES)}"
            )
        model = self._load()
        if self.prior_side is not None:
            if model.prior is None:
                raise UsageError("the prior's side was given, but the model has no prior")
            rules = with_prior_side(model.spec.conventions, self.prior_side)
            model.spec = dataclasses.replace(model.spec, conventions=rules)
            model.prior.conventions = rules
        return model

    def _load(self) -> ApDepth:
        from apdepth_deploy.checkpoint import find_folder, require_depth
        from apdepth_deploy.model import ApDepth

        if self.model is not None:
            return copy.deepcopy(self.model)
        if self.seed is not None:
            return ApDepth.from_spec(self._random_spec(), self.seed)
        self._require_weights()
        if self.unet is None:
            require_depth(find_folder(self.name, self.revision))
        return ApDepth.from_checkpoint(
            self.name,
            prior=self.prior,
            conventions=self.conventions,
            unet=self.unet,
            vae=self.vae,
            vae_side=self.vae_side,
            revision=self.revision,
        )

    def _require_weights(self) -> None:
        from apdepth_deploy.checkpoint import shipped_folder

        has_weights = Path(self.name).is_dir() or shipped_folder(self.name) is not None
        if self.name in PRESETS and not has_weights:
            raise CheckpointError(
                f"preset {self.name} has no trained weights: add --random-weights, "
                "or give a checkpoint folder or hub id"
            )

    def _random_spec(self) -> ModelSpec:
        parts = self.prior in (None, "none") and self.vae in (None, TAESD)
        if self.unet or self.revision or not parts:
            raise UsageError(
                "random weights are drawn for a whole preset: they go with no unet, no revision, "
                f"no prior but 'none' and no vae but '{TAESD}'"
            )
        spec = preset(self.name)
        if self.conventions is not None:
            spec = dataclasses.replace(spec, conventions=named_conventions(self.conventions))
        if self.vae == TAESD:
            spec = with_vae_config(spec, tiny_vae_layout(), self.vae_side)
        return without_prior(spec) if self.prior == "none" else spec

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
