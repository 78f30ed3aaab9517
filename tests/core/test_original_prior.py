"""The prior against the authors' network, which ``original_prior.py`` rewrites."""

from __future__ import annotations

import json
import pickle
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DepthAnythingConfig

from apdepth_deploy.checkpoint import load_prior, original_prior_config
from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.prior import Prior
from apdepth_deploy.spec import CONVENTIONS, DEPTH_ANYTHING_V2, ModelSpec

AUTHORS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("original_prior.py"))))
HIDDEN, HEADS, LAYERS, SIDE, PATCH, FUSION, NECK = (
    AUTHORS.HIDDEN,
    AUTHORS.HEADS,
    AUTHORS.LAYERS,
    AUTHORS.SIDE,
    AUTHORS.PATCH,
    AUTHORS.FUSION,
    AUTHORS.NECK,
)
original_state, original_prior = AUTHORS.original_state, AUTHORS.original_prior

State = dict[str, Tensor]


def frames(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)


def save(state: object, folder: Path, **options: bool) -> str:
    path = folder / "depth_anything_v2_vits.pth"
    torch.save(state, path, **options)
    return str(path)


def in_float64(state: State) -> State:
    return {key: value.double() for key, value in state.items()}


def make_prior(source: str) -> Prior:
    return Prior(load_prior(source), CONVENTIONS["v1.1"]).requires_grad_(False)


# --- equal to the authors' -----------------------------------------------------------------------


@pytest.mark.parametrize("swiglu", [False, True], ids=["mlp", "swiglu"])
@pytest.mark.parametrize("size", [(64, 88), (70, 70), (51, 40)])
def test_an_original_file_gives_the_authors_disparity(
    tmp_path: Path, swiglu: bool, size: tuple[int, int]
) -> None:
    state = original_state(swiglu)
    images = frames(2, *size)
    expected = original_prior(in_float64(state), images)
    assert expected.std() > 0.05
    prior = make_prior(save(state, tmp_path))
    # Rounding alone, seen: 4e-6. The networks in float64 leave that of the picture, the position
    # table and the result: 7e-7.
    assert (prior(images) - expected).abs().max() < 2e-5
    assert (prior.double()(images) - expected).abs().max() < 3e-6


def test_an_authors_checkpoint_gives_the_authors_depth(
    tmp_path: Path, micro_spec: ModelSpec
) -> None:
    """Diffusers folder without a prior and without our apdepth.json, and the prior beside it."""
    parts = ApDepth.from_spec(micro_spec)
    folder, state = tmp_path / "checkpoint", original_state()
    parts.unet.save_pretrained(folder / "unet")
    parts.vae.save_pretrained(folder / "vae")
    text = torch.randn(1, 2, 24, generator=torch.Generator().manual_seed(2))
    np.save(folder / "empty_text_embed.npy", text.numpy())

    images = frames(1, 64, 88)
    rgb = images.permute(0, 3, 1, 2).double() / 255 * 2 - 1
    model = ApDepth.from_checkpoint(str(folder), prior=save(state, tmp_path))
    vae, unet = parts.double().vae, parts.unet
    latents = [
        vae.quant_conv(vae.encoder(picture))[:, :4] * 0.18215
        for picture in (original_prior(in_float64(state), images), rgb)
    ]
    latent = unet(torch.cat(latents, dim=1), 1, text.double()).sample
    picture = vae.decoder(vae.post_quant_conv(latent / 0.18215))
    expected = (picture.mean(dim=1).clip(-1, 1) + 1) / 2
    assert expected.std() > 0.01

    # Rounding alone, seen: 2e-6, and in float64 that of the seams: 2e-7.
    assert (model(images) - expected).abs().max() < 1e-5
    assert (model.double()(images) - expected).abs().max() < 1e-6


# --- where a prior comes from --------------------------------------------------------------------


def test_a_transformers_folder_gives_the_same_disparity_as_the_original_file(
    tmp_path: Path,
) -> None:
    images = frames(1, 64, 88)
    for swiglu in (False, True):
        original = make_prior(save(original_state(swiglu), tmp_path))
        expected = original(images)
        original.net.save_pretrained(tmp_path / "prior")
        keys = load_file(tmp_path / "prior" / "model.safetensors")
        assert "backbone.encoder.layer.0.attention.attention.query.weight" in keys
        assert torch.equal(make_prior(str(tmp_path / "prior"))(images), expected)


