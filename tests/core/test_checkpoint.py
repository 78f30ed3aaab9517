"""Checkpoint folders in every layout that is met, made here as the libraries make them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import load_model, trained_at
from apdepth_deploy.spec import (
    CONVENTIONS,
    ModelSource,
    ModelSpec,
    is_tiny_vae,
    tiny_vae_layout,
    with_vae_config,
    without_prior,
)

WEIGHTS = "diffusion_pytorch_model"
STORED_VAE_SIZES = (
    "block_out_channels",
    "down_block_types",
    "in_channels",
    "latent_channels",
    "layers_per_block",
    "norm_num_groups",
    "out_channels",
    "up_block_types",
)
STORED_UNET_SIZES = (
    *(key for key in STORED_VAE_SIZES if key != "latent_channels"),
    "attention_head_dim",
    "cross_attention_dim",
    "use_linear_projection",
)


def save_folder(model: ApDepth, folder: Path, **options: Any) -> None:
    """As the libraries save it, with none of our own code or files."""
    model.unet.save_pretrained(folder / "unet", **options)
    model.vae.save_pretrained(folder / "vae", **options)
    if model.prior is not None:
        model.prior.net.save_pretrained(folder / "prior")
    np.save(folder / "empty_text_embed.npy", model.text_embedding.numpy())


def load(folder: Path, **options: str) -> ApDepth:
    return ApDepth.from_checkpoint(str(folder), **options)


def edit_weights(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(path)), path)


# --- layouts -------------------------------------------------------------------------------------


def test_a_diffusers_folder_gives_the_same_depth(
    micro_saved: Path, micro_depth: Tensor, frame: Tensor
) -> None:
    model = load(micro_saved)
    assert torch.equal(model(frame), micro_depth)
    assert model.spec.conventions == CONVENTIONS["v1.1"]
    assert model.spec.name == "micro"


def test_bin_files_give_the_same_depth(
    micro_model: ApDepth, micro_depth: Tensor, tmp_path: Path, frame: Tensor
) -> None:
    save_folder(micro_model, tmp_path, safe_serialization=False)
    assert not list(tmp_path.glob("[uv]*/*.safetensors"))
    assert torch.equal(load(tmp_path)(frame), micro_depth)


def test_sharded_weights_give_the_same_depth(
    micro_model: ApDepth, micro_depth: Tensor, tmp_path: Path, frame: Tensor
) -> None:
    save_folder(micro_model, tmp_path, max_shard_size="300KB")
    assert len(list(tmp_path.glob(f"unet/{WEIGHTS}-*-of-*.safetensors"))) > 1
    assert torch.equal(load(tmp_path)(frame), micro_depth)


@pytest.mark.parametrize("safe", [True, False])
def test_half_precision_files_load_as_float32(
    micro_spec: ModelSpec, tmp_path: Path, safe: bool, frame: Tensor
) -> None:
    model = ApDepth.from_spec(micro_spec).half()
    save_folder(model, tmp_path, variant="fp16", safe_serialization=safe)
    assert (tmp_path / "unet" / f"{WEIGHTS}.fp16.{'safetensors' if safe else 'bin'}").is_file()
    loaded = load(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded(frame), model.float()(frame))


def test_plain_weights_are_taken_before_half_precision_ones(
    micro_spec: ModelSpec, folder: Path, micro_depth: Tensor, frame: Tensor
) -> None:
    other = ApDepth.from_spec(micro_spec, seed=1).half()
    other.unet.save_pretrained(folder / "unet", variant="fp16")
    assert torch.equal(load(folder)(frame), micro_depth)


def test_old_names_of_the_vaes_attention_are_known(
    folder: Path, micro_depth: Tensor, frame: Tensor
) -> None:
    """The names in the stored Stable Diffusion 2 and 2.1 files."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(key: str) -> str:
        for new, name in old.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{name}.")
        return key

    path = folder / "vae" / f"{WEIGHTS}.safetensors"
    edit_weights(path, lambda state: {rename(key): state[key] for key in state})
    assert "decoder.mid_block.attentions.0.proj_attn.bias" in load_file(path)
    assert torch.equal(load(folder)(frame), micro_depth)


