"""Layers as an engine runs them: what measurement and report both speak of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer as the engine runs it; ``kind`` is its operation, "" where the name has none."""

    name: str
    kind: str
    ms: float
    share: float

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}".strip()


def as_layers(seconds: Sequence[tuple[str, float]]) -> tuple[Layer, ...]:
    """What ``Chain.layer_seconds`` gives, with each layer's share; "Type: name" has its kind."""
    whole = sum(taken for _, taken in seconds)
    return tuple(
        Layer(name, kind if colon else "", taken * 1e3, taken / whole if whole else 0.0)
        for label, taken in seconds
        for kind, colon, rest in [label.partition(": ")]
        for name in [rest if colon else label]
    )


def longest(layers: Sequence[Layer], most: int) -> list[Layer]:
    return sorted(layers, key=lambda layer: -layer.ms)[:most]


def by_kind(layers: Sequence[Layer], most: int = 12) -> list[tuple[str, int, float, float]]:
    """(operation, how many layers, milliseconds, share), the longest first; what comes after
    ``most`` of them as one."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.kind or "no type", []).append(layer)
    rows = sorted((_total(*group) for group in groups.items()), key=lambda row: -row[2])
    if len(rows) <= most + 1:
        return rows
    known = {row[0] for row in rows[:most]}
    others = [layer for layer in layers if (layer.kind or "no type") not in known]
    return [*rows[:most], _total(f"{len(rows) - most} others", others)]


def _total(kind: str, layers: Sequence[Layer]) -> tuple[str, int, float, float]:
    return kind, len(layers), sum(x.ms for x in layers), sum(x.share for x in layers)
