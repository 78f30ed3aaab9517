"""The authors' prior, rewritten from its description: a file of theirs, and its forward pass.

The state dicts are in the layout of their files: depth_anything_v2_vit{s,b,l,g}.pth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
HIDDEN, HEADS, LAYERS, SIDE, PATCH, FUSION, NECK = 128, 2, 4, 5, 14, 16, (8, 8, 16, 16)


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
