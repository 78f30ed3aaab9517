"""Every fold alone, in float64, against the layers as the libraries run them."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.cli import main
from apdepth_deploy.export import FrameShape, export_bundle, folding
from apdepth_deploy.export.folding import fold
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
from apdepth_deploy.export.folding.record import folding_record
from apdepth_deploy.export.folding.timestep import timestep_into_biases
from apdepth_deploy.export.folding.tiny_ranges import ranges_into_tiny_decoder
from apdepth_deploy.export.folding.upsampling import (
    DoublingConvolution,
    upsampling_into_convolution,
)
from apdepth_deploy.export.folding.value_bias import value_bias_into_output
from apdepth_deploy.export.folding.zero_mask import zero_mask_out_of_prior
from apdepth_deploy.export.precision import prepare
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import load_model
from apdepth_deploy.spec import ModelSource, ModelSpec, preset, with_vae_config, without_prior

SCALE = 0.18215
ALL = [
    "zero_mask_out_of_prior",
    "layer_scale_into_linears",
    "key_bias_out_of_softmax",
    "value_bias_into_output",
    "latent_scale_into_encoder",
    "timestep_into_biases",
    "cross_attention_into_sigmoid",
    "feed_forward_bias_into_projection",
    "pixel_linears_into_convolutions",
    "latent_scale_into_decoder",
    "depth_into_decoder",
    "upsampling_into_convolution",
]


@pytest.fixture(scope="module")
def exact_model(micro_spec) -> ApDepth:
    """Read only."""
    return ApDepth.from_spec(micro_spec).double()


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


# --- one by one ----------------------------------------------------------------------------------


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


def noise(*shape: int) -> Tensor:
    """Frames uint8 [B,H,W,3]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kl", "tiny vae", "tiny encoder", "tiny decoder", "no prior"])
def test_a_folded_model_computes_the_same_at_every_seam(micro_spec, tiny_vae_spec, kind):
    light = {**tiny_vae_spec.vae, "scaling_factor": 0.7}
    specs = {
        "kl": micro_spec,
        "tiny vae": tiny_vae_spec,
        "tiny encoder": with_vae_config(micro_spec, light, "encoder"),
        "tiny decoder": with_vae_config(micro_spec, light, "decoder"),
        "no prior": without_prior(micro_spec),
    }
    model = ApDepth.from_spec(specs[kind]).double()
    images = noise(2, 64, 88)
    expected = model.stages(images)
    done = fold(model)
    of_prior = {"zero_mask_out_of_prior", "layer_scale_into_linears"}
    assert not done.skipped and set(done.applied) >= set(ALL) - of_prior
    found = model.stages(images)
    assert list(found) == list(expected)
    for stage, result in expected.items():
        # In float64, so what is left is the rounding of the seams.
        torch.testing.assert_close(found[stage], result, rtol=0, atol=1e-6 * float(result.max()))


def test_depth_is_clipped_at_both_ends(micro_spec):
    model = ApDepth.from_spec(micro_spec).double()
    generator = torch.Generator().manual_seed(0)
    nn.init.normal_(model.vae.decoder.conv_out.weight, std=1.0, generator=generator)
    latent = torch.randn(1, 4, 8, 8, generator=generator)
    expected = model.decode(latent)
    fold(model)
    assert {0.0, 1.0} <= set(expected.unique().tolist())
    torch.testing.assert_close(model.decode(latent), expected, rtol=0, atol=1e-6)


def test_half_precision_depth_has_finer_steps_than_half_precision(micro_spec):
    """1/2 is added in float32: in float16, depth above 1/2 would come in steps of 1/2048."""
    model = ApDepth.from_spec(micro_spec)
    fold(model)
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    depth = prepare(model, "fp16", (64, 64)).decode(latent)
    upper = depth[depth > 0.5]
    assert upper.numel() > 1000
    assert (upper != upper.half().float()).float().mean() > 0.5


