"""Checkpoints in: a diffusers folder or hub repository, and original Depth Anything V2 files.

The only module that knows names of checkpoint files and keys.
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import numpy as np
import torch
import transformers.utils.logging
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    CLIPTextModel,
    CLIPTokenizer,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
)

from apdepth_deploy.errors import ApDepthError, CheckpointError, UsageError
from apdepth_deploy.model.apdepth import ApDepth
from apdepth_deploy.spec import (
    CONVENTIONS,
    Conventions,
    ModelSpec,
    conventions_from_json,
    named_conventions,
    with_vae_config,
)

SPEC_FILE = "apdepth.json"
TEXT_EMBEDDING_FILE = "empty_text_embed.npy"

_STATE_DICT = dict[str, Tensor]


def load_checkpoint(
    checkpoint: str,
    *,
    prior: str | None = None,
    conventions: str | None = None,
    unet: str | None = None,
    vae: str | None = None,
    vae_side: str = "both",
    revision: str | None = None,
) -> ApDepth:
    """See ``ApDepth.from_checkpoint``."""
    folder = find_folder(checkpoint, revision)
    own = _read_spec_file(folder)
    unet_net = _load_diffusers(folder / "unet" if unet is None else Path(unet), _UNETS)
    whole, half = (vae, None) if vae_side == "both" else (None, vae)
    vae_net = load_vae(folder / "vae" if whole is None else find_folder(whole))
    prior_net = _find_prior(folder, prior, unet_net.config.in_channels)
    rules = own if conventions is None else named_conventions(conventions)
    if whole is not None:
        rules = with_scale_of(vae_net, rules)
    text = _load_text_embedding(folder, unet_net.config.cross_attention_dim)
    name = Path(checkpoint).resolve().name
    model = assemble(name, unet_net, vae_net, prior_net, text, rules)
    return model if half is None else _with_one_side(model, load_vae(find_folder(half)), vae_side)


def _with_one_side(model: ApDepth, other: AutoencoderKL | AutoencoderTiny, side: str) -> ApDepth:
    """The model with ``other`` as its "encoder" or "decoder", and its own VAE as the other side."""
    spec = with_vae_config(model.spec, _plain_config(other), side)
    encoder, decoder = (other, model.vae) if side == "encoder" else (model.vae, other)
    prior = None if model.prior is None else model.prior.net
    return ApDepth(spec, model.unet, encoder, prior, model.text_embedding, decoder)


def assemble(
    name: str,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL | AutoencoderTiny,
    prior: DepthAnythingForDepthEstimation | None,
    text: Tensor,
    conventions: Conventions,
) -> ApDepth:
    """The model of these networks; ``text`` is the constant embedding [1, tokens, channels].

    Raises CheckpointError where they don't fit together.
    """
    spec = ModelSpec(
        name=name,
        unet=_plain_config(unet),
        vae=_plain_config(vae),
        prior=None if prior is None else _plain_prior_config(prior),
        text_shape=(text.shape[1], text.shape[2]),
        conventions=_fit_conventions(conventions, prior is not None, vae),
    )
    return ApDepth(spec, unet, vae, prior, text)


def save_checkpoint(model: ApDepth, folder: Path) -> None:
    """Write a model as a checkpoint folder that ``load_checkpoint`` reads back, in safetensors.

    Raises UsageError for a model whose VAE is of two: a folder holds whole ones.
    """
    if model.decoder_vae is not None:
        raise UsageError("a model that decodes with another VAE can be exported, but not saved")
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        model.unet.save_pretrained(folder / "unet")
        model.vae.save_pretrained(folder / "vae")
        if model.prior is not None:
            model.prior.net.save_pretrained(folder / "prior")
    np.save(folder / TEXT_EMBEDDING_FILE, model.text_embedding.float().cpu().numpy())
    spec = {"conventions": model.spec.to_json()["conventions"]}
    (folder / SPEC_FILE).write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")


# --- where things are ----------------------------------------------------------------------------


#: Networks of a checkpoint, and "" for a repository that is one network (a prior).
_NETWORKS = ("", "unet", "vae", "text_encoder", "prior")


def shipped_folder(name: str) -> Path | None:
    """The checkpoint of that name inside this package; None where it ships none."""
    folder = Path(__file__).parents[1] / "data" / "weights" / name
    return folder if re.fullmatch(r"\w+", name) and folder.is_dir() else None


def find_folder(name: str | Path, revision: str | None = None) -> Path:
    """A local folder as it is, weights that ship with the package, or a hub repository's snapshot.

    Raises CheckpointError where it is none of them.
    """
    path = Path(name)
    if path.is_dir():
        return path
    shipped = shipped_folder(str(name))
    if shipped is not None:
        return shipped
    if path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise CheckpointError(f"{name} is neither a checkpoint folder nor a hub id (owner/name)")
    return _download(str(name), revision)


def _download(name: str, revision: str | None) -> Path:
    """Fetch a repository's networks: plain safetensors, other forms only where there are none."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "*.npy", *_weight_patterns(_NETWORKS, ".safetensors")]
    try:
        folder = Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=patterns,
                ignore_patterns=["*.fp16*", "*.non_ema*"],
            )
        )
        bare = [net for net in _NETWORKS if _has_no_weights(folder / net)]
        if bare:
            others = _weight_patterns(bare, ".fp16*.safetensors") + _weight_patterns(bare, ".bin")
            snapshot_download(name, revision=revision, allow_patterns=others)
    except Exception as error:
        raise CheckpointError(
            f"{name} is no local folder, and can't be had from the hub: {_first_lines(error)}"
        ) from error
    return folder


