"""Members of a data set, from a folder or straight out of a tar file, and the files in them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.errors import DataError
from apdepth_deploy.image import DepthArray, ImageArray


class Source(Protocol):
    """Where members are read from, by their POSIX path below the root."""

    #: To name it in messages.
    path: Path

    def read(self, name: str) -> bytes:
        """A member's bytes. Raises DataError where it is missing or leaves the root."""
        ...

    def names(self) -> list[str]:
        """All members, sorted."""
        ...


def open_source(path: Path) -> Source:
    """A folder, or an uncompressed tar file. Raises DataError for anything else."""
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Tar(path)
    raise DataError(f"{path}: no such folder or tar file")


class Folder:
    """Members as files below a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        try:
            return (self.path / _inside(name, self.path)).read_bytes()
        except OSError as error:
            raise DataError(f"{self.path / name}: {error.strerror or error}") from error

    def names(self) -> list[str]:
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in files)


class Tar:
    """Members of a tar file, read in place: nothing is extracted.

    Raises DataError where it is damaged, cut short or compressed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tarfile.open(path, "r:") as tar:
                self._members = {
                    str(PurePosixPath(m.name)): (m.offset_data, m.size) for m in tar if m.isfile()
                }
        except (tarfile.TarError, OSError) as error:
            raise DataError(
                f"{path}: not a whole, uncompressed tar file ({error}): decompress it or get it "
                "again"
            ) from error

    def read(self, name: str) -> bytes:
        member = str(_inside(name, self.path))
        if member not in self._members:
            raise DataError(f"{self.path}: has no member {member}")
        offset, size = self._members[member]
        with self.path.open("rb") as file:  # its own: threads and processes read side by side
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise DataError(f"{self.path}: cut short within {member}: get it again")
        return data

    def names(self) -> list[str]:
        return sorted(self._members)


def _inside(name: str, root: Path) -> PurePosixPath:
    """A member's path, which may start with ``./``. Raises DataError where it leaves the root."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DataError(f"{root}: {name!r} leaves the data set's root")
    return path


def read_list(path: Path, columns: int) -> list[list[str]]:
    """The lines of a list file, split at blanks: ``rgb depth [filled|mask|focal]``.

    Raises DataError where it can't be read, is empty, or has a line of fewer ``columns``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a list of samples: {error}") from error
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        if len(line) < columns:
            raise DataError(f"{path}, line {number}: {len(line)} names, not {columns}")
    if not lines:
        raise DataError(f"{path}: names no sample")
    return lines


def read_rgb(source: Source, name: str) -> ImageArray:
    """A picture as uint8 [H,W,3]. Raises DataError."""
    return np.array(_decode(source, name).convert("RGB"), dtype=np.uint8)


def read_depth_png(
    source: Source, name: str, units_per_metre: float, size: Sequence[int]
) -> DepthArray:
    """A 16-bit PNG as metres, float32 [H,W] of ``size``; 0 = unknown. Raises DataError."""
    image = _decode(source, name)
    if not image.mode.startswith("I"):
        raise DataError(f"{source.path}: {name} is no 16-bit depth but of mode {image.mode}")
    metres = np.asarray(image).astype(np.float32) / np.float32(units_per_metre)
    return fitting(metres, size, source, name)


def read_mask(source: Source, name: str, size: Sequence[int]) -> NDArray[np.bool_]:
    """A picture's non-zero pixels, bool [H,W] of ``size``. Raises DataError."""
    return fitting(np.asarray(_decode(source, name).convert("L")) > 0, size, source, name)


def read_npy(source: Source, name: str) -> NDArray[np.float32]:
    """An array of numbers as float32. Raises DataError, also for an array of objects."""
    try:
        array = np.load(io.BytesIO(source.read(name)), allow_pickle=False)
        return np.asarray(array, dtype=np.float32)
    except (ValueError, EOFError) as error:
        raise DataError(f"{source.path}: {name} is no array of numbers: {error}") from error


def fitting(array: NDArray, size: Sequence[int], source: Source, name: str) -> NDArray:  # type: ignore[type-arg]
    """The array itself where it has the picture's size. Raises DataError."""
    if array.shape != tuple(size):
        raise DataError(
            f"{source.path}: {name} is {list(array.shape)}, its picture {list(size)} (H, W)"
        )
    return array


def _decode(source: Source, name: str) -> Image.Image:
    data = source.read(name)
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Exception as error:  # Pillow's decoders let a dozen unrelated types out
        raise DataError(f"{source.path}: {name} is damaged or no picture: {error}") from error
    return image
