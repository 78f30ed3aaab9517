"""What a run starts from: fresh networks, a checkpoint, a narrow U-Net widened for a prior."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import CONVENTIONS, ModelSpec, without_prior
from apdepth_deploy.training.config import ModelConfig
from apdepth_deploy.training.model import fresh_model, starting_model
from apdepth_deploy.verify import sample_frames


@pytest.fixture
def narrow(micro_spec: ModelSpec, tmp_path: Path) -> Path:
    """A checkpoint like Stable Diffusion's: 4 channels into the U-Net, no prior."""
    spec = without_prior(micro_spec)
    save_checkpoint(ApDepth.from_spec(spec), tmp_path / "narrow")
    return tmp_path / "narrow"


@pytest.fixture
def prior(micro_spec: ModelSpec, tmp_path: Path) -> Path:
    save_checkpoint(ApDepth.from_spec(micro_spec, seed=1), tmp_path / "with_prior")
    return tmp_path / "with_prior" / "prior"


def test_a_seed_gives_the_same_networks(micro_spec: ModelSpec) -> None:
    first, again, other = (fresh_model(micro_spec, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_fresh_priors_contrast_is_more_than_bfloat16_rounds_away(micro_spec: ModelSpec) -> None:
    frame = torch.from_numpy(sample_frames((1, 64, 96))["photo"])
    for seed in range(3):
        prior = fresh_model(micro_spec, seed).prior
        assert prior is not None
        with torch.no_grad():
            disparity = prior.disparity(frame)
        assert disparity.std() > 20 * disparity.mean() * 2**-9  # half a step of its last bit


def test_the_widened_unet_is_the_narrow_one_for_two_equal_latents(
    narrow: Path, prior: Path
) -> None:
    before = starting_model(ModelConfig(checkpoint=str(narrow), prior="none"), seed=0)
    wide = starting_model(ModelConfig(checkpoint=str(narrow), prior=str(prior), widen=True), seed=0)
    assert wide.spec.unet["in_channels"] == 8
    assert wide.spec.conventions == CONVENTIONS["v1.1"]
    latent = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # in float64: twice the sums, in another order
        found = wide.double().denoise(torch.cat([latent, latent], 1))
        torch.testing.assert_close(found, before.double().denoise(latent))


def test_the_widened_model_is_a_checkpoint_like_any_other(
    narrow: Path, prior: Path, tmp_path: Path
) -> None:
    wide = starting_model(ModelConfig(checkpoint=str(narrow), prior=str(prior), widen=True), seed=0)
    save_checkpoint(wide, tmp_path / "wide")
    again = ApDepth.from_checkpoint(str(tmp_path / "wide"))
    frame = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(again(frame), wide(frame))


def test_a_vae_put_over_brings_its_scale(
    micro_spec: ModelSpec, prior: Path, tmp_path: Path
) -> None:
    vae = {**micro_spec.vae, "scaling_factor": 0.5}
    rules = dataclasses.replace(micro_spec.conventions, latent_scale=0.5)
    other = ApDepth.from_spec(dataclasses.replace(micro_spec, vae=vae, conventions=rules), seed=7)
    save_checkpoint(other, tmp_path / "other")
    config = ModelConfig(checkpoint=str(prior.parent), vae=str(tmp_path / "other" / "vae"))
    model = starting_model(config, seed=0)
    assert model.spec.conventions.latent_scale == 0.5
    frame = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        ours, theirs = model.stages(frame), other.stages(frame)
        base = ApDepth.from_checkpoint(str(prior.parent)).stages(frame)
    torch.testing.assert_close(ours["prior"], base["prior"])
    rgb = slice(4, 8)  # after the prior in v1.1
    torch.testing.assert_close(ours["encoder"][:, rgb], theirs["encoder"][:, rgb])


def test_a_unet_that_is_not_widened_does_not_fit_a_prior(narrow: Path, prior: Path) -> None:
    with pytest.raises(CheckpointError):
        starting_model(ModelConfig(checkpoint=str(narrow), prior=str(prior)), seed=0)
