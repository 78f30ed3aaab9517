"""Checkpoints in and out, a file for each source."""

from apdepth_deploy.checkpoint.diffusers_layout import (
    assemble,
    find_folder,
    load_checkpoint,
    load_prior,
    load_vae,
    original_prior_config,
    rename_original_prior,
    save_checkpoint,
    shipped_folder,
    with_scale_of,
)

__all__ = [
    "assemble",
    "find_folder",
    "load_checkpoint",
    "load_prior",
    "load_vae",
    "original_prior_config",
    "rename_original_prior",
    "save_checkpoint",
    "shipped_folder",
    "with_scale_of",
]
