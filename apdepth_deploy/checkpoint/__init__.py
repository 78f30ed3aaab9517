"""Checkpoints in and out, a file for each source: no other folder knows names of files and keys.

Gives parts; what joins them is ``apdepth_deploy.model``, which this knows nothing about.
"""

from apdepth_deploy.checkpoint.card import card_license
from apdepth_deploy.checkpoint.diffusers_layout import (
    load_checkpoint,
    load_vae,
    read_spec_file,
    require_depth,
)
from apdepth_deploy.checkpoint.original_prior import original_prior_config
from apdepth_deploy.checkpoint.parts import Parts, assemble, with_scale_of
from apdepth_deploy.checkpoint.places import find_folder, shipped_folder
from apdepth_deploy.checkpoint.saving import save_checkpoint
from apdepth_deploy.checkpoint.transformers_layout import load_prior

__all__ = [
    "Parts",
    "assemble",
    "card_license",
    "find_folder",
    "load_checkpoint",
    "load_prior",
    "load_vae",
    "original_prior_config",
    "read_spec_file",
    "require_depth",
    "save_checkpoint",
    "shipped_folder",
    "with_scale_of",
]
