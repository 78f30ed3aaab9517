"""The PyTorch reference: how the parts are joined, and the random weights it is tried with."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from apdepth_deploy.errors import UsageError
from apdepth_deploy.model import STAGES, ApDepth
from apdepth_deploy.spec import PRESETS, ModelSpec, without_prior


@pytest.fixture
def pair() -> Tensor:
    """Two frames of noise, uint8 [2,64,88,3]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 64, 88, 3), dtype=torch.uint8, generator=generator)


# --- the chain -----------------------------------------------------------------------------------


def test_stages_have_their_shapes_and_end_in_the_depth(micro_model: ApDepth, pair: Tensor) -> None:
    stages = micro_model.stages(pair)
    shapes = {name: tuple(result.shape) for name, result in stages.items()}
    assert shapes == {
        "prior": (2, 3, 64, 88),
        "encoder": (2, 8, 8, 11),
        "unet": (2, 4, 8, 11),
        "decoder": (2, 64, 88),
    }
    assert tuple(stages) == STAGES == micro_model.stage_names
    assert {result.dtype for result in stages.values()} == {torch.float32}
    assert torch.equal(micro_model(pair), stages["decoder"])
    assert 0 <= stages["decoder"].min() < stages["decoder"].max() <= 1


def test_without_a_prior_there_is_no_prior_stage(micro_spec: ModelSpec, pair: Tensor) -> None:
    stages = ApDepth.from_spec(without_prior(micro_spec)).stages(pair)
    assert tuple(stages) == STAGES[1:]
    assert stages["encoder"].shape == (2, 4, 8, 11)


def test_a_batch_is_its_frames_one_by_one(micro_model: ApDepth, pair: Tensor) -> None:
    model = copy.deepcopy(micro_model).double()  # float32 sums in another order for a batch
    singles = torch.cat([model(frame[None]) for frame in pair])
    torch.testing.assert_close(model(pair), singles, rtol=0, atol=1e-6)
    assert (singles[0] - singles[1]).abs().max() > 0.01


def test_the_latents_stand_in_concat_order(micro_spec: ModelSpec, pair: Tensor) -> None:
    first = ApDepth.from_spec(micro_spec).stages(pair)["encoder"]
    rules = dataclasses.replace(micro_spec.conventions, concat=("rgb", "prior"))
    swapped = ApDepth.from_spec(dataclasses.replace(micro_spec, conventions=rules)).stages(pair)
    assert torch.equal(swapped["encoder"], first.roll(4, dims=1))


def test_the_encoder_gives_the_posteriors_mean(micro_model: ApDepth, pair: Tensor) -> None:
    stages = micro_model.stages(pair)
    with torch.no_grad():
        mean = micro_model.vae.encode(stages["prior"]).latent_dist.mode()
    torch.testing.assert_close(stages["encoder"][:, :4], mean * 0.18215, rtol=0, atol=1e-6)


def test_a_tiny_autoencoder_serves_as_vae(micro_model: ApDepth, tmp_path: Path) -> None:
    """In TAESD's layout; its latents have a scale of their own."""
    torch.manual_seed(0)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        scaling_factor=0.5,
    )
    vae.save_pretrained(tmp_path / "vae")
    micro_model.unet.save_pretrained(tmp_path / "unet")
    assert micro_model.prior is not None
    micro_model.prior.net.save_pretrained(tmp_path / "prior")
    np.save(tmp_path / "empty_text_embed.npy", micro_model.text_embedding.numpy())
    model = ApDepth.from_checkpoint(str(tmp_path))
    assert model.spec.conventions.latent_scale == 0.5

    frame = torch.full((1, 32, 40, 3), 200, dtype=torch.uint8)
    frame[:, :, 20:] = 40
    stages = model.stages(frame)
    with torch.no_grad():
        rgb = frame.permute(0, 3, 1, 2) / 127.5 - 1
        latents = torch.cat([vae.encode(x).latents for x in (stages["prior"], rgb)], dim=1)
        picture = vae.decode(stages["unet"] / 0.5).sample
    torch.testing.assert_close(stages["encoder"], latents * 0.5, rtol=0, atol=1e-6)
    depth = (picture.mean(dim=1).clip(-1, 1) + 1) / 2
    torch.testing.assert_close(stages["decoder"], depth, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 64, 88, 3), torch.float32),
        ((64, 88, 3), torch.uint8),
        ((1, 3, 64, 88), torch.uint8),
        ((1, 64, 88, 4), torch.uint8),
        ((1, 64, 90, 3), torch.uint8),
        ((1, 63, 88, 3), torch.uint8),
    ],
)
def test_frames_that_do_not_fit_are_refused(
    micro_model: ApDepth, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    with pytest.raises(UsageError, match=r"must be (uint8 \[B,H,W,3\]|multiples of 8), not"):
        micro_model(torch.zeros(shape, dtype=dtype))


# --- random weights ------------------------------------------------------------------------------


def test_a_seed_names_its_weights(micro_spec: ModelSpec) -> None:
    zero, again, one = (ApDepth.from_spec(micro_spec, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(zero[key], again[key]) for key in zero)
    same = {key for key in zero if torch.equal(zero[key], one[key])}
    assert same == {"prior.net.head.conv3.bias"}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("prior", [True, False], ids=["prior", "no prior"])
def test_random_weights_keep_the_signal_alive(seed: int, prior: bool) -> None:
    """Not the default initialisation's: there a deep network answers with its biases."""
    spec = PRESETS["tiny"] if prior else without_prior(PRESETS["tiny"])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (1, 192, 256, 3), dtype=torch.uint8, generator=generator)
    ramp = torch.arange(256).expand(192, 256)[None, :, :, None].repeat(1, 1, 1, 3).to(torch.uint8)
    model = ApDepth.from_spec(spec, seed)
    results = [model.stages(frame) for frame in (noise, ramp)]
    for stages in results:
        assert all(result.std() > 0.01 for result in stages.values())
        depth = stages["decoder"]
        assert ((depth == 0) | (depth == 1)).float().mean() < 0.01
    for name in model.stage_names:
        assert (results[0][name] - results[1][name]).std() > 0.01, "the frame must matter"
