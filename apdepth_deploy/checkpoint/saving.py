"""A model as a checkpoint folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from apdepth_deploy.checkpoint.diffusers_layout import SPEC_FILE
from apdepth_deploy.checkpoint.reading import quiet
from apdepth_deploy.checkpoint.transformers_layout import TEXT_EMBEDDING_FILE
from apdepth_deploy.errors import UsageError
from apdepth_deploy.spec import ModelSpec


class Model(Protocol):
    """What of an ``ApDepth`` is saved."""

    spec: ModelSpec
    unet: Any
    vae: Any
    decoder_vae: Any
    prior: Any
    text_embedding: Tensor


def save_checkpoint(model: Model, folder: Path) -> None:
    """Write a model as a checkpoint folder that ``load_checkpoint`` reads back, in safetensors.

    Raises UsageError for a model whose VAE is of two: a folder holds whole ones.
    """
    if model.decoder_vae is not None:
        raise UsageError("a model that decodes with another VAE can be exported, but not saved")
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.unet.save_pretrained(folder / "unet")
        model.vae.save_pretrained(folder / "vae")
        if model.prior is not None:
            model.prior.net.save_pretrained(folder / "prior")
    np.save(folder / TEXT_EMBEDDING_FILE, model.text_embedding.float().cpu().numpy())
    plain = model.spec.to_json()
    spec = {key: plain[key] for key in ("conventions", "trained_at") if key in plain}
    (folder / SPEC_FILE).write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
