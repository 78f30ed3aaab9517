"""Every fold alone, in float64, against the layers as the libraries run them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from apdepth_deploy.export.folding.cross_attention import (
    SigmoidAttention,
    cross_attention_into_sigmoid,
)
from apdepth_deploy.export.folding.decoder_scale import latent_scale_into_decoder
from apdepth_deploy.export.folding.depth import depth_into_decoder
from apdepth_deploy.export.folding.encoder_scale import latent_scale_into_encoder
from apdepth_deploy.export.folding.feed_forward_bias import feed_forward_bias_into_projection
from apdepth_deploy.export.folding.key_bias import key_bias_out_of_softmax
from apdepth_deploy.export.folding.layer_scale import layer_scale_into_linears
from apdepth_deploy.export.folding.pixel_linears import pixel_linears_into_convolutions
from apdepth_deploy.export.folding.timestep import timestep_into_biases
from apdepth_deploy.export.folding.tiny_ranges import ranges_into_tiny_decoder
from apdepth_deploy.export.folding.upsampling import (
    DoublingConvolution,
    upsampling_into_convolution,
)
from apdepth_deploy.export.folding.value_bias import value_bias_into_output
from apdepth_deploy.export.folding.zero_mask import zero_mask_out_of_prior
from apdepth_deploy.model import ApDepth

SCALE = 0.18215


@pytest.fixture(scope="module")
def exact_model(micro_spec) -> ApDepth:
    """Read only."""
    return ApDepth.from_spec(micro_spec).double()


@pytest.fixture(scope="module")
def exact_tiny_vae_model(tiny_vae_spec) -> ApDepth:
    """Read only."""
    return ApDepth.from_spec(tiny_vae_spec).double()


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def folded(model: ApDepth, apply: Callable[[ApDepth], str | None]) -> ApDepth:
    model = copy.deepcopy(model)
    assert apply(model) is None
    return model


def assert_equal(found: Tensor, expected: Tensor) -> None:
    """To 1e-10 of the largest value, borders included."""
    assert found.shape == expected.shape and expected.std() > 0.01
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()


def run_unet(model: ApDepth, latents: Tensor) -> Tensor:
    text = model.text_embedding.expand(len(latents), -1, -1)
    return model.unet(latents, 1, encoder_hidden_states=text).sample


def test_the_timestep_goes_into_biases(exact_model):
    latents = normal(2, 8, 8, 11)
    model = folded(exact_model, timestep_into_biases)
    assert_equal(run_unet(model, latents), run_unet(exact_model, latents))
    names = [name for name, _ in model.unet.named_parameters()]
    assert not [name for name in names if "time" in name]


def test_each_timestep_has_its_own_biases(exact_model):
    """A conventions' timestep of 999, not the usual 1."""
    other = copy.deepcopy(exact_model)
    rules = dataclasses.replace(other.spec.conventions, timestep=999)
    other.spec = dataclasses.replace(other.spec, conventions=rules)
    latents, text = normal(1, 8, 8, 8), other.text_embedding
    expected = other.unet(latents, 999, encoder_hidden_states=text).sample
    assert (expected - run_unet(other, latents)).abs().max() > 1e-3
    assert_equal(run_unet(folded(other, timestep_into_biases), latents), expected)


def test_cross_attention_to_two_tokens_is_a_sigmoid(exact_model):
    latents = normal(2, 8, 8, 11)
    model = folded(exact_model, cross_attention_into_sigmoid)
    assert_equal(run_unet(model, latents), run_unet(exact_model, latents))
    assert sum(isinstance(block, SigmoidAttention) for block in model.unet.modules()) == 4


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("heads", [1, 3])
def test_a_sigmoid_attention_is_attention(heads, bias):
    torch.manual_seed(0)
    attention = Attention(24, 20, heads=heads, dim_head=8, bias=bias).double().eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    x, text = normal(2, 15, 24), 0.2 * normal(1, 2, 20)
    expected = attention(x, text.expand(2, -1, -1))
    assert_equal(SigmoidAttention(attention, text)(x), expected)


@pytest.mark.parametrize("vae", ["exact_model", "exact_tiny_vae_model"])
def test_the_encoder_gives_the_scaled_mean(vae, request):
    unfolded = request.getfixturevalue(vae)
    picture = normal(1, 3, 64, 88)
    expected = unfolded.vae.encoder(picture)
    if vae == "exact_model":
        expected = unfolded.vae.encode(picture).latent_dist.mean
    model = folded(unfolded, latent_scale_into_encoder)
    assert_equal(model.vae.encoder(picture), SCALE * expected)


def test_the_decoder_takes_the_scaled_latent(exact_model):
    latent = normal(1, 4, 8, 11)
    model = folded(exact_model, latent_scale_into_decoder)
    assert_equal(model.vae.decoder(latent), exact_model.vae.decode(latent / SCALE).sample)


