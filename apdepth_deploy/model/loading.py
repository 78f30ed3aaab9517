"""A model from where it comes: ``ModelSource`` -> ``ApDepth``."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

from apdepth_deploy.checkpoint import find_folder, read_spec_file, require_depth, shipped_folder
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
