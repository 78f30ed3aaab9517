"""Checkpoint folders in every layout that is met, made here as the libraries make them."""

from __future__ import annotations

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

from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import load_model
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
