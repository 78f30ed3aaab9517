"""How fast depth comes, and how old: of the last second, and of all, in a fixed size."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np

#: Of all frames latencies are counted in steps of 1 %, from 0.1 ms to 1000 s.
_FIRST, _STEP, _STEPS = 1e-4, 1.01, 1620


class Latencies:
    """Counts of seconds; a quantile of them is exact to 1 %."""

    def __init__(self) -> None:
        self._counts = np.zeros(_STEPS, np.int64)

    def add(self, seconds: float) -> None:
        """One more."""
        step = round(math.log(max(seconds, _FIRST) / _FIRST) / math.log(_STEP))
        self._counts[min(step, _STEPS - 1)] += 1

    def quantile(self, part: float) -> float:
        """Seconds that so large a part of them doesn't exceed; NaN of none."""
        total = self._counts.cumsum()
        if not total[-1]:
            return math.nan
        return float(_FIRST * _STEP ** int(np.searchsorted(total, part * total[-1])))


@dataclasses.dataclass(frozen=True)
class Rate:
    """Of a second, or of all.

    Attributes:
        seconds: it took; frames: of depth; dropped: never looked at, a newer one was there.
        p50, p99: latency from capture to depth, milliseconds; age: of the oldest frame when all
        outputs had it, milliseconds. NaN where there were no frames.
    """

    seconds: float
    frames: int
    p50: float
    p99: float
    age: float
    dropped: int

    @property
    def fps(self) -> float:
        return self.frames / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Numbers to three digits behind the point; what isn't known is None."""
        numbers = {
            "fps": self.fps,
            "latency_p50_ms": self.p50,
            "latency_p99_ms": self.p99,
            "age_ms": self.age,
        }
        told = {key: round(one, 3) if one == one else None for key, one in numbers.items()}
        return {"frames": self.frames, **told, "dropped": self.dropped}

    def __str__(self) -> str:
        if not self.frames:
            return f"0 frames/s, dropped {self.dropped}"
        return (
            f"{self.fps:.1f} frames/s, latency p50 {self.p50:.0f} ms, p99 {self.p99:.0f} ms, "
            f"age {self.age:.0f} ms, dropped {self.dropped}"
        )


class Rates:
    """Counts frames; ``second`` is to be asked once in a while, ``total`` at the end."""

    def __init__(self) -> None:
        self._all, self._oldest, self._frames = Latencies(), 0.0, 0
        self._begun = self._since = time.monotonic()
        self._latencies: list[float] = []
        self._age, self._dropped = 0.0, 0

    def add(self, latency: float, age: float) -> None:
        """A frame whose depth came after ``latency`` seconds, and was out after ``age``."""
        self._latencies.append(latency)
        self._all.add(latency)
        self._age, self._oldest = max(self._age, age), max(self._oldest, age)
        self._frames += 1

    def second(self, dropped: int) -> Rate:
        """Since it was last asked. ``dropped``: of all."""
        now, found = time.monotonic(), self._latencies
        quantiles = np.quantile(found, (0.5, 0.99)) if found else (math.nan, math.nan)
        p50, p99 = (1000.0 * float(one) for one in quantiles)
        age = 1000.0 * self._age if found else math.nan
        rate = Rate(now - self._since, len(found), p50, p99, age, dropped - self._dropped)
        self._since, self._latencies, self._age, self._dropped = now, [], 0.0, dropped
        return rate

    def total(self, dropped: int) -> Rate:
        """Since the start."""
        p50, p99 = (1000.0 * self._all.quantile(part) for part in (0.5, 0.99))
        age = 1000.0 * self._oldest if self._frames else math.nan
        return Rate(time.monotonic() - self._begun, self._frames, p50, p99, age, dropped)
