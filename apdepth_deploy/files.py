"""Writing that never leaves half a result: everything goes beside its target, then is renamed."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from apdepth_deploy.errors import OutputError

_CHUNK = 1 << 22
#: How everything unfinished is called.
_PREFIX = ".apdepth-"


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals (full disk, no permission) into OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"can't write {target}: {reason}. What stood there before is untouched"
        ) from error


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give a temporary path to write; it becomes ``target`` on success and is gone on failure.

    Raises OutputError where it can't be written.
    """
    temporary = _beside(target)
    try:
        with output_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(target: Path, replaces: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes ``target`` on success and is gone on failure.

    Args:
        target: where it points to, if it is a link.
        replaces: says whether an existing, non-empty ``target`` may be replaced.

    Raises:
        OutputError: ``target`` exists and may not be replaced, or can't be written.
    """
    target = target.resolve()
    temporary = _beside(target)
    try:
        with output_errors(target):
            _check_replaceable(target, replaces)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(target: Path) -> Path:
    """A free hidden name in ``target``'s folder, whatever the length of ``target``'s own."""
    return target.parent / f"{_PREFIX}{secrets.token_hex(8)}"


def discard(folder: Path) -> None:
    """Remove a folder so that no moment shows a part of it. Raises OutputError."""
    aside = _beside(folder)
    with output_errors(folder):
        folder.rename(aside)
        shutil.rmtree(aside)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in ``folder``; no other may be writing there."""
    for path in folder.glob(_PREFIX + "*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _check_replaceable(target: Path, replaces: Callable[[Path], bool]) -> None:
    """Asked before the work: what can't be renamed later would waste it."""
    if not target.exists():
        return
    if target.is_mount() or target == Path.cwd():
        raise OutputError(f"{target} can't be replaced as a whole: name a folder inside it as -o")
    if not (target.is_dir() and (replaces(target) or not any(target.iterdir()))):
        raise OutputError(f"{target} exists and is not something we made: choose another -o")


def _swap(temporary: Path, target: Path) -> None:
    """Put ``temporary`` in ``target``'s place; the old folder comes back if that fails."""
    aside = _beside(target)
    try:
        if target.exists():
            target.rename(aside)
        temporary.rename(target)
    except BaseException:  # an interrupt, too, may come between the two
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
