"""Networks as transformers writes them: the prior, and the text encoder for the empty prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, DepthAnythingForDepthEstimation

from apdepth_deploy.checkpoint.original_prior import load_original_prior
from apdepth_deploy.checkpoint.places import TRANSFORMERS_WEIGHTS, find_folder
from apdepth_deploy.checkpoint.reading import (
    loading,
    read_config,
    read_weights,
    require_keys,
    require_shape,
)
from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.spec.kinds import check_prior

TEXT_EMBEDDING_FILE = "empty_text_embed.npy"


def load_prior(source: str) -> DepthAnythingForDepthEstimation:
    """Depth Anything V2 from a transformers folder, a hub id or the authors' .pth file."""
    path = Path(source)
    if path.suffix in (".pth", ".pt") or path.is_file():
        return load_original_prior(path)
    folder = find_folder(source)
    check_prior(read_config(folder, "model_type", ["depth_anything"]), folder)
    return _load_transformers(folder, DepthAnythingForDepthEstimation, "depth_anything")


def _load_transformers(folder: Path, kind: Any, model_type: str) -> Any:
    """A transformers model as float32, with key names of any transformers version."""
    config = read_config(folder, "model_type", [model_type])
    weights = read_weights(folder, TRANSFORMERS_WEIGHTS)
    with loading(folder):
        network, info = kind.from_pretrained(
            None,
            config=kind.config_class.from_dict(config),
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    require_keys(str(folder), info["missing_keys"], info["unexpected_keys"])
    for key, found, expected in sorted(info["mismatched_keys"]):
        require_shape(str(folder), key, found, expected)
    return network


def load_text_embedding(folder: Path, channels: int) -> Tensor:
    """The constant embedding [1,T,C] of the empty prompt: read from .npy, or computed once."""
    path = folder / TEXT_EMBEDDING_FILE
    if path.is_file():
        with loading(path, "it is no plain array in NumPy's .npy format"):
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
    with loading(path):
        tokenizer = CLIPTokenizer.from_pretrained(str(path), local_files_only=True)
        tokens = tokenizer("", padding="do_not_pad", return_tensors="pt")
        embedding: Tensor = encoder(tokens.input_ids)[0]
    return embedding
