"""Weights files and configurations of any network, read safely: pickled code is refused, never run.

Knows no names of keys.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging
from safetensors.torch import load_file
from torch import Tensor, nn

from apdepth_deploy.errors import ApDepthError, CheckpointError

StateDict = dict[str, Tensor]


def read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the checkpoint is not complete") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object but a {type(data).__name__}")
    return data


def read_config(folder: Path, key: str, kinds: list[str]) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing: the checkpoint is not complete")
    config = read_json(folder / "config.json")
    kind = config.get(key, kinds[0])
    if kind not in kinds:
        raise CheckpointError(f"{folder} holds a {kind}; it must be one of {', '.join(kinds)}")
    return config


def read_weights(folder: Path, stems: Iterable[str]) -> StateDict:
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
            return {key: value for path in files for key, value in read_tensors(path).items()}
    raise CheckpointError(f"{folder} has no {names[0]} or .bin: the weights are missing")


def read_tensors(path: Path) -> StateDict:
    """The tensors of a .safetensors or PyTorch file as float32, in memory of their own.

    Pickled code is refused, never run.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size < 1000 and path.read_bytes().startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a git-lfs pointer, not the weights: run git lfs pull")
    with loading(path, "it is cut short or damaged, or holds more than tensors: get it again"):
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


def assign(network: nn.Module, weights: StateDict, what: str) -> None:
    """Give a network on the meta device its weights; any key or shape that doesn't fit raises."""
    wanted = network.state_dict()
    require_keys(what, set(wanted) - set(weights), set(weights) - set(wanted))
    for key, value in weights.items():
        require_shape(what, key, value.shape, wanted[key].shape)
    network.load_state_dict(weights, assign=True)
    network.eval()


@contextmanager
def loading(what: Path, reason: str | None = None) -> Iterator[None]:
    """Whatever a library raises meanwhile becomes a CheckpointError about ``what``."""
    try:
        with quiet():
            yield
    except (ApDepthError, ImportError, MemoryError):
        raise
    except Exception as error:
        # Not pickle's own words: they advise to run the code in the file.
        reason = first_lines(error) if isinstance(error, PermissionError) else reason
        reason = reason or first_lines(error)
        raise CheckpointError(f"{what} can't be loaded: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
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


def first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def require_keys(what: str, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    missing, unexpected = sorted(missing), sorted(unexpected)
    parts = [f"{len(missing)} missing ({_some(missing)})"] if missing else []
    parts += [f"{len(unexpected)} unexpected ({_some(unexpected)})"] if unexpected else []
    if parts:
        raise CheckpointError(f"{what}: the weights don't fit the network: {', '.join(parts)}")


def require_shape(what: str, key: str, found: Iterable[int], expected: Iterable[int]) -> None:
    found, expected = list(found), list(expected)
    if found != expected:
        raise CheckpointError(f"{what}: {key} has shape {found}, expected {expected}")


def _some(names: list[str], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
