"""What a model is made of, as plain data: network configurations, conventions, presets.

Knows nothing about torch: a bundle's reader uses it on machines that have none.
"""

from apdepth_deploy.spec.conventions import (
    CONVENTIONS,
    Conventions,
    conventions_from_json,
    named_conventions,
    with_prior_side,
)
from apdepth_deploy.spec.model_spec import (
    VAE_SIDES,
    ModelSpec,
    default_size,
    frame_size,
    is_tiny_vae,
    sizes_from_json,
    with_vae_config,
    without_prior,
)
from apdepth_deploy.spec.presets import (
    DEPTH_ANYTHING_V2,
    PRESETS,
    TAESD,
    preset,
    prior_licence,
    tiny_vae_layout,
)
from apdepth_deploy.spec.source import ModelSource

__all__ = [
    "CONVENTIONS",
    "DEPTH_ANYTHING_V2",
    "PRESETS",
    "TAESD",
    "VAE_SIDES",
    "Conventions",
    "ModelSource",
    "ModelSpec",
    "conventions_from_json",
    "default_size",
    "frame_size",
    "is_tiny_vae",
    "named_conventions",
    "preset",
    "prior_licence",
    "sizes_from_json",
    "tiny_vae_layout",
    "with_prior_side",
    "with_vae_config",
    "without_prior",
]
