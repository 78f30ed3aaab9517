"""Where a checkpoint lies: a folder, the weights in this package, or the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from apdepth_deploy.checkpoint.card import CARD
from apdepth_deploy.checkpoint.reading import first_lines
from apdepth_deploy.errors import CheckpointError

#: Networks of a checkpoint, and "" for a repository that is one network (a prior).
_NETWORKS = ("", "unet", "vae", "text_encoder", "prior")


DIFFUSERS_WEIGHTS = ("diffusion_pytorch_model",)


TRANSFORMERS_WEIGHTS = ("model", "pytorch_model")


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

    patterns = ["*.json", "*.txt", "*.npy", CARD, *_weight_patterns(_NETWORKS, ".safetensors")]
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
            f"{name} is no local folder, and can't be had from the hub: {first_lines(error)}"
        ) from error
    return folder


def _weight_patterns(networks: Iterable[str], suffix: str) -> list[str]:
    """Weights in the networks' own folders; what else a repository holds can be gigabytes."""
    stems = (*DIFFUSERS_WEIGHTS, *TRANSFORMERS_WEIGHTS)
    return [f"{net}/{stem}*{suffix}".lstrip("/") for net in networks for stem in stems]


def _has_no_weights(folder: Path) -> bool:
    return (folder / "config.json").is_file() and not any(folder.glob("*.safetensors"))
