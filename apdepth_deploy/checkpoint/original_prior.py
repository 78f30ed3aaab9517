"""The authors' own files of Depth Anything V2 (``depth_anything_v2_vit{s,b,l,g}.pth``).

Sizes are read off the tensors; keys become those of the installed transformers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from apdepth_deploy.checkpoint.reading import StateDict, assign, loading, read_tensors
from apdepth_deploy.errors import CheckpointError


def load_original_prior(path: Path) -> DepthAnythingForDepthEstimation:
    if "metric" in path.name.lower():  # nothing else tells: the same tensors, another last function
        raise CheckpointError(
            f"{path} is a metric model by its name (near = small), and the chain takes disparity "
            "(near = large): use depth_anything_v2_vits.pth, or another size of it"
        )
    state = read_tensors(path)
    with loading(path, "it is no Depth Anything V2 file: weights lack that tell its sizes"):
        config = original_prior_config(state)
        with torch.device("meta"):
            network = DepthAnythingForDepthEstimation(config)
        renamed = rename_original_prior(state, config)
    assign(network, renamed, str(path))
    return network


#: Layers after which features are taken, by the number of layers (the original's
#: ``intermediate_layer_idx``, counted from 1).
_OUT_INDICES = {12: [3, 6, 9, 12], 24: [5, 12, 18, 24], 40: [10, 20, 30, 40]}


def original_prior_config(state: Mapping[str, Tensor]) -> DepthAnythingConfig:
    """Sizes of an original Depth Anything V2 file, read off its tensors."""
    hidden = state["pretrained.pos_embed"].shape[2]
    layers = 1 + max(_block(key) for key in state)
    side = round((state["pretrained.pos_embed"].shape[1] - 1) ** 0.5)
    patch = state["pretrained.patch_embed.proj.weight"].shape[2]
    swiglu = "pretrained.blocks.0.mlp.w12.weight" in state
    backbone = {
        "model_type": "dinov2",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "image_size": side * patch,
        "patch_size": patch,
        "use_swiglu_ffn": swiglu,
        "out_indices": _OUT_INDICES.get(layers, [layers * k // 4 for k in (1, 2, 3, 4)]),
        "apply_layernorm": True,
        "reshape_hidden_states": False,
    }
    if not swiglu:
        backbone["mlp_ratio"] = state["pretrained.blocks.0.mlp.fc1.weight"].shape[0] // hidden
    return DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=patch,
        reassemble_hidden_size=hidden,
        neck_hidden_sizes=[state[f"depth_head.projects.{i}.weight"].shape[0] for i in range(4)],
        fusion_hidden_size=state["depth_head.scratch.layer1_rn.weight"].shape[0],
        head_hidden_size=state["depth_head.scratch.output_conv2.0.weight"].shape[0],
    )


_LAYER = "backbone.encoder.layer."


def _block(key: str) -> int:
    found = re.match(r"pretrained\.blocks\.(\d+)\.", key)
    return int(found[1]) if found else -1


def rename_original_prior(state: Mapping[str, Tensor], config: DepthAnythingConfig) -> StateDict:
    """Original Depth Anything V2 keys -> those of the installed transformers.

    Fused tensors are split: qkv in thirds, SwiGLU's w12 in halves (the first is the gate).
    """
    names = _attention_names(config)
    renamed: StateDict = {}
    for key, value in state.items():
        if ".attn.qkv." in key:
            kind = key.rsplit(".", 1)[1]
            parts = zip(names["qkv"], value.chunk(3), strict=True)
            renamed |= {f"{_layer(key)}.{name}.{kind}": part for name, part in parts}
        elif ".mlp.w12." in key:
            kind = key.rsplit(".", 1)[1]
            renamed |= _split_swiglu(_layer(key), kind, value, names)
        else:
            renamed[_rename(key, names)] = value
    return renamed


def _split_swiglu(layer: str, kind: str, value: Tensor, names: Mapping[str, Any]) -> StateDict:
    if len(names["w12"]) == 1:
        return {f"{layer}.{names['w12'][0]}.{kind}": value}
    parts = zip(names["w12"], value.chunk(2), strict=True)
    return {f"{layer}.{name}.{kind}": part for name, part in parts}


def _layer(key: str) -> str:
    return f"{_LAYER}{_block(key)}"


def _attention_names(config: DepthAnythingConfig) -> dict[str, Any]:
    """What the installed transformers calls the parts that changed names between its versions."""
    with torch.device("meta"):
        keys = set(DepthAnythingForDepthEstimation(config).state_dict())
    new = any(key.endswith(".attention.q_proj.weight") for key in keys)
    old_qkv = [f"attention.attention.{name}" for name in ("query", "key", "value")]
    split = any(key.endswith(".mlp.gate_proj.weight") for key in keys)
    return {
        "qkv": [f"attention.{n}_proj" for n in "qkv"] if new else old_qkv,
        "proj": "attention.o_proj" if new else "attention.output.dense",
        "w12": ["mlp.gate_proj", "mlp.up_proj"] if split else ["mlp.weights_in"],
        "w3": "mlp.down_proj" if split else "mlp.weights_out",
    }


def _rename(key: str, names: Mapping[str, Any]) -> str:
    for pattern, replacement in _RENAMES:
        key, found = re.subn(pattern, replacement, key)
        if found:
            break
    return key.replace(".attn.proj.", f".{names['proj']}.").replace(".mlp.w3.", f".{names['w3']}.")


def _refinenet(match: re.Match[str]) -> str:
    """Original refinenet1..4 are the fusion layers 3..0."""
    return f"neck.fusion_stage.layers.{4 - int(match[1])}."


def _refinenet_unit(match: re.Match[str]) -> str:
    layer = 4 - int(match[1])
    return f"neck.fusion_stage.layers.{layer}.residual_layer{match[2]}.convolution{match[3]}."


def _reassemble_conv(match: re.Match[str]) -> str:
    return f"neck.convs.{int(match[1]) - 1}."


_RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^pretrained\.blocks\.(\d+)\.ls([12])\.gamma$", _LAYER + r"\1.layer_scale\2.lambda1"),
    (r"^pretrained\.blocks\.", _LAYER),
    (r"^pretrained\.norm\.", "backbone.layernorm."),
    (r"^pretrained\.cls_token$", "backbone.embeddings.cls_token"),
    (r"^pretrained\.mask_token$", "backbone.embeddings.mask_token"),
    (r"^pretrained\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"^pretrained\.patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"^depth_head\.projects\.(\d)\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"^depth_head\.resize_layers\.(\d)\.", r"neck.reassemble_stage.layers.\1.resize."),
    (r"^depth_head\.scratch\.layer(\d)_rn\.", _reassemble_conv),
    (r"^depth_head\.scratch\.refinenet(\d)\.resConfUnit(\d)\.conv(\d)\.", _refinenet_unit),
    (r"^depth_head\.scratch\.refinenet(\d)\.out_conv\.", lambda m: _refinenet(m) + "projection."),
    (r"^depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
)  # fmt: skip
