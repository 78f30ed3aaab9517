"""Where engines keep what they compiled, for the next start: gone, full or read-only is no error.

Knows nothing about what is kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

#: Bytes that one engine's entries may take together. The newest stays whatever its size.
LIMIT = 4 << 30


def cache_folder() -> Path | None:
    """``$XDG_CACHE_HOME/apdepth-deploy``, by default below ``~/.cache``; None without a home."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "apdepth-deploy"
    except RuntimeError:
        return None


def why_unwritable(folder: Path | None) -> str:
    """Why nothing can be kept in a folder, which is made; "" where it can."""
    if folder is None:
        return "there is no home folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder}: Permission denied"


def prune(entries: Iterable[Path]) -> None:
    """Remove the longest unused of one engine's files or folders, down to ``LIMIT``."""
    total = 0
    for number, entry in enumerate(sorted(entries, key=_last_used, reverse=True)):
        total += _size(entry)
        if number and total > LIMIT:
            _remove(entry)


def touch(entry: Path) -> None:
    """Say that an entry was used just now."""
    with contextlib.suppress(OSError):
        os.utime(entry)


def _last_used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0


def _size(entry: Path) -> int:
    total = 0
    for file in (entry, *entry.rglob("*")):
        with contextlib.suppress(OSError):
            total += file.lstat().st_size
    return total


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            entry.unlink()