def _weight_patterns(networks: Iterable[str], suffix: str) -> list[str]:
    """Weights in the networks' own folders; what else a repository holds can be gigabytes."""
    stems = (*_DIFFUSERS_WEIGHTS, *_TRANSFORMERS_WEIGHTS)
    return [f"{net}/{stem}*{suffix}".lstrip("/") for net in networks for stem in stems]


def _has_no_weights(folder: Path) -> bool:
    return (folder / "config.json").is_file() and not any(folder.glob("*.safetensors"))


def _read_spec_file(folder: Path) -> Conventions:
    path = folder / SPEC_FILE
    if not path.is_file():
        return CONVENTIONS["v1.1"]
    data = _read_json(path)
    try:
        return conventions_from_json(data["conventions"])
    except (KeyError, TypeError, CheckpointError) as error:
        raise CheckpointError(f"{path} has no usable 'conventions': {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the checkpoint is not complete") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object but a {type(data).__name__}")
    return data


def _fit_conventions(
    rules: Conventions, has_prior: bool, vae: AutoencoderKL | AutoencoderTiny
) -> Conventions:
    """The rules that follow from the parts: no prior, no prior latent; a tiny VAE's own scale."""
    concat = rules.concat if has_prior else ("rgb",)
    if has_prior and "prior" not in concat:
        raise CheckpointError(
            f"{SPEC_FILE} describes a model without a prior: pass --prior none or --conventions"
        )
    rules = dataclasses.replace(rules, concat=concat)
    return with_scale_of(vae, rules) if isinstance(vae, AutoencoderTiny) else rules


# --- networks ------------------------------------------------------------------------------------

_UNETS: dict[str, Any] = {"UNet2DConditionModel": UNet2DConditionModel}
_VAES: dict[str, Any] = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}

_DIFFUSERS_WEIGHTS = ("diffusion_pytorch_model",)
_TRANSFORMERS_WEIGHTS = ("model", "pytorch_model")

#: Names that the VAE's attention had in diffusers before 0.15, and has in stored SD 2 checkpoints.
_OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _load_diffusers(folder: Path, kinds: Mapping[str, Any]) -> Any:
    """One of ``kinds`` (class name -> class) as float32, its weights read by ``_read_weights``."""
    config = _read_config(folder, "_class_name", list(kinds))
    with _loading(folder / "config.json"), torch.device("meta"):
        network = kinds[config.get("_class_name", next(iter(kinds)))].from_config(config)
    weights = _read_weights(folder, _DIFFUSERS_WEIGHTS)
    _assign(network, {_rename_attention(key): weights[key] for key in weights}, str(folder))
    return network


def load_vae(folder: Path) -> AutoencoderKL | AutoencoderTiny:
    """The VAE of a ``vae/`` folder as float32. Raises CheckpointError."""
    network: AutoencoderKL | AutoencoderTiny = _load_diffusers(folder, _VAES)
    return network


def with_scale_of(vae: AutoencoderKL | AutoencoderTiny, rules: Conventions) -> Conventions:
    """The rules with the latent scale that a VAE was trained for."""
    return dataclasses.replace(rules, latent_scale=float(vae.config.scaling_factor))


