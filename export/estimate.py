"""What an export will take, said before it starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from apdepth_deploy.bundle import ITEM_SIZE
from apdepth_deploy.model.networks import count_parameters
from apdepth_deploy.spec import ModelSpec, is_tiny_vae

from .shapes import FrameShape

#: Interpreter, libraries and the traced graph itself.
_BASE_BYTES = 1.0e9


def peak_memory(
    spec: ModelSpec, weights: int, precisions: Sequence[str], shape: FrameShape, verify: bool
) -> float:
    """Estimated peak bytes of resident memory for an export.

    The float32 model with its activations, then (freed) ONNX Runtime with the weights of one
    precision: half-precision weights are widened to float32 for the CPU, and stand twice.
    ``weights`` is how many there are.
    """
    narrow = min(ITEM_SIZE[precision] for precision in precisions)
    tracing = 4 * weights + (narrow * weights if narrow < 4 else 0) / 2
    if not verify:
        return _BASE_BYTES + tracing
    activations = _activation_bytes(spec, shape)
    running = 4 * weights + (narrow * weights if narrow < 4 else 0)
    return _BASE_BYTES + max(tracing, 4 * weights + activations, running + activations)


def _activation_bytes(spec: ModelSpec, shape: FrameShape) -> float:
    """The decoder's last level holds the most: about six float32 maps of its second width."""
    batch, height, width = shape.opt
    tiny = is_tiny_vae(spec.decoding)
    key = "decoder_block_out_channels" if tiny else "block_out_channels"
    channels: list[int] = list(spec.decoding[key])
    return 6.0 * 4 * batch * height * width * channels[min(1, len(channels) - 1)]


def available_memory() -> float | None:
    """Bytes that new work can take, where the system tells (Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return float(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def disk_bytes(weights: int, kinds: Sequence[str], precisions: Sequence[str]) -> float:
    """Bytes of weights that the bundle will hold."""
    return float(len(kinds) * weights * sum(ITEM_SIZE[precision] for precision in precisions))


def describe(
    spec: ModelSpec,
    kinds: Sequence[str],
    precisions: Sequence[str],
    shape: FrameShape,
    verify: bool,
) -> str:
    """One line: what it needs, and a warning where there is less."""
    weights = sum(count_parameters(spec).values())
    memory = peak_memory(spec, weights, precisions, shape, verify)
    free = available_memory()
    disk = disk_bytes(weights, kinds, precisions)
    line = f"needs about {memory / 1e9:.1f} GB of memory and {disk / 1e9:.2f} GB of disk"
    if free is not None and free < memory:
        line += f"; ONLY {free / 1e9:.1f} GB of memory is free on {os.uname().nodename}"
    return line
