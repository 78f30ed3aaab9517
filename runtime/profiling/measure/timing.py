"""Seconds into statistics: whole calls, stages and layers of one chain, on any clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from apdepth_deploy.pictures.image import ImageArray

from ...engines.chain import Chain

Clock = Callable[[], float]
Progress = Callable[[str], None]

#: Runs of one chain in a row, where several are compared.
TURN = 5
#: A long measurement says how far it is this often, in seconds.
_NEWS = 5.0


@dataclasses.dataclass(frozen=True)
class Latency:
    """Of single calls, in milliseconds.

    Percentiles interpolate linearly between the two nearest samples; ``stddev`` is the sample's
    (n - 1), and 0 for a single one.
    """

    p50: float
    p90: float
    p99: float
    min: float
    max: float
    mean: float
    stddev: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        ms = np.asarray(seconds, np.float64) * 1e3
        p50, p90, p99 = (float(value) for value in np.percentile(ms, (50, 90, 99)))
        stddev = float(ms.std(ddof=1)) if ms.size > 1 else 0.0
        return cls(p50, p90, p99, float(ms.min()), float(ms.max()), float(ms.mean()), stddev)


@dataclasses.dataclass(frozen=True)
class Timing:
    """Samples of one kind, and what they come to; ``throughput`` is in frames per second."""

    latency: Latency
    throughput: float
    samples_ms: tuple[float, ...]

    @classmethod
    def of(cls, seconds: Sequence[float], batch: int) -> Timing:
        throughput = batch * len(seconds) / sum(seconds)
        return cls(Latency.of(seconds), throughput, tuple(s * 1e3 for s in seconds))


@dataclasses.dataclass(frozen=True)
class Stage:
    """One graph of a staged chain.

    ``share`` is of the sum of all stages' medians; ``gflop`` the arithmetic of one call in 1e9
    operations, and ``gflops`` 1e9 operations/s at the median.
    """

    name: str
    latency: Latency
    share: float
    gflop: float
    gflops: float


def time_in_turns(
    works: Sequence[Callable[[], object]],
    runs: int,
    progress: Progress,
    clock: Clock = time.perf_counter,
) -> list[list[float]]:
    """Seconds of ``runs`` runs of each work, a few of each in turn, so that drift hits all alike.

    After a change of turns one run isn't counted: it finds cold caches, and the threads of the
    other's pool still spinning.
    """
    seconds: list[list[float]] = [[] for _ in works]
    told = clock()
    while len(seconds[-1]) < runs:
        for work, taken in zip(works, seconds, strict=True):
            if len(works) > 1:
                work()
            for _ in range(min(TURN, runs - len(taken))):
                start = clock()
                work()
                taken.append(clock() - start)
            if clock() - told > _NEWS:
                told = clock()
                progress(f"{sum(map(len, seconds))} of {runs * len(works)} runs done")
    return seconds


def time_stages(
    chain: Chain,
    frames: ImageArray,
    runs: int,
    gflop: Mapping[str, float],
    clock: Clock = time.perf_counter,
) -> tuple[Stage, ...]:
    """Each graph of a chain by itself: from the end of the one before it to its own, after one
    run to warm up. ``gflop`` is {graph: arithmetic of one call}."""
    seconds: dict[str, list[float]] = {}
    for run in range(runs + 1):
        last = clock()

        def finished(name: str, counts: bool = run > 0) -> None:
            nonlocal last
            now = clock()
            if counts:
                seconds.setdefault(name, []).append(now - last)
            last = now

        chain.run(frames, finished)
    latencies = {name: Latency.of(taken) for name, taken in seconds.items()}
    whole = sum(latency.p50 for latency in latencies.values())
    return tuple(
        Stage(name, latency, latency.p50 / whole, gflop[name], gflop[name] / latency.p50 * 1e3)
        for name, latency in latencies.items()
    )
