"""The prior against the authors' network, rewritten here from its description.

The state dicts are in the layout of their files: depth_anything_v2_vit{s,b,l,g}.pth.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DepthAnythingConfig

from apdepth_deploy.checkpoint import load_prior, original_prior_config
from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.prior import Prior
from apdepth_deploy.spec import CONVENTIONS, DEPTH_ANYTHING_V2, ModelSpec

State = dict[str, Tensor]

HIDDEN, HEADS, LAYERS, SIDE, PATCH, FUSION, NECK = 128, 2, 4, 5, 14, 16, (8, 8, 16, 16)


# --- the authors' file and forward pass ----------------------------------------------------------


def original_state(swiglu: bool = False) -> State:
    """A file of theirs at sizes of our own; random values that keep the signal alive."""
    shapes = {
        "pretrained.cls_token": (1, 1, HIDDEN),
        "pretrained.mask_token": (1, HIDDEN),
        "pretrained.pos_embed": (1, 1 + SIDE * SIDE, HIDDEN),
        **layer("pretrained.patch_embed.proj", HIDDEN, 3, PATCH, PATCH),
        **layer("pretrained.norm", HIDDEN),
    }
    for i in range(LAYERS):
        block = f"pretrained.blocks.{i}"
        shapes |= layer(f"{block}.norm1", HIDDEN) | layer(f"{block}.norm2", HIDDEN)
        shapes |= layer(f"{block}.attn.qkv", 3 * HIDDEN, HIDDEN)
        shapes |= layer(f"{block}.attn.proj", HIDDEN, HIDDEN)
        shapes |= {f"{block}.ls1.gamma": (HIDDEN,), f"{block}.ls2.gamma": (HIDDEN,)}
        if swiglu:  # 4 x hidden x 2/3, rounded up to a multiple of 8
            shapes |= layer(f"{block}.mlp.w12", 2 * 344, HIDDEN)
            shapes |= layer(f"{block}.mlp.w3", HIDDEN, 344)
        else:
            shapes |= layer(f"{block}.mlp.fc1", 4 * HIDDEN, HIDDEN)
            shapes |= layer(f"{block}.mlp.fc2", HIDDEN, 4 * HIDDEN)
    for i, width in enumerate(NECK):
        shapes |= layer(f"depth_head.projects.{i}", width, HIDDEN, 1, 1)
        shapes[f"depth_head.scratch.layer{i + 1}_rn.weight"] = (FUSION, width, 3, 3)
        net = f"depth_head.scratch.refinenet{i + 1}"
        shapes |= layer(f"{net}.out_conv", FUSION, FUSION, 1, 1)
        for unit in (1, 2):
            for conv in (1, 2):
                name = f"{net}.resConfUnit{unit}.conv{conv}"
                shapes |= layer(name, FUSION, FUSION, 3, 3)
    for i, kernel in ((0, 4), (1, 2), (3, 3)):
        shapes |= layer(f"depth_head.resize_layers.{i}", NECK[i], NECK[i], kernel, kernel)
    shapes |= layer("depth_head.scratch.output_conv1", FUSION // 2, FUSION, 3, 3)
    shapes |= layer("depth_head.scratch.output_conv2.0", 32, FUSION // 2, 3, 3)
    shapes |= layer("depth_head.scratch.output_conv2.2", 1, 32, 1, 1)
    generator = torch.Generator().manual_seed(0)
    state = {key: draw(key, shape, generator) for key, shape in shapes.items()}
    state["depth_head.scratch.output_conv2.2.bias"].fill_(0.5)  # above the final ReLU
    return state


def layer(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def draw(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator)
    if key.endswith(("gamma", "norm.weight", "norm1.weight", "norm2.weight")):
        return 1 + 0.1 * values
    fan_in = values[0].numel() if len(shape) in (2, 4) else 100
    return values * fan_in**-0.5


def original_prior(state: State, images: Tensor) -> Tensor:
    """The authors' prior: uint8 [B,H,W,3] -> [B,3,H,W], as their pipeline hands it to the VAE.

    In the type of the state's tensors: float64 is the truth that float32 is held to.
    """
    height, width = images.shape[1:3]
    rows, cols = -(-height // PATCH), -(-width // PATCH)
    pixels = images.to(state["pretrained.pos_embed"].dtype)
    rgb = pixels.permute(0, 3, 1, 2) / 255 * 2 - 1
    rgb = F.interpolate(rgb, (rows * PATCH, cols * PATCH), mode="bilinear", align_corners=True)
    features = original_backbone(state, rgb, rows, cols)
    disparity = original_head(state, features, rows, cols).relu()
    disparity = F.interpolate(disparity, (height, width), mode="bilinear", align_corners=True)
    return disparity.repeat(1, 3, 1, 1)


def original_backbone(state: State, rgb: Tensor, rows: int, cols: int) -> list[Tensor]:
    def get(name: str) -> tuple[Tensor, Tensor]:
        return state[f"pretrained.{name}.weight"], state[f"pretrained.{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (HIDDEN,), *get(name), eps=1e-6)

    x = F.conv2d(rgb, *get("patch_embed.proj"), stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([state["pretrained.cls_token"].expand(len(x), -1, -1), x], dim=1)
    table = state["pretrained.pos_embed"]
    if (rows, cols) != (SIDE, SIDE):
        grid = table[:, 1:].reshape(1, SIDE, SIDE, HIDDEN).permute(0, 3, 1, 2)
        scale = ((rows + 0.1) / SIDE, (cols + 0.1) / SIDE)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
        table = torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
    x = x + table
    features = []
    for i in range(LAYERS):
        block = f"blocks.{i}"
        qkv = F.linear(norm(x, f"{block}.norm1"), *get(f"{block}.attn.qkv"))
        q, k, v = qkv.unflatten(2, (3, HEADS, HIDDEN // HEADS)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / (HIDDEN // HEADS) ** 0.5
        heads = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
        y = F.linear(heads, *get(f"{block}.attn.proj"))
        x = x + y * state[f"pretrained.{block}.ls1.gamma"]
        y = norm(x, f"{block}.norm2")
        if f"pretrained.{block}.mlp.w12.weight" in state:
            gate, value = F.linear(y, *get(f"{block}.mlp.w12")).chunk(2, dim=-1)
            y = F.linear(F.silu(gate) * value, *get(f"{block}.mlp.w3"))
        else:
            y = F.linear(F.gelu(F.linear(y, *get(f"{block}.mlp.fc1"))), *get(f"{block}.mlp.fc2"))
        x = x + y * state[f"pretrained.{block}.ls2.gamma"]
        features.append(norm(x, "norm"))
    return features


def original_head(state: State, features: list[Tensor], rows: int, cols: int) -> Tensor:
    def get(name: str) -> tuple[Tensor, Tensor]:
        return state[f"depth_head.{name}.weight"], state[f"depth_head.{name}.bias"]

    def residual(x: Tensor, unit: str) -> Tensor:
        y = F.conv2d(x.relu(), *get(f"{unit}.conv1"), padding=1)
        return x + F.conv2d(y.relu(), *get(f"{unit}.conv2"), padding=1)

    maps = []
    for i, feature in enumerate(features):
        x = feature[:, 1:].transpose(1, 2).unflatten(2, (rows, cols))
        x = F.conv2d(x, *get(f"projects.{i}"))
        if i in (0, 1):
            x = F.conv_transpose2d(x, *get(f"resize_layers.{i}"), stride=(4, 2)[i])
        elif i == 3:
            x = F.conv2d(x, *get("resize_layers.3"), stride=2, padding=1)
        kernel = state[f"depth_head.scratch.layer{i + 1}_rn.weight"]
        maps.append(F.conv2d(x, kernel, padding=1))
    path = None
    for i in (3, 2, 1, 0):
        net = f"scratch.refinenet{i + 1}"
        path = maps[i] if path is None else path + residual(maps[i], f"{net}.resConfUnit1")
        path = residual(path, f"{net}.resConfUnit2")
        larger = maps[i - 1].shape[2:] if i else [2 * n for n in path.shape[2:]]
        path = F.interpolate(path, list(larger), mode="bilinear", align_corners=True)
        path = F.conv2d(path, *get(f"{net}.out_conv"))
    path = F.conv2d(path, *get("scratch.output_conv1"), padding=1)
    size = (rows * PATCH, cols * PATCH)
    path = F.interpolate(path, size, mode="bilinear", align_corners=True)
    path = F.conv2d(path, *get("scratch.output_conv2.0"), padding=1).relu()
    return F.conv2d(path, *get("scratch.output_conv2.2")).relu()


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