def test_the_tiny_decoder_takes_the_scaled_latent(exact_tiny_vae_model):
    latent = normal(1, 4, 8, 11)
    expected = exact_tiny_vae_model.vae.decode(latent / SCALE).sample
    model = folded(exact_tiny_vae_model, ranges_into_tiny_decoder)
    assert_equal(model.vae.decoder(latent / SCALE), expected)
    assert_equal(folded(model, latent_scale_into_decoder).vae.decoder(latent), expected)


@pytest.mark.parametrize("vae", ["exact_model", "exact_tiny_vae_model"])
def test_the_decoder_gives_half_the_mean_of_its_channels(vae, request):
    unfolded = request.getfixturevalue(vae)
    if vae == "exact_tiny_vae_model":
        unfolded = folded(unfolded, ranges_into_tiny_decoder)
    latent = normal(1, 4, 8, 11)
    expected = unfolded.vae.decoder(latent).mean(1, keepdim=True) / 2
    assert_equal(folded(unfolded, depth_into_decoder).vae.decoder(latent), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 4)])
def test_a_doubling_convolution_is_one_of_the_doubled_map(size, bias):
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=bias).double()
    x = normal(2, 3, *size)
    expected = conv(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    assert_equal(DoublingConvolution(conv)(x), expected)


@pytest.mark.parametrize("vae", ["exact_model", "exact_tiny_vae_model"])
def test_the_decoder_doubles_while_it_convolves(vae, request):
    unfolded = request.getfixturevalue(vae)
    latent = normal(1, 4, 8, 11)
    model = folded(unfolded, upsampling_into_convolution)
    made = [m for m in model.vae.decoder.modules() if isinstance(m, DoublingConvolution)]
    assert len(made) == 3
    assert_equal(model.vae.decoder(latent), unfolded.vae.decoder(latent))


@pytest.mark.parametrize("swiglu", [False, True])
def test_layer_scales_go_into_the_layers_before_them(micro_spec, swiglu):
    backbone = {**micro_spec.prior["backbone_config"], "use_swiglu_ffn": swiglu}
    prior = {**micro_spec.prior, "backbone_config": backbone}
    unfolded = ApDepth.from_spec(dataclasses.replace(micro_spec, prior=prior)).double()
    for name, scale in unfolded.prior.named_parameters():
        if "layer_scale" in name:
            nn.init.uniform_(scale, 0.5, 2.0)
    model = folded(unfolded, layer_scale_into_linears)
    pixels = normal(1, 3, 70, 98)
    expected = unfolded.prior.net.backbone(pixels).feature_maps
    for found, map_ in zip(model.prior.net.backbone(pixels).feature_maps, expected, strict=True):
        assert_equal(found, map_)
    assert not [name for name, _ in model.prior.named_parameters() if "layer_scale" in name]


@pytest.mark.parametrize("apply", [key_bias_out_of_softmax, value_bias_into_output])
def test_a_softmax_makes_biases_redundant(exact_model, apply):
    model = folded(exact_model, apply)
    pixels, latent = normal(1, 3, 70, 98), normal(1, 4, 8, 11)
    found, expected = (m.prior.net.backbone(pixels).feature_maps for m in (model, exact_model))
    assert_equal(found[-1], expected[-1])
    assert_equal(model.vae.decode(latent).sample, exact_model.vae.decode(latent).sample)
    count = sum(1 for name, _ in exact_model.named_parameters() if "bias" in name)
    # One of each of the prior's four layers, of the VAE's encoder and of its decoder.
    assert sum(1 for name, _ in model.named_parameters() if "bias" in name) == count - 6


def test_a_mask_of_zeros_masks_nothing(exact_model):
    unfolded = copy.deepcopy(exact_model)
    unfolded.prior.net.set_attn_implementation("eager")  # as traced
    model, pixels = folded(unfolded, zero_mask_out_of_prior), normal(1, 3, 70, 98)
    found, expected = (m.prior.net.backbone(pixels).feature_maps for m in (model, unfolded))
    assert_equal(found[-1], expected[-1])


@pytest.mark.parametrize(
    "apply", [feed_forward_bias_into_projection, pixel_linears_into_convolutions]
)
def test_the_ends_of_the_transformers(exact_model, apply):
    latents, model = normal(2, 8, 8, 11), folded(exact_model, apply)
    assert_equal(run_unet(model, latents), run_unet(exact_model, latents))


def test_the_last_bias_goes_into_either_kind_of_projection(exact_model):
    latents = normal(2, 8, 8, 11)
    convolutions = folded(exact_model, pixel_linears_into_convolutions)
    model = folded(convolutions, feed_forward_bias_into_projection)
    assert_equal(run_unet(model, latents), run_unet(exact_model, latents))
