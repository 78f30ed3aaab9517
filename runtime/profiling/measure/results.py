"""What ``profile`` is asked and what it answers, as plain data: the fields of its JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from apdepth_deploy.errors import UsageError

from .layers import Layer
from .roofline import Roofline
from .timing import Stage, Timing


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to measure: every backend in every precision (None: what the device runs best)."""

    backends: tuple[str, ...] = ("auto",)
    precisions: tuple[str | None, ...] = (None,)
    device: str = "auto"
    checkpoint: str | None = None
    image: Path | None = None
    runs: int = 50
    warm_up: int = 5
    layers: bool = False

    def __post_init__(self) -> None:
        for name, value in (("--runs", self.runs), ("--warm-up", self.warm_up)):
            if value < 1:
                raise UsageError(f"{name} {value}: at least 1 run is needed")


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes; None where there is no such thing.

    ``host_growth`` is how far this process's peak resident memory rose over loading and warming
    up, None where an earlier peak hides it; ``gpu_growth`` how far the GPU's used memory did;
    ``weights`` and ``activations`` are what the manifest says.
    """

    host_growth: int | None
    gpu_growth: int | None
    weights: int
    activations: int | None


@dataclasses.dataclass(frozen=True)
class Measured:
    """All about one backend in one precision; ``ratio`` is its median over the first one's.

    ``host`` has copies from and to the host in it, ``device_only`` has not.
    """

    label: str
    backend: str
    device: str
    precision: str
    reason: str
    load_seconds: float
    first_ms: float
    ratio: float
    host: Timing
    device_only: Timing | None
    stages: tuple[Stage, ...] | None
    layers: tuple[Layer, ...] | None
    memory: Memory
    roofline: Roofline | None
    notes: tuple[str, ...]