@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_stored_stable_diffusion_configs_are_known(
    micro_model: ApDepth, folder: Path, micro_depth: Tensor, version: str, frame: Tensor
) -> None:
    """What diffusers 0.8 and 0.10 wrote: fewer keys than today's, and some that are gone."""
    sizes = dict(micro_model.unet.config)
    unet = {key: sizes[key] for key in STORED_UNET_SIZES}
    unet |= {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.8.0"}
    unet |= {"act_fn": "silu", "center_input_sample": False, "dual_cross_attention": False}
    if version == "2.1":
        unet |= {"_diffusers_version": "0.10.0.dev0", "upcast_attention": True}
        unet |= {"num_class_embeds": None, "only_cross_attention": False}
    sizes = dict(micro_model.vae.config)
    vae = {key: sizes[key] for key in STORED_VAE_SIZES}
    vae |= {"_class_name": "AutoencoderKL", "_diffusers_version": "0.8.0", "sample_size": 768}
    (folder / "unet" / "config.json").write_text(json.dumps(unet))
    (folder / "vae" / "config.json").write_text(json.dumps(vae))
    loaded = load(folder)
    assert loaded.unet.config.upcast_attention is (version == "2.1")
    assert torch.equal(loaded(frame), micro_depth)


def test_a_unet_with_4_channels_has_no_prior(
    micro_spec: ModelSpec, tmp_path: Path, frame: Tensor
) -> None:
    model = ApDepth.from_spec(without_prior(micro_spec))
    save_folder(model, tmp_path)
    loaded = load(tmp_path)
    assert loaded.spec.prior is None
    assert loaded.stage_names == ("encoder", "unet", "decoder")
    assert torch.equal(loaded(frame), model(frame))
    assert torch.equal(load(tmp_path, prior="none")(frame), model(frame))


def test_a_prior_folder_elsewhere_goes_before_the_checkpoints_own(
    micro_spec: ModelSpec, folder: Path, tmp_path: Path, frame: Tensor
) -> None:
    other = ApDepth.from_spec(micro_spec, seed=1)
    assert other.prior is not None
    other.prior.net.save_pretrained(tmp_path / "other")
    pictures = load(folder, prior=str(tmp_path / "other")).stages(frame)
    assert torch.equal(pictures["prior"], other.stages(frame)["prior"])


def test_a_bare_unet_folder_goes_over_a_base_checkpoint(
    micro_spec: ModelSpec, folder: Path, tmp_path: Path, frame: Tensor
) -> None:
    """As the authors' training leaves it: iter_NNNNNN/unet."""
    trained = ApDepth.from_spec(micro_spec, seed=1)
    trained.unet.save_pretrained(tmp_path / "iter_000100" / "unet")
    shutil.rmtree(folder / "unet")
    model = load(folder, unet=str(tmp_path / "iter_000100" / "unet"))
    trained.text_embedding = model.text_embedding
    stages = model.stages(frame)
    assert torch.equal(stages["unet"], trained.denoise(stages["encoder"]))


@pytest.mark.parametrize("light", [True, False])
def test_a_vae_folder_goes_over_the_checkpoints_own_with_its_scale(
    micro_spec: ModelSpec, folder: Path, tmp_path: Path, light: bool
) -> None:
    spec = with_vae_config(micro_spec, tiny_vae_layout(8)) if light else micro_spec
    other = ApDepth.from_spec(spec, seed=1)
    scale = 1.0 if light else 0.5
    other.vae.register_to_config(scaling_factor=scale)
    other.vae.save_pretrained(tmp_path / "other")
    model = load(folder, vae=str(tmp_path / "other"))
    assert model.spec.conventions.latent_scale == scale
    assert is_tiny_vae(model.spec.vae) == light
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    expected = other.encode_picture(picture) / other.spec.conventions.latent_scale * scale
    torch.testing.assert_close(model.encode_picture(picture), expected)
    with pytest.raises(CheckpointError, match="neither a checkpoint folder nor a hub id"):
        load(folder, vae=str(tmp_path / "missing"))


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_another_vae_may_take_one_side(
    micro_spec: ModelSpec, folder: Path, tmp_path: Path, side: str
) -> None:
    other = ApDepth.from_spec(with_vae_config(micro_spec, tiny_vae_layout(8)), seed=1)
    other.vae.save_pretrained(tmp_path / "other")
    model = load(folder, vae=str(tmp_path / "other"), vae_side=side)
    plain = load(folder)
    encodes, decodes = (other, plain) if side == "encoder" else (plain, other)
    picture, latent = torch.rand(1, 3, 64, 64) * 2 - 1, torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(model.encode_picture(picture), encodes.encode_picture(picture))
    torch.testing.assert_close(model.decode(latent), decodes.decode(latent))
    again = ApDepth.from_spec(ModelSpec.from_json(json.loads(json.dumps(model.spec.to_json()))))
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.decode(latent), decodes.decode(latent))
    with pytest.raises(UsageError, match="can be exported, but not saved"):
        save_checkpoint(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_side_needs_another_vae() -> None:
    for source in (
        ModelSource("tiny", seed=0, vae_side="decoder"),
        ModelSource("tiny", seed=0, vae="taesd", vae_side="left"),
    ):
        with pytest.raises(UsageError, match="with another vae, one of both, encoder, decoder"):
            load_model(source)


# --- our own additions to the layout -------------------------------------------------------------


def test_a_saved_checkpoint_loads_back_with_its_conventions(
    micro_spec: ModelSpec, tmp_path: Path, frame: Tensor
) -> None:
    conventions = dataclasses.replace(
        CONVENTIONS["normalized"], name="mine", prior_side=42, concat=("rgb", "prior"), timestep=3
    )
    model = ApDepth.from_spec(dataclasses.replace(micro_spec, conventions=conventions))
    save_checkpoint(model, tmp_path)
    loaded = load(tmp_path)
    assert loaded.spec.conventions == conventions
    assert torch.equal(loaded(frame), model(frame))
    assert load(tmp_path, conventions="v1.1").spec.conventions == CONVENTIONS["v1.1"]


def test_a_checkpoint_says_the_sizes_it_was_trained_at(
    micro_spec: ModelSpec, micro_saved: Path, tmp_path: Path
) -> None:
    sizes = ((192, 256), (240, 320))
    model = ApDepth.from_spec(dataclasses.replace(micro_spec, trained_at=sizes))
    save_checkpoint(model, tmp_path / "said")
    loaded = load(tmp_path / "said")
    assert loaded.spec.trained_at == trained_at(ModelSource(str(tmp_path / "said"))) == sizes
    assert loaded.spec.default_size == (240, 320)
    assert load(micro_saved).spec.default_size == (480, 640)  # from before it was said
    assert "trained_at" not in load(micro_saved).spec.to_json()
    other = {"unet": str(micro_saved / "unet")}
    assert load(tmp_path / "said", **other).spec.trained_at == ()
    assert trained_at(ModelSource(str(tmp_path / "said"), **other)) == ()
    assert trained_at(ModelSource("tiny", seed=0)) == ()


def test_other_conventions_keep_the_checkpoints_latents(
    micro_spec: ModelSpec, tmp_path: Path
) -> None:
    rules = dataclasses.replace(micro_spec.conventions, latent_scale=0.5)
    vae = {**micro_spec.vae, "scaling_factor": 0.5}
    save_checkpoint(
        ApDepth.from_spec(dataclasses.replace(micro_spec, vae=vae, conventions=rules)), tmp_path
    )
    found = load(tmp_path, conventions="normalized").spec.conventions
    assert found == dataclasses.replace(CONVENTIONS["normalized"], latent_scale=0.5)


def test_a_loaded_spec_builds_the_same_networks(folder: Path, frame: Tensor) -> None:
    loaded = load(folder)
    again = ApDepth.from_spec(ModelSpec.from_json(loaded.spec.to_json()))
    again.load_state_dict(loaded.state_dict())
    assert torch.equal(again(frame), loaded(frame))


def test_a_source_says_where_the_weights_are_from_any_folder(
    micro_saved: Path,
    micro_depth: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    frame: Tensor,
) -> None:
    monkeypatch.chdir(micro_saved.parent)
    kept = json.loads(json.dumps(ModelSource("micro", unet="micro/unet").to_json()))
    monkeypatch.chdir(tmp_path)
    assert torch.equal(load_model(ModelSource.from_json(kept))(frame), micro_depth)
    assert kept["kind"] == "checkpoint"


def test_a_source_sets_the_priors_size(
    micro_saved: Path, micro_depth: Tensor, frame: Tensor
) -> None:
    patch = 14
    source = ModelSource(str(micro_saved), prior_side=str(3 * patch))
    model = load_model(ModelSource.from_json(json.loads(json.dumps(source.to_json()))))
    assert model.prior is not None
    assert min(model.prior.input_size(480, 640)) == 3 * patch
    assert model.spec.conventions.prior_side == 3 * patch
    assert not torch.equal(model(frame), micro_depth)
    whole = load_model(ModelSource("tiny", seed=0, prior_side="frame"))
    assert whole.prior is not None and whole.prior.input_size(480, 640) == (490, 644)


@pytest.mark.parametrize("side", ["0", "-14", "big", "1.5", ""])
def test_a_priors_size_is_pixels_or_the_frame(side: str) -> None:
    with pytest.raises(UsageError, match="a number of pixels such as 518, or 'frame'"):
        load_model(ModelSource("tiny", seed=0, prior_side=side))


def test_a_priors_size_needs_a_prior() -> None:
    with pytest.raises(UsageError, match="no prior"):
        load_model(ModelSource("tiny", seed=0, prior="none", prior_side="70"))


def test_a_source_that_names_no_weights_is_an_error(micro_model: ApDepth) -> None:
    kept = ModelSource("mine", model=micro_model).to_json()
    with pytest.raises(CheckpointError, match="pass --checkpoint"):
        ModelSource.from_json(kept)
    with pytest.raises(CheckpointError, match="not one of ours"):
        ModelSource.from_json({"kind": "checkpoint"})


def test_random_weights_take_conventions_but_no_trained_parts() -> None:
    source = ModelSource("tiny", seed=0, prior="none", conventions="v1.1")
    assert load_model(source).spec.conventions.concat == ("rgb",)
    with pytest.raises(UsageError, match="random weights"):
        load_model(ModelSource("tiny", seed=0, unet="unet"))
    with pytest.raises(UsageError, match="no vae but 'taesd'"):
        load_model(ModelSource("tiny", seed=0, vae="vae"))
    with pytest.raises(CheckpointError, match="--random-weights"):
        load_model(ModelSource("small"))


# --- the empty prompt ----------------------------------------------------------------------------


def save_text_encoder(folder: Path) -> tuple[CLIPTextModel, list[int]]:
    """Both as Stable Diffusion 2.1 stores them; gives the encoder and the tokens of ""."""
    config = CLIPTextConfig(
        vocab_size=6,
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=4,
        eos_token_id=5,
    )
    torch.manual_seed(0)
    encoder = CLIPTextModel(config).eval()
    config.save_pretrained(folder / "text_encoder")
    # Written before transformers 5: with this prefix, and the positions as a buffer.
    state = {
        f"text_model.{k.removeprefix('text_model.')}": v for k, v in encoder.state_dict().items()
    }
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, folder / "text_encoder" / "model.safetensors")

    tokens = ["a", "b", "a</w>", "b</w>", "<|startoftext|>", "<|endoftext|>"]
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    special = {
        "bos_token": tokens[4],
        "eos_token": tokens[5],
        "unk_token": tokens[5],
        "pad_token": "!",
    }
    (tokenizer / "special_tokens_map.json").write_text(json.dumps(special))
    options = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({**special, **options}))
    return encoder, [4, 5]


