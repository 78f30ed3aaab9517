"""What a person sees while work goes on: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Steps:
    """A callable that announces long steps on stderr, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, message: str) -> None:
        print(f"[{time.monotonic() - self._start:6.1f} s] {message}", file=sys.stderr, flush=True)

    def detail(self, message: str) -> None:
        """What goes on within a step: seen on a terminal only."""


class _LiveSteps(Steps):
    """The same with a spinner on the step under way."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        self._console = Console(stderr=True)
        self._status = self._console.status("")
        self._status.start()

    def __call__(self, message: str) -> None:
        elapsed = time.monotonic() - self._start
        self._console.print(f"[{elapsed:6.1f} s] {message}", markup=False, highlight=False)
        self.detail(message)

    def detail(self, message: str) -> None:
        from rich.text import Text

        self._status.update(Text(message))  # as it is: a path may hold [brackets]

    def stop(self) -> None:
        self._status.stop()


@contextmanager
def steps() -> Iterator[Steps]:
    """A ``Steps`` for the stream at hand."""
    if not sys.stderr.isatty():
        yield Steps()
        return
    live = _LiveSteps()
    try:
        yield live
    finally:
        live.stop()


def table(headers: list[str], rows: list[list[str]]) -> str:
    """Columns of text: the first to the left, the others to the right."""
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
