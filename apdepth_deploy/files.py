"""Writing that never leaves half a result: everything goes beside its target, then is renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
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


#: What stands in the way of one name, while others in the same place may still be written.
_OF_ONE_NAME = {
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENXIO,
}


def concerns_one_name(error: OutputError) -> bool:
    """Whether the next file may fare better: its name was too long, a folder bears it, ..."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _OF_ONE_NAME


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give a temporary path to write; it becomes ``target`` on success and is gone on failure.

    A link stays, and what it points to is replaced, as a program that opens it would have it. Into
    a pipe, a terminal or a device such as /dev/null the whole is written at the end; a disk or a
    socket is refused.

    Raises OutputError where it can't be written.
    """
    with output_errors(target):
        mode = _mode(target)
    if mode is None or stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        with _replacing(target) as temporary:
            yield temporary
    else:
        with _filling(target, mode) as temporary:
            yield temporary


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    place = Path(os.path.realpath(target))
    temporary = _beside(place)
    try:
        with output_errors(target):
            place.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(place)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextmanager
def _filling(target: Path, mode: int) -> Iterator[Path]:
    with output_errors(target), tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
            raise OSError(errno.ENXIO, "it is a disk or a socket")
        yield Path(folder) / "whole"
        with (Path(folder) / "whole").open("rb") as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream)


def _mode(target: Path) -> int | None:
    """The kind of what stands there, links followed; None where nothing does."""
    try:
        return target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_writable(target: Path) -> None:
    """Asked before the work. Raises OutputError where a file couldn't be written."""
    with output_errors(target):
        mode = _mode(target)
        if mode is None or stat.S_ISREG(mode):
            place = Path(os.path.realpath(target)).parent
            place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()


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