@pytest.mark.parametrize("tokens", [1, 3])
def test_another_number_of_tokens_keeps_its_attention_and_says_so(micro_spec, tokens):
    model = ApDepth.from_spec(dataclasses.replace(micro_spec, text_shape=(tokens, 24))).double()
    images = noise(1, 64, 64)
    expected = model(images)
    reason = f"the text embedding has {tokens} tokens, not 2"
    assert fold(model).skipped == {"cross_attention_into_sigmoid": reason}
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-6)


def test_an_export_tells_what_was_not_folded(micro_spec, tmp_path):
    spec = without_prior(dataclasses.replace(micro_spec, text_shape=(3, 24)))
    lines: list[str] = []
    bundle = export_bundle(
        ApDepth.from_spec(spec),
        tmp_path / "bundle",
        precisions=("fp32",),
        shape=FrameShape.fixed(1, 64, 64),
        progress=lines.append,
    )
    reason = "the text embedding has 3 tokens, not 2"
    assert f"note: cross_attention_into_sigmoid was not folded: {reason}" in lines
    folding = bundle.manifest["folding"]
    assert folding["skipped"] == {"cross_attention_into_sigmoid": reason}
    of_prior = {"zero_mask_out_of_prior", "layer_scale_into_linears"}
    left = {"cross_attention_into_sigmoid", *of_prior}
    assert folding["applied"] == [name for name in ALL if name not in left]


def test_a_new_fold_is_a_function_and_a_line(monkeypatch, bare_checkpoint, tmp_path):
    """As docs/architecture.md says where it goes; here the line is added from outside."""

    def values_doubled_before_half_the_output(model: ApDepth) -> None:
        """softmax(QK') (2V) (O / 2) = softmax(QK') V O."""
        for module in model.unet.modules():
            if isinstance(module, Attention):
                module.to_v.weight.data *= 2
                module.to_out[0].weight.data /= 2

    known = folding.folds_of

    def one_more(model: ApDepth):
        yield values_doubled_before_half_the_output
        yield from known(model)

    monkeypatch.setattr(folding, "folds_of", one_more)
    words = [str(bare_checkpoint), "--precision", "fp32", "--height", "64", "--width", "64"]
    assert main(["export", *words, "-o", str(tmp_path / "bundle")]) == 0  # verified, too
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text())
    assert manifest["folding"]["applied"][0] == "values_doubled_before_half_the_output"


def test_a_unet_that_takes_more_than_a_timestep_keeps_it(micro_spec):
    unet = {**micro_spec.unet, "resnet_time_scale_shift": "scale_shift"}
    model = ApDepth.from_spec(dataclasses.replace(micro_spec, unet=unet)).double()
    images = noise(1, 64, 64)
    expected = model(images)
    assert list(fold(model).skipped) == ["timestep_into_biases"]
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-6)


# --- sizes ---------------------------------------------------------------------------------------


