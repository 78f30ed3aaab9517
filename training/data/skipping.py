"""Samples that are missing or damaged: named, counted, stepped over, up to a limit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from apdepth_deploy.errors import DataError, TrainingError

T = TypeVar("T")


class BadSamples:
    """What went wrong in this process: each reader process counts its own.

    Raises TrainingError, naming the last ones, when a sample more than ``limit`` is bad.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.names: dict[str, str] = {}

    def add(self, name: str, error: DataError) -> None:
        """Count a sample once, and say what is wrong with it."""
        if name in self.names:
            return
        self.names[name] = str(error)
        print(f"skipped a bad sample ({len(self.names)}): {error}", file=sys.stderr, flush=True)
        if len(self.names) > self.limit:
            last = "; ".join(list(self.names.values())[-3:])
            raise TrainingError(
                f"more than {self.limit} samples are missing or damaged, the last: {last}. "
                "Mend the set, or raise data.bad_samples"
            )

    def first_good(self, name: str, index: int, size: int, read: Callable[[int], T]) -> T:
        """``read(index)``, or the next sample of the set's ``size`` that can be read."""
        for step in range(size):
            chosen = (index + step) % size
            try:
                return read(chosen)
            except DataError as error:
                self.add(f"{name} {chosen}", error)
        raise TrainingError(f"{name}: not one of its {size} samples can be read")