def test_a_stored_hub_config_is_known(tmp_path: Path) -> None:
    """Depth-Anything-V2-Small-hf's config.json, at the sizes here."""
    images = frames(1, 64, 88)
    original = make_prior(save(original_state(), tmp_path))
    original.net.save_pretrained(tmp_path / "prior")
    backbone = {
        "architectures": ["Dinov2Model"],
        "hidden_size": HIDDEN,
        "image_size": SIDE * PATCH,
        "model_type": "dinov2",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
        "out_indices": [1, 2, 3, 4],
        "patch_size": PATCH,
        "reshape_hidden_states": False,
        "torch_dtype": "float32",
    }
    config = {
        "_commit_hash": None,
        "architectures": ["DepthAnythingForDepthEstimation"],
        "backbone": None,
        "backbone_config": backbone,
        "fusion_hidden_size": FUSION,
        "head_hidden_size": 32,
        "head_in_index": -1,
        "initializer_range": 0.02,
        "model_type": "depth_anything",
        "neck_hidden_sizes": NECK,
        "patch_size": PATCH,
        "reassemble_factors": [4, 2, 1, 0.5],
        "reassemble_hidden_size": HIDDEN,
        "torch_dtype": "float32",
        "transformers_version": None,
        "use_pretrained_backbone": False,
    }
    (tmp_path / "prior" / "config.json").write_text(json.dumps(config))
    assert torch.equal(make_prior(str(tmp_path / "prior"))(images), original(images))


@pytest.mark.parametrize("size", DEPTH_ANYTHING_V2)
def test_the_sizes_of_the_real_files_are_read_off_their_tensors(size: str) -> None:
    expected = DepthAnythingConfig.from_dict(DEPTH_ANYTHING_V2[size])
    hidden, depth = expected.reassemble_hidden_size, expected.backbone_config.num_hidden_layers
    mlp = "w12" if size == "g" else "fc1"
    shapes = {
        "pretrained.pos_embed": (1, 1 + 37 * 37, hidden),
        "pretrained.patch_embed.proj.weight": (hidden, 3, 14, 14),
        f"pretrained.blocks.{depth - 1}.norm1.weight": (hidden,),
        f"pretrained.blocks.0.mlp.{mlp}.weight": (4 * hidden, hidden),
        "depth_head.scratch.layer1_rn.weight": (expected.fusion_hidden_size, 8, 3, 3),
        "depth_head.scratch.output_conv2.0.weight": (32, 8, 3, 3),
    }
    for i, width in enumerate(expected.neck_hidden_sizes):
        shapes[f"depth_head.projects.{i}.weight"] = (width, hidden, 1, 1)
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert original_prior_config(state).to_dict() == expected.to_dict()


@pytest.mark.parametrize("form", ["half", "old pickle", "safetensors"])
def test_an_original_file_may_have_any_form(tmp_path: Path, form: str) -> None:
    """The same weights in float16, in PyTorch's format before 1.6, and in safetensors."""
    state = {key: value.half().float() for key, value in original_state().items()}
    images = frames(1, 42, 42)
    expected = make_prior(save(state, tmp_path))(images)
    path = str(tmp_path / "other.pth")
    if form == "half":
        torch.save({key: value.half() for key, value in state.items()}, path)
    elif form == "old pickle":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        path = str(tmp_path / "other.safetensors")
        save_file(state, path)
    assert torch.equal(make_prior(path)(images), expected)


# --- errors --------------------------------------------------------------------------------------


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, old_format: bool) -> None:
    state = {**original_state(), "extra": Malicious(tmp_path / "ran")}
    path = save(state, tmp_path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(CheckpointError, match=r"vits.pth can't be loaded: .*more than tensors"):
        load_prior(path)
    Path(path).write_bytes(pickle.dumps(Malicious(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match=r"vits.pth can't be loaded"):
        load_prior(path)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = Path(save(original_state(), tmp_path))
    for size in (0, 100, 100_000):
        path.write_bytes(path.read_bytes()[:size] if size else b"")
        with pytest.raises(CheckpointError, match=r"vits.pth can't be loaded: it is cut short"):
            load_prior(str(path))
        save(original_state(), tmp_path)


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = original_state()
    del state["depth_head.scratch.output_conv1.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(head.conv1.bias\)"):
        load_prior(save(state, tmp_path))
    state = original_state() | {f"pretrained.extra{i}": torch.zeros(1) for i in range(6)}
    with pytest.raises(CheckpointError, match=r"6 unexpected \(pretrained.extra0, .*, \.\.\.\)"):
        load_prior(save(state, tmp_path))
    state = original_state() | {"depth_head.scratch.output_conv1.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"head.conv1.bias has shape \[3\], expected \[8\]"):
        load_prior(save(state, tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"pretrained.pos_embed": torch.zeros(3)}},
        {"conv.weight": torch.zeros(3)},
        {"pretrained.pos_embed": torch.zeros(1, 26, 64)},
        {"pretrained.pos_embed": torch.zeros(3)},
        {1: torch.zeros(3)},
        [torch.zeros(3)],
        torch.zeros(3),
    ],
    ids=["training state", "other network", "part", "flat", "numbers", "list", "tensor"],
)
def test_a_file_of_something_else_is_an_error(tmp_path: Path, content: object) -> None:
    with pytest.raises(CheckpointError, match=r"depth_anything_v2_vits.pth"):
        load_prior(save(content, tmp_path))


def test_a_prior_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none.pth: no such file"):
        load_prior(str(tmp_path / "none.pth"))
    with pytest.raises(CheckpointError, match=r"neither a checkpoint folder nor a hub id"):
        load_prior(str(tmp_path / "none"))