def test_a_full_size_unet_loses_78_million_parameters():
    """By hand: the embedding's two layers and 22 projections from 1280 to 20,160 channels in all;
    to_q, to_k, to_v and to_out of 16 attentions but for S and U of one row per 64 channels."""
    record = folding_record(preset("small"), (1, 480, 640), wanted=True)
    before, after = (record[when]["parameters"]["unet"] for when in ("before", "after"))
    time = (320 + 1 + 1280 + 1) * 1280 + 20_160 * (1280 + 1)
    blocks = {320: 5, 640: 5, 1280: 6}
    text = sum(n * (2 * c * c + 2 * c * 1024 - 2 * c * c // 64) for c, n in blocks.items())
    biases = sum(n * c for c, n in blocks.items())  # of the feed-forwards' last layers
    assert before - after == time + text + biases == 77_840_640
    assert after == 788_081_604 < 790_000_000
    gflop = {when: record[when]["gflop"] for when in ("before", "after")}
    assert gflop["before"]["unet"] - gflop["after"]["unet"] > 20
    assert all(gflop["after"][stage] <= value for stage, value in gflop["before"].items())


def test_a_folded_unet_graph_holds_neither_timestep_nor_text(micro_bundle):
    """Its only softmaxes are those of the four self-attentions, its only tables its weights."""
    graph = onnx.load(micro_bundle / "onnx/unet.fp16.onnx", load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Softmax") == 4
    assert not {"Gemm", "Sin", "Cos", "Expand"} & set(kinds)
    assert 24 not in {n for tensor in graph.initializer for n in tensor.dims}  # the text's width


# --- through the command line --------------------------------------------------------------------


def test_inspect_shows_what_was_folded_and_what_it_saved(micro_bundle, capsys):
    assert main(["inspect", str(micro_bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"folded: {', '.join(ALL)}" in lines
    (parameters,) = (line for line in lines if line.startswith("parameters: "))
    folding = Bundle.open(micro_bundle).manifest["folding"]
    before, after = (folding[when]["parameters"] for when in ("before", "after"))
    assert f"{sum(before.values()):,} -> {sum(after.values()):,}" in parameters
    assert f"unet {before['unet']:,} -> {after['unet']:,}" in parameters


def test_the_manifests_gflop_are_those_of_the_graph(micro_bundle):
    bundle = Bundle.open(micro_bundle)
    after = bundle.manifest["folding"]["after"]["gflop"]
    for graph in bundle.graphs:
        stages = after if graph.name == "fused" else {graph.name: after[graph.name]}
        assert graph.gflop == stages


@pytest.mark.slow
def test_a_light_vae_goes_all_the_way(tmp_path):
    """Exported, folded and verified against PyTorch in both precisions."""
    output = tmp_path / "bundle"
    words = ["export", "tiny", "--random-weights", "--vae", "taesd", "--prior", "none"]
    both = ["--precision", "fp32", "--precision", "fp16"]
    assert main([*words, *both, "--height", "64", "--width", "64", "-o", str(output)]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["source"]["vae"] == "taesd"
    assert "ranges_into_tiny_decoder" in manifest["folding"]["applied"]
    depth = load(output)(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    assert depth.std() > 0.02  # not lost in the final clip, which would hide what differs
    # 1,222,532 of the encoder and 1,222,531 of the decoder, as in madebyollin/taesd.
    assert manifest["folding"]["before"]["parameters"]["vae"] == 2_445_063


@pytest.mark.parametrize(("side", "parameters"), [("encoder", 1_222_532), ("decoder", 1_222_531)])
def test_a_light_vae_on_one_side_leaves_the_other(side, parameters):
    def counts(**options):
        model = load_model(ModelSource("tiny", seed=0, **options))
        sides = {"encoder": model.vae.encoder, "decoder": model.decoding_vae.decoder}
        return {name: sum(p.numel() for p in part.parameters()) for name, part in sides.items()}

    assert counts(vae="taesd", vae_side=side) == counts() | {side: parameters}


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_light_vae_on_one_side_goes_all_the_way(bare_checkpoint, tiny_vae_spec, tmp_path, side):
    light = {**tiny_vae_spec.vae, "scaling_factor": 0.7}
    spec = dataclasses.replace(tiny_vae_spec, vae=light)
    ApDepth.from_spec(spec).vae.save_pretrained(tmp_path / "light")
    output = tmp_path / "bundle"
    words = ["export", str(bare_checkpoint), "--vae", str(tmp_path / "light"), "--vae-side", side]
    size = ["--precision", "fp32", "--height", "64", "--width", "64", "-o", str(output)]
    assert main([*words, *size]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["source"]["vae_side"] == side
    assert main(["verify", str(output)]) == 0


def test_no_fold_keeps_every_constant(bare_checkpoint, tmp_path, capsys):
    output = tmp_path / "bundle"
    words = ["export", str(bare_checkpoint), "--height", "64", "--width", "64", "--no-verify"]
    assert main([*words, "--no-fold", "-o", str(output)]) == 0
    folding = json.loads((output / "manifest.json").read_text())["folding"]
    assert folding["applied"] == [] and folding["before"] == folding["after"]
    graph = onnx.load(output / "onnx/fused.fp16.onnx", load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    # Self- and cross-attention of the U-Net's four blocks, and the VAE's two.
    assert kinds.count("Softmax") == 2 * 4 + 2
    capsys.readouterr()
    assert main(["inspect", str(output)]) == 0
    assert "folded: nothing" in capsys.readouterr().out
