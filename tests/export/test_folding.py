"""All folds together: the same depth, smaller graphs, and a record of what was folded."""

from __future__ import annotations

import dataclasses
import json

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
from apdepth_deploy.export.folding.record import folding_record
from apdepth_deploy.export.precision import prepare
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import load_model
from apdepth_deploy.spec import ModelSource, preset, with_vae_config, without_prior

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


def test_a_new_fold_is_a_function_and_a_line(monkeypatch, micro_spec):
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
    spec = without_prior(micro_spec)
    model, images = ApDepth.from_spec(spec), noise(1, 64, 64)
    expected = model(images)
    before = [m.to_v.weight.clone() for m in model.unet.modules() if isinstance(m, Attention)]
    assert fold(model).applied[0] == "values_doubled_before_half_the_output"
    after = [m.to_v.weight for m in model.unet.modules() if isinstance(m, Attention)]
    assert after and torch.equal(after[0], 2 * before[0])
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-5)
    record = folding_record(spec, (1, 64, 64), wanted=True)
    assert record["applied"][0] == "values_doubled_before_half_the_output"


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
