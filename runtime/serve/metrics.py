"""What Prometheus is told: how long answers take, who waits, what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .served import Served

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Those of one server.

    Attributes:
        latency: seconds from a whole picture to its depth, by bundle and by "depth" or "stream".
        open_streams: how many there are. dropped: frames of streams that a newer one took the
            place of.
    """

    kind = CONTENT_TYPE_LATEST

    def __init__(self, served: Mapping[str, Served]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.latency = Histogram(
            "apdepth_latency_seconds",
            "From a whole picture to its depth, waiting included.",
            ["bundle", "way"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.open_streams = 0
        streams = Gauge("apdepth_streams", "Streams that are open.", registry=registry)
        streams.set_function(lambda: self.open_streams)
        self.dropped = Counter(
            "apdepth_dropped_frames", "Frames of streams that were too old.", registry=registry
        )
        self._refusals = Counter(
            "apdepth_refusals", "Requests refused, by status.", ["status"], registry=registry
        )
        waiting = Gauge(
            "apdepth_queue", "Pictures that wait or are worked on.", ["bundle"], registry=registry
        )
        for name, one in served.items():
            waiting.labels(name).set_function(partial(getattr, one, "waiting"))

    def refused(self, status: int) -> None:
        """A request got this answer."""
        self._refusals.labels(str(status)).inc()

    def text(self) -> bytes:
        """In Prometheus' own format."""
        return generate_latest(self._registry)
