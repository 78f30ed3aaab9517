"""Specs that more than one file exports."""

from __future__ import annotations

import dataclasses

import pytest

from apdepth_deploy.spec import ModelSpec


@pytest.fixture(scope="module")
def tiny_vae_spec(micro_spec) -> ModelSpec:
    vae = {
        "_class_name": "AutoencoderTiny",
        "encoder_block_out_channels": [8, 8, 8, 8],
        "decoder_block_out_channels": [8, 8, 8, 8],
        "num_encoder_blocks": [1, 1, 1, 1],
        "num_decoder_blocks": [1, 1, 1, 1],
        "latent_channels": 4,
    }
    return dataclasses.replace(micro_spec, vae=vae)