def test_the_empty_text_is_encoded_once_from_its_encoder(folder: Path) -> None:
    (folder / "empty_text_embed.npy").unlink()
    encoder, ids = save_text_encoder(folder)
    with torch.no_grad():
        expected = encoder(torch.tensor([ids])).last_hidden_state
    model = load(folder)
    torch.testing.assert_close(model.text_embedding, expected, rtol=0, atol=1e-6)
    assert model.spec.text_shape == (2, 24)


def test_the_empty_text_is_read_from_its_file(folder: Path) -> None:
    embedding = np.random.default_rng(0).normal(size=(1, 2, 24))
    np.save(folder / "empty_text_embed.npy", embedding.astype(np.float16))
    found = load(folder).text_embedding
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), embedding.astype(np.float16).astype(np.float32))


def test_no_text_at_all_is_an_error(folder: Path) -> None:
    (folder / "empty_text_embed.npy").unlink()
    with pytest.raises(CheckpointError, match=r"neither empty_text_embed.npy nor text_encoder/"):
        load(folder)
    save_text_encoder(folder)
    vocabulary = folder / "tokenizer" / "vocab.json"
    vocabulary.write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer can't be loaded"):
        load(folder)
    vocabulary.unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer has no vocab.json"):
        load(folder)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 2, 25), np.float32),
        np.zeros((2, 24), np.float32),
        np.zeros((2, 2, 24), np.float32),
        np.array("text"),
        np.array([[[{}]]], dtype=object),
    ],
    ids=["width", "rank", "batch", "text", "pickle"],
)
def test_an_embedding_that_does_not_fit_is_an_error(folder: Path, array: np.ndarray) -> None:
    np.save(folder / "empty_text_embed.npy", array)
    with pytest.raises(CheckpointError, match="empty"):
        load(folder)
