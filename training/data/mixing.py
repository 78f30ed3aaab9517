"""In which order samples are seen: sets mixed by weight, a seed, no state.

The stream is a numbered list of micro-batches, each wholly from one set. What micro-batch ``m``
holds follows from the seed and ``m`` alone, so a run resumes at any of them, and processes share
the list by taking every ``world``-th: two processes see in a step what one sees with twice the
accumulation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Draw(NamedTuple):
    """One frame of a micro-batch.

    Attributes:
        which, frame: the set, and the frame in it.
        number: its place in the whole stream: what its variations are drawn from.
    """

    which: int
    frame: int
    number: int


class Mixture:
    """The stream of micro-batches.

    Each set is gone through without repetition, in another order every time.

    Args:
        sizes: frames of each set.
        weights: shares of the micro-batches, above 0, normalised here.
        micro_batch: frames in each.
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float], micro_batch: int, seed: int
    ) -> None:
        assert len(sizes) == len(weights) and min(sizes) > 0, "sets have frames and weights"
        self.sizes = tuple(sizes)
        self.shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self.micro_batch = micro_batch
        self.seed = seed

    def stream(self, start: int, rank: int = 0, world: int = 1) -> Iterator[list[Draw]]:
        """Micro-batches ``rank``, ``rank + world``, … from number ``start`` on, without an end.

        ``start`` is a multiple of ``world``.
        """
        taken = [0] * len(self.sizes)
        epochs = [_Epochs((self.seed, k), size) for k, size in enumerate(self.sizes)]
        number = 0
        while True:
            which = self._set_of(number)
            if number >= start and (number - start) % world == rank:
                first = taken[which] * self.micro_batch
                yield [
                    Draw(which, epochs[which].frame(first + i), number * self.micro_batch + i)
                    for i in range(self.micro_batch)
                ]
            taken[which] += 1
            number += 1

    def _set_of(self, number: int) -> int:
        if len(self.sizes) == 1:
            return 0
        draw = np.random.default_rng((self.seed, 1, number)).random()
        return int(np.searchsorted(np.cumsum(self.shares)[:-1], draw, side="right"))


class _Epochs:
    """A set's frames, shuffled anew each time round."""

    def __init__(self, seed: tuple[int, int], size: int) -> None:
        self.seed = seed
        self.size = size
        self.epoch = -1

    def frame(self, position: int) -> int:
        """The frame at a place of the endless stream."""
        epoch, place = divmod(position, self.size)
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = np.random.default_rng((*self.seed, 2, epoch)).permutation(self.size)
        return int(self.order[place])
