"""Layer by layer: the first node of a graph whose result departs from what it is compared with.

Knows nothing about golden frames' files, nor which comparisons are worth making.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from polygraphy.comparator import Comparator, IterationResult, SnrCompareFunc

from .frames import Frame, Tensors
from .layers import Layers, groups
from .runners import Engine, Shapes, polygraphy_errors

#: Bytes of values that each side may give at once.
_AT_ONCE = 1 << 29
#: dB that a node must lose at once: so long as each adds its own rounding, errors only grow.
_LEAP = 6.0


class Side(NamedTuple):
    """A graph on an engine."""

    layers: Layers
    engine: Engine
    shapes: Shapes

    @property
    def label(self) -> str:
        return f"{self.layers.path.name} on {self.engine.label}"

    def values(self, names: Sequence[str], feeds: Sequence[Tensors]) -> list[Tensors]:
        """The values of these names, for each feed."""
        runner = self.engine.runner(self.layers.path, names, self.shapes)
        with polygraphy_errors(self.label):
            (runs,) = Comparator.run([runner], data_loader=list(feeds)).values()
            return [{name: np.asarray(run[name]) for name in names} for run in runs]


class Departure(NamedTuple):
    """The first value that departs.

    Attributes:
        value, counterpart: its names in the two graphs; frame: on which it does.
        decibels: the power of what it should be over that of its difference; limit: the least
            allowed; before: what the values that it is made from had, by their names.
    """

    value: str
    counterpart: str
    frame: Frame
    decibels: float
    limit: float
    before: Mapping[str, float]


def first_departure(
    subject: Side,
    reference: Side,
    pairs: Sequence[tuple[str, str]],
    frames: Sequence[Frame],
    limit: float,
) -> Departure | None:
    """The first of ``pairs``, (value, the reference's value), whose value departs.

    It departs where it has fewer than ``limit`` dB, and lost 6 at least of what the values that it
    is made from have: its noise is twice theirs. NaN and Inf depart.
    """
    heard: list[dict[str, float]] = [{} for _ in frames]
    for group in groups(subject.layers, pairs, _AT_ONCE):
        feeds = [frame.inputs for frame in frames]
        expected = reference.values(list(group.values()), feeds)
        found = subject.values(list(group), feeds)
        for frame, known, right, ours in zip(frames, heard, expected, found, strict=True):
            renamed = {value: right[other] for value, other in group.items()}
            known |= decibels(renamed, ours)
            for value in (value for value in group if value in known):
                before = {n: known[n] for n in subject.layers.before(value, known) if n in known}
                least = min(before.values(), default=math.inf)
                if not known[value] >= min(limit, least - _LEAP):
                    return Departure(value, group[value], frame, known[value], limit, before)
    return None


def decibels(right: Tensors, ours: Tensors) -> dict[str, float]:
    """Of each value that can be measured: the reference's is finite, and not zero throughout."""
    measured = [name for name, value in right.items() if np.isfinite(value).all() and value.any()]
    sides = [
        IterationResult({name: tensors[name].astype(np.float32) for name in measured})
        for tensors in (right, ours)
    ]
    with polygraphy_errors("comparing"), np.errstate(all="ignore"):
        compared = SnrCompareFunc()(*sides)
    return {name: float(result.snr) for name, result in compared.items()}
