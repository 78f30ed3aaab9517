"""A stabiliser's state in a file, so that the next run goes on with the stream."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import atomic_file, check_writable

from ..metric.stabilizer import Stabilizer


def open_stabilizer(state: Path | None) -> Stabilizer:
    """One that goes on where ``state`` was saved; a new one where there is no such file.

    Raises UsageError where it holds something else, OutputError where it couldn't be saved again.
    """
    if state is None:
        return Stabilizer()
    check_writable(state)
    if not state.exists():
        return Stabilizer()
    try:
        with np.load(state) as arrays:
            return Stabilizer.from_state(dict(arrays))
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, UsageError) as error:
        raise UsageError(
            f"{state} is no state that `infer --sequence` saved ({error}): name another file"
        ) from error


def save_stabilizer(steady: Stabilizer, state: Path) -> None:
    """Write the state as ``.npz``, whole or not at all. Raises OutputError."""
    with atomic_file(state) as temporary, temporary.open("wb") as file:
        np.savez(file, **steady.state())  # type: ignore[arg-type]
