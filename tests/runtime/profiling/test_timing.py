"""Timing: numbers against numpy and by hand, on a clock of our own."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from apdepth_deploy.runtime.engines.chain import Chain
from apdepth_deploy.runtime.engines.onnxruntime_backend import node_seconds
from apdepth_deploy.runtime.profiling.measure.layers import Layer, as_layers, by_kind
from apdepth_deploy.runtime.profiling.measure.timing import (
    TURN,
    Latency,
    Timing,
    time_in_turns,
    time_stages,
)


def silent(message: str) -> None:
    """No news."""


def test_percentiles_are_linear_between_samples() -> None:
    seconds = [0.004, 0.001, 0.002, 0.003, 0.010]
    latency = Latency.of(seconds)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    assert latency.p50 == pytest.approx(3.0) == pytest.approx(cuts[49] * 1e3)
    assert latency.p90 == pytest.approx(7.6) == pytest.approx(cuts[89] * 1e3)
    assert latency.p99 == pytest.approx(cuts[98] * 1e3)
    assert (latency.min, latency.max, latency.mean) == pytest.approx((1.0, 10.0, 4.0))
    assert latency.stddev == pytest.approx(statistics.stdev(seconds) * 1e3)


def test_one_sample_has_no_spread() -> None:
    assert Latency.of([0.5]) == Latency(500.0, 500.0, 500.0, 500.0, 500.0, 500.0, 0.0)


def test_throughput_counts_frames_not_calls() -> None:
    timing = Timing.of([0.1, 0.3], batch=4)
    assert timing.throughput == pytest.approx(8 / 0.4)
    assert timing.samples_ms == pytest.approx((100.0, 300.0))


def test_backends_take_turns_and_the_first_call_of_a_turn_is_not_counted(clock: Any) -> None:
    order, runs = [], TURN + 2

    def work(name: str, first: float, then: float) -> Callable[[], None]:
        def run() -> None:
            clock.now += then if order and order[-1] == name else first
            order.append(name)

        return run

    seconds = time_in_turns([work("a", 9.0, 1.0), work("b", 9.0, 2.0)], runs, silent, clock)
    assert seconds == [pytest.approx([1.0] * runs), pytest.approx([2.0] * runs)]
    assert "".join(order) == "a" * 6 + "b" * 6 + "a" * 3 + "b" * 3


def test_a_single_backend_runs_no_more_than_asked(clock: Any) -> None:
    works = [clock.work(iter([0.5, 0.25, 0.125]))]
    assert time_in_turns(works, 3, silent, clock) == [[0.5, 0.25, 0.125]]


def test_a_long_measurement_says_how_far_it_is(clock: Any) -> None:
    said = list[str]()
    time_in_turns([clock.work(iter([2.0] * 30))], 30, said.append, clock)
    assert said[0] == "5 of 30 runs done" and said[-1] == "30 of 30 runs done"


class ThreeStages(Chain):
    """A chain that takes 1, 2 and 5 seconds, the first time twice as long."""

    backend, device, batch, height, width = "fake", "cpu", 1, 64, 96

    def __init__(self, clock: Any) -> None:
        self.clock, self.calls = clock, 0

    def run(self, frames: Any, finished: Any = None) -> dict[str, Any]:
        self.calls += 1
        for name, seconds in (("encoder", 1.0), ("unet", 2.0), ("decoder", 5.0)):
            self.clock.now += seconds * (2.0 if self.calls == 1 else 1.0)
            finished(name)
        return {}


def test_stages_last_from_the_end_of_one_to_the_end_of_the_next(clock: Any) -> None:
    gflop = {"encoder": 10.0, "unet": 40.0, "decoder": 50.0}
    stages = time_stages(ThreeStages(clock), np.zeros(1, np.uint8), 4, gflop, clock)
    assert [stage.name for stage in stages] == ["encoder", "unet", "decoder"]
    assert [stage.latency.max for stage in stages] == [1e3, 2e3, 5e3]
    assert [stage.share for stage in stages] == [1 / 8, 2 / 8, 5 / 8]
    assert [stage.gflops for stage in stages] == [10.0, 20.0, 10.0]


def test_layers_have_shares_and_kinds() -> None:
    layers = as_layers([("Conv: a", 0.003), ("plain", 0.004), ("Conv: c", 0.001)])
    assert layers[0] == Layer("a", "Conv", 3.0, 0.375)
    assert (layers[1].name, layers[1].kind, layers[1].share) == ("plain", "", 0.5)
    assert by_kind(layers) == [("Conv", 2, 4.0, 0.5), ("no type", 1, 4.0, 0.5)]
    many = as_layers([(f"K{n}: x", 2.0**-n) for n in range(9)])
    rows = by_kind(many, most=2)
    assert [row[0] for row in rows] == ["K0", "K1", "7 others"]
    assert sum(row[3] for row in rows) == pytest.approx(1.0) and rows[2][1] == 7


def test_a_trace_s_first_runs_are_left_out_and_loops_add_up() -> None:
    def node(ts: int, dur: int, name: str, index: str) -> dict[str, Any]:
        arguments = {"node_index": index, "op_name": "Conv"}
        return {
            "cat": "Node",
            "ts": ts,
            "dur": dur,
            "name": f"{name}_kernel_time",
            "args": arguments,
        }

    runs = [{"cat": "Session", "name": "model_run", "ts": ts, "dur": 90} for ts in (0, 100, 200)]
    events = [node(5, 9000, "a", "0"), node(220, 30, "b", "1"), node(105, 10, "a", "0")]
    events += [node(205, 20, "a", "0"), node(120, 20, "b", "1"), node(130, 50, "b", "1"), *runs]
    found = node_seconds(events, "unet", 2)
    assert [layer for layer, _ in found] == ["Conv: unet/a", "Conv: unet/b"]
    assert [seconds for _, seconds in found] == pytest.approx([15e-6, 50e-6])
