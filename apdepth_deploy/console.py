"""What a person sees while work goes on: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unicodedata import category


def open_streams() -> None:
    """Give the program the standard streams that it was started without.

    Otherwise the next file to be opened would get their number and be written to by the libraries
    that complain there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def is_terminal() -> bool:
    """Whether a person reads stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


def say(message: str) -> None:
    """A line on stderr, printable; nobody need be listening: the work goes on."""
    if sys.stderr is None:
        return
    try:
        print(printable(message), file=sys.stderr, flush=True)
    except OSError:  # a pipe that was closed, a full disk
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stderr.fileno())


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what libraries write to stderr by themselves. For the whole process: not for threads."""
    try:
        kept = os.dup(2)
    except OSError:  # closed: nobody hears them anyway
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


#: Unicode's control and format characters, what is no character, and ends of lines.
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """Line breaks and control characters as ``\\n``, ``\\x1b``: a file's name may hold some."""
    return "".join(ascii(c)[1:-1] if category(c) in _UNPRINTABLE else c for c in text)


class Steps:
    """A callable that announces long steps on stderr, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, message: str) -> None:
        say(f"[{time.monotonic() - self._start:6.1f} s] {message}")

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
        line = printable(f"[{elapsed:6.1f} s] {message}")
        self._console.print(line, markup=False, highlight=False)
        self.detail(message)

    def detail(self, message: str) -> None:
        from rich.text import Text

        self._status.update(Text(printable(message)))  # as it is: a path may hold [brackets]

    def stop(self) -> None:
        self._status.stop()


@contextmanager
def steps() -> Iterator[Steps]:
    """A ``Steps`` for the stream at hand."""
    if not is_terminal():
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