def _rename_attention(key: str) -> str:
    return re.sub(
        r"(\.mid_block\.attentions\.\d+)\.(query|key|value|proj_attn)\.",
        lambda match: f"{match[1]}.{_OLD_VAE_ATTENTION[match[2]]}.",
        key,
    )


def _load_transformers(folder: Path, kind: Any, model_type: str) -> Any:
    """A transformers model as float32, with key names of any transformers version."""
    config = _read_config(folder, "model_type", [model_type])
    weights = _read_weights(folder, _TRANSFORMERS_WEIGHTS)
    with _loading(folder):
        network, info = kind.from_pretrained(
            None,
            config=kind.config_class.from_dict(config),
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    _require_keys(str(folder), info["missing_keys"], info["unexpected_keys"])
    for key, found, expected in sorted(info["mismatched_keys"]):
        _require_shape(str(folder), key, found, expected)
    return network


def _read_config(folder: Path, key: str, kinds: list[str]) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing: the checkpoint is not complete")
    config = _read_json(folder / "config.json")
    kind = config.get(key, kinds[0])
    if kind not in kinds:
        raise CheckpointError(f"{folder} holds a {kind}; it must be one of {', '.join(kinds)}")
    return config


def _read_weights(folder: Path, stems: Iterable[str]) -> _STATE_DICT:
    """All tensors of a network's folder: plain files before fp16 ones, safetensors before .bin."""
    names = [
        f"{stem}{variant}{part}{suffix}"
        for variant in ("", ".fp16")
        for suffix in (".safetensors", ".bin")
        for stem in stems
        for part in ("", "-*-of-*")
    ]
    for name in names:
        files = sorted(folder.glob(name))
        if files:
            return {key: value for path in files for key, value in _read(path).items()}
    raise CheckpointError(f"{folder} has no {names[0]} or .bin: the weights are missing")


def _read(path: Path) -> _STATE_DICT:
    """The tensors of a .safetensors or PyTorch file as float32, in memory of their own.

    Pickled code is refused, never run.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size < 1000 and path.read_bytes().startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a git-lfs pointer, not the weights: run git lfs pull")
    with _loading(path, "it is cut short or damaged, or holds more than tensors: get it again"):
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            mmap = zipfile.is_zipfile(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        # A mapped tensor is aligned as the file has it, and then kernels round in another order.
        return {key: _as_float32(value) for key, value in state.items()}


def _as_float32(value: Tensor) -> Tensor:
    dtype = torch.float32 if value.is_floating_point() else value.dtype
    return value.to(dtype, copy=True)


def _assign(network: nn.Module, weights: _STATE_DICT, what: str) -> None:
    """Give a network on the meta device its weights; any key or shape that doesn't fit raises."""
    wanted = network.state_dict()
    _require_keys(what, set(wanted) - set(weights), set(weights) - set(wanted))
    for key, value in weights.items():
        _require_shape(what, key, value.shape, wanted[key].shape)
    network.load_state_dict(weights, assign=True)
    network.eval()


@contextmanager
def _loading(what: Path, reason: str | None = None) -> Iterator[None]:
    """Whatever a library raises meanwhile becomes a CheckpointError about ``what``."""
    try:
        with _quiet():
            yield
    except (ApDepthError, ImportError, MemoryError):
        raise
    except Exception as error:
        # Not pickle's own words: they advise to run the code in the file.
        reason = _first_lines(error) if isinstance(error, PermissionError) else reason
        reason = reason or _first_lines(error)
        raise CheckpointError(f"{what} can't be loaded: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries print nothing meanwhile: what matters of it is raised."""
    loggers = (diffusers.utils.logging, transformers.utils.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.set_verbosity(logger.CRITICAL)
            transformers.utils.logging.disable_progress_bar()
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.set_verbosity(level)
            if bars:
                transformers.utils.logging.enable_progress_bar()


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _require_keys(what: str, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    missing, unexpected = sorted(missing), sorted(unexpected)
    parts = [f"{len(missing)} missing ({_some(missing)})"] if missing else []
    parts += [f"{len(unexpected)} unexpected ({_some(unexpected)})"] if unexpected else []
    if parts:
        raise CheckpointError(f"{what}: the weights don't fit the network: {', '.join(parts)}")


def _require_shape(what: str, key: str, found: Iterable[int], expected: Iterable[int]) -> None:
    found, expected = list(found), list(expected)
    if found != expected:
        raise CheckpointError(f"{what}: {key} has shape {found}, expected {expected}")


def _some(names: list[str], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _plain_config(network: Any) -> dict[str, Any]:
    """A diffusers configuration as plain JSON, without private bookkeeping."""
    config = {k: v for k, v in dict(network.config).items() if not k.startswith("_")}
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return {"_class_name": type(network).__name__, **plain}


def _plain_prior_config(network: DepthAnythingForDepthEstimation) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(network.config.to_json_string(use_diff=True))
    return plain


# --- the prior -----------------------------------------------------------------------------------


def _find_prior(
    folder: Path, prior: str | None, channels: int
) -> DepthAnythingForDepthEstimation | None:
    if prior == "none" or (prior is None and channels == 4):
        return None
    if prior is not None:
        return load_prior(prior)
    if not (folder / "prior").is_dir():
        raise CheckpointError(
            f"{folder} has no prior/ folder and its U-Net takes {channels} channels: pass --prior "
            "(a transformers folder, a hub id such as depth-anything/Depth-Anything-V2-Small-hf, "
            "or depth_anything_v2_vits.pth)"
        )
    return load_prior(str(folder / "prior"))


def load_prior(source: str) -> DepthAnythingForDepthEstimation:
    """Depth Anything V2 from a transformers folder, a hub id or the authors' .pth file."""
    path = Path(source)
    if path.suffix in (".pth", ".pt") or path.is_file():
        return _load_original_prior(path)
    return _load_transformers(
        find_folder(source), DepthAnythingForDepthEstimation, "depth_anything"
    )


def _load_original_prior(path: Path) -> DepthAnythingForDepthEstimation:
    state = _read(path)
    with _loading(path, "it is no Depth Anything V2 file: weights lack that tell its sizes"):
        config = original_prior_config(state)
        with torch.device("meta"):
            network = DepthAnythingForDepthEstimation(config)
        renamed = rename_original_prior(state, config)
    _assign(network, renamed, str(path))
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


def rename_original_prior(state: Mapping[str, Tensor], config: DepthAnythingConfig) -> _STATE_DICT:
    """Original Depth Anything V2 keys -> those of the installed transformers.

    Fused tensors are split: qkv in thirds, SwiGLU's w12 in halves (the first is the gate).
    """
    names = _attention_names(config)
    renamed: _STATE_DICT = {}
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


def _split_swiglu(layer: str, kind: str, value: Tensor, names: Mapping[str, Any]) -> _STATE_DICT:
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


# --- the empty prompt ----------------------------------------------------------------------------


def _load_text_embedding(folder: Path, channels: int) -> Tensor:
    """The constant embedding [1,T,C] of the empty prompt: read from .npy, or computed once."""
    path = folder / TEXT_EMBEDDING_FILE
    if path.is_file():
        with _loading(path, "it is no plain array in NumPy's .npy format"):
            embedding = torch.from_numpy(np.load(path, allow_pickle=False)).float()
    elif (folder / "text_encoder").is_dir():
        embedding = _encode_empty_text(folder)
    else:
        raise CheckpointError(
            f"{folder} has neither {TEXT_EMBEDDING_FILE} nor text_encoder/ + tokenizer/"
        )
    if embedding.ndim != 3 or embedding.shape[0] != 1 or embedding.shape[2] != channels:
        raise CheckpointError(
            f"{folder}: the empty-text embedding is {list(embedding.shape)}; "
            f"the U-Net takes [1, tokens, {channels}]"
        )
    return embedding


@torch.no_grad()
def _encode_empty_text(folder: Path) -> Tensor:
    """CLIP's last hidden state for "", unpadded: two tokens, begin and end of text."""
    encoder = _load_transformers(folder / "text_encoder", CLIPTextModel, "clip_text_model")
    path = folder / "tokenizer"
    # Without them transformers makes a tokenizer of its own, with other numbers for the tokens.
    if not any((path / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        raise CheckpointError(f"{path} has no vocab.json: the checkpoint is not complete")
    with _loading(path):
        tokenizer = CLIPTokenizer.from_pretrained(str(path), local_files_only=True)
        tokens = tokenizer("", padding="do_not_pad", return_tensors="pt")
        embedding: Tensor = encoder(tokens.input_ids)[0]
    return embedding
