"""The newest frame, its depth, to all who want it; until the stream ends or a signal comes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from apdepth_deploy.console import say
from apdepth_deploy.errors import ApDepthError
from apdepth_deploy.pictures.image import DepthArray, ImageArray

from ..feeds.newest import Reader
from .rates import Rate, Rates
from .work import Shown, Work

_SECOND = 1.0
#: Where Ctrl-C comes while nothing does: seconds until it is seen.
_LOOK = 0.1


class Output(Protocol):
    """A file that depth goes to."""

    def write(self, image: ImageArray, depth: DepthArray, seconds: float) -> None: ...

    def check_space(self) -> None: ...

    def close(self) -> None: ...


@contextmanager
def asked_to_end() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM; a second one ends the program at once, as elsewhere."""
    event = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    before = {number: signal.getsignal(number) for number in signals}
    heeded = {k: v for k, v in before.items() if v not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in heeded.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        event.set()
        restore()

    if threading.current_thread() is not threading.main_thread():
        heeded.clear()
    for number in heeded:
        signal.signal(number, ask)
    try:
        yield event
    finally:
        restore()


@contextmanager
def closing(outputs: Sequence[Output]) -> Iterator[None]:
    """Whatever happens, each is closed, whole where it can be; the first error is raised."""
    try:
        yield
    finally:
        errors: list[ApDepthError] = []
        for output in outputs:
            try:
                output.close()
            except ApDepthError as error:
                errors.append(error)
        for other in errors[1:]:
            say(f"error: {other}")
        if errors:
            raise errors[0]


def run(
    reader: Reader,
    work: Work,
    outputs: Sequence[Output],
    show: Callable[[Shown], None] | None,
    report: Callable[[Rate], None],
    end: threading.Event,
) -> Rate:
    """All frames that there is time for.

    Args:
        show: a viewer, or None; report: is given each second's numbers.

    Returns the numbers of all. Raises what ended the stream, an output, or the engine.
    """
    rates = Rates()
    due = time.monotonic() + _SECOND
    while not end.is_set() and not reader.slot.over:
        frame = reader.slot.take(min(_LOOK, max(0.0, due - time.monotonic())))
        done = None if frame is None else work(frame)
        if frame is not None and done is not None:
            latency = time.monotonic() - frame.captured
            for output in outputs:
                output.write(done.image, done.depth, done.seconds)
            if show is not None:
                show(done)
            rates.add(latency, time.monotonic() - frame.captured)
        if time.monotonic() >= due:
            due = max(due + _SECOND, time.monotonic())
            report(rates.second(reader.slot.dropped))
            for output in outputs:
                output.check_space()
    if reader.failure is not None and not end.is_set():
        raise reader.failure
    return rates.total(reader.slot.dropped)
