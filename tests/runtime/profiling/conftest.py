"""A clock and a peak of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from apdepth_deploy.runtime.profiling.measure import profile
from apdepth_deploy.runtime.profiling.measure.roofline import Peak


@pytest.fixture
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring a CPU's peak takes two seconds."""
    monkeypatch.setattr(profile, "cpu_peak", lambda name: Peak("a CPU", 100.0, 10.0, "made up"))


class FakeClock:
    """Seconds that pass only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: Iterator[float]) -> Callable[[], None]:
        def run() -> None:
            self.now += next(seconds)

        return run


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
