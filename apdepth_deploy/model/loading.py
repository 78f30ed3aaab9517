"""A model from where it comes: ``ModelSource`` -> ``ApDepth``."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

from apdepth_deploy.checkpoint import (
    card_license,
    find_folder,
    read_spec_file,
    require_depth,
    shipped_folder,
)
from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.model.apdepth import ApDepth
from apdepth_deploy.spec import (
    PRESETS,
    TAESD,
    VAE_SIDES,
    ModelSource,
    ModelSpec,
    named_conventions,
    preset,
    prior_licence,
    tiny_vae_layout,
    with_prior_side,
    with_vae_config,
    without_prior,
)


def load_model(source: ModelSource) -> ApDepth:
    """The float32 model, a new one each time. Raises CheckpointError, UsageError."""
    if source.vae_side not in VAE_SIDES or (source.vae is None and source.vae_side != "both"):
        raise UsageError(
            f"vae_side is {source.vae_side!r}: with another vae, one of {', '.join(VAE_SIDES)}"
        )
    model = _load(source)
    if source.prior_side is not None:
        if model.prior is None:
            raise UsageError("the prior's side was given, but the model has no prior")
        rules = with_prior_side(model.spec.conventions, source.prior_side)
        model.spec = dataclasses.replace(model.spec, conventions=rules)
        model.prior.conventions = rules
    return model


def trained_at(source: ModelSource) -> tuple[tuple[int, int], ...]:
    """See ``ModelSpec.trained_at``; reads no weights. Raises CheckpointError."""
    if source.model is not None:
        sizes: tuple[tuple[int, int], ...] = source.model.spec.trained_at
        return sizes
    if source.seed is not None or source.unet is not None:
        return ()
    _require_weights(source.name)
    return read_spec_file(find_folder(source.name, source.revision))[1]


def licenses(source: ModelSource, spec: ModelSpec, weights: str | None) -> dict[str, str | None]:
    """Licence of each part of a model, None where none is stated: "weights", what was put over
    them ("unet", "vae"), and "prior".

    As the parts' cards say; a prior without one, as Depth Anything V2's of its size is licensed.

    Args:
        weights: what is asked for, in place of the checkpoint's card.

    Raises CheckpointError for a card that can't be read.
    """
    found = {"weights": weights}
    if weights is None and source.kind == "checkpoint":
        found["weights"] = card_license(find_folder(source.name, source.revision))
    over = {part: getattr(source, part) for part in ("unet", "vae", "prior")}
    cards = {
        part: card_license(find_folder(place))
        for part, place in over.items()
        if source.kind == "checkpoint" and place and not Path(place).is_file() and place != "none"
    }
    prior = cards.pop("prior", None)
    found |= cards
    if spec.prior is not None:
        found["prior"] = (
            prior or prior_licence(spec) or (None if over["prior"] else found["weights"])
        )
    return found


def _load(source: ModelSource) -> ApDepth:
    if source.model is not None:
        model: ApDepth = copy.deepcopy(source.model)
        return model
    if source.seed is not None:
        return ApDepth.from_spec(_random_spec(source), source.seed)
    _require_weights(source.name)
    if source.unet is None:
        require_depth(find_folder(source.name, source.revision))
    return ApDepth.from_checkpoint(
        source.name,
        prior=source.prior,
        conventions=source.conventions,
        unet=source.unet,
        vae=source.vae,
        vae_side=source.vae_side,
        revision=source.revision,
    )


def _require_weights(name: str) -> None:
    has_weights = Path(name).is_dir() or shipped_folder(name) is not None
    if name in PRESETS and not has_weights:
        raise CheckpointError(
            f"preset {name} has no trained weights: add --random-weights, "
            "or give a checkpoint folder or hub id"
        )


def _random_spec(source: ModelSource) -> ModelSpec:
    parts = source.prior in (None, "none") and source.vae in (None, TAESD)
    if source.unet or source.revision or not parts:
        raise UsageError(
            "random weights are drawn for a whole preset: they go with no unet, no revision, "
            f"no prior but 'none' and no vae but '{TAESD}'"
        )
    spec = preset(source.name)
    if source.conventions is not None:
        spec = dataclasses.replace(spec, conventions=named_conventions(source.conventions))
    if source.vae == TAESD:
        spec = with_vae_config(spec, tiny_vae_layout(), source.vae_side)
    return without_prior(spec) if source.prior == "none" else spec
