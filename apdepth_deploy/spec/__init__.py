"""What a model is made of, as plain data: network configurations, conventions, presets.

Knows nothing about torch: a bundle's reader uses it on machines that have none.
"""

from apdepth_deploy.spec.model_spec import (
    CONVENTIONS,
    DEPTH_ANYTHING_V2,
    PRESETS,
    TAESD,
    VAE_SIDES,
    Conventions,
    ModelSpec,
    conventions_from_json,
    is_tiny_vae,
    named_conventions,
    preset,
    prior_licence,
    tiny_vae_layout,
    with_prior_side,
    with_vae_config,
    without_prior,
)

__all__ = [
    "CONVENTIONS",
    "DEPTH_ANYTHING_V2",
    "PRESETS",
    "TAESD",
    "VAE_SIDES",
    "Conventions",
    "ModelSpec",
    "conventions_from_json",
    "is_tiny_vae",
    "named_conventions",
    "preset",
    "prior_licence",
    "tiny_vae_layout",
    "with_prior_side",
    "with_vae_config",
    "without_prior",
]
