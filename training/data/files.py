"""Members of a data set, from a folder or straight out of a tar file, and the files in them."""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from apdepth_deploy.errors import DataError, ImageError
from apdepth_deploy.folders import walk
from apdepth_deploy.pictures.decode import orientation_of
from apdepth_deploy.pictures.image import DepthArray, ImageArray, read_picture

from .text import read_text

#: TIFF's BitsPerSample, PhotometricInterpretation and SampleFormat, with defaults; and what they
#: are in a picture of depth: unsigned, 0 = black.
_TIFF_TAGS = ((258, (1,)), (262, None), (339, (1,)))
_TIFF_DEPTH = ((16,), 1, (1,))


class Source(Protocol):
    """Where members are read from, by their POSIX path below the root."""

    #: To name it in messages.
    path: Path

    def read(self, name: str) -> bytes:
        """A member's bytes. Raises DataError where it is missing or leaves the root."""
        ...

    def file(self, name: str) -> AbstractContextManager[Path]:
        """A member as a file, for as long as the block lasts. Raises DataError as ``read``."""
        ...

    def stamp(self, name: str) -> list[int]:
        """A member's size and date: another where it has changed. Raises DataError as ``read``."""
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
        with self.file(name) as path:
            try:
                return path.read_bytes()
            except OSError as error:
                raise DataError(f"{path}: {error.strerror or error}") from error

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        path = self.path / _inside(name, self.path)
        if not path.exists():
            raise DataError(f"{self.path}: has no {name}: names are relative to this folder")
        yield path

    def stamp(self, name: str) -> list[int]:
        with self.file(name) as path:
            found = path.stat()
            return [found.st_size, found.st_mtime_ns]

    def names(self) -> list[str]:
        files = (path for path in walk(self.path, _refuse) if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in files)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: {error.strerror}")


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
        offset, size = self._member(name)
        with self.path.open("rb") as file:  # its own: threads and processes read side by side
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise DataError(f"{self.path}: cut short within {name}: get it again")
        return data

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        data = self.read(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "member"
            path.write_bytes(data)
            yield path

    def stamp(self, name: str) -> list[int]:
        return [*self._member(name), self.path.stat().st_mtime_ns]

    def names(self) -> list[str]:
        return sorted(self._members)

    def _member(self, name: str) -> tuple[int, int]:
        """Its place in the file, and its size."""
        member = str(_inside(name, self.path))
        if member not in self._members:
            raise DataError(f"{self.path}: has no member {member}: names are relative to its root")
        return self._members[member]


def _inside(name: str, root: Path) -> PurePosixPath:
    """A member's path, which may start with ``./``. Raises DataError where it leaves the root."""
    path = PurePosixPath(name)
    if "\\" in name or re.match("[A-Za-z]:", name):
        advice = "write it relative to that, with forward slashes"
    elif path.is_absolute():
        advice = "write it relative to that, without a slash in front"
    elif ".." in path.parts or "\0" in name:
        advice = "name the folder that all names are below"
    else:
        return path
    raise DataError(f"{root}: {name!r} leaves the data set's root: {advice}")


def read_list(path: Path, columns: int) -> list[list[str]]:
    """The lines of a list file, ``rgb depth [filled|mask|focal]``, split at blanks.

    A name with blanks stands in double quotes. Raises DataError where the file can't be read, is
    empty, or has a line of fewer ``columns``.
    """
    lines = []
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        line = [quoted or bare for quoted, bare in re.findall(r'"([^"]+)"|(\S+)', text)]
        if 0 < len(line) < columns:
            raise DataError(f"{path}, line {number}: {len(line)} names, not {columns}")
        if line:
            lines.append(line)
    if not lines:
        raise DataError(f"{path}: names no sample")
    return lines


def read_rgb(source: Source, name: str) -> ImageArray:
    """A picture as uint8 [H,W,3], read as ``infer`` reads it.

    Raises DataError, also where its EXIF orientation turns it: nothing tells whether its depth is
    turned, too.
    """
    with source.file(name) as path:
        try:
            picture = read_picture(path)
        except ImageError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise DataError(f"{source.path}: {name}: {reason}") from error
    if picture.orientation != 1:
        raise DataError(
            f"{source.path}: {name} is turned by its EXIF orientation, its depth perhaps not: save "
            "it as its depth lies, without that tag"
        )
    return np.require(picture.image, requirements="W")  # PyTorch warns of what it may not write to


def read_depth_png(
    source: Source, name: str, units_per_metre: float, size: Sequence[int]
) -> DepthArray:
    """A 16-bit grey PNG or TIFF as metres, float32 [H,W] of ``size``; 0 = unknown.

    Raises DataError.
    """
    data = source.read(name)
    try:
        values = _units(data)
    except Exception as error:  # Pillow's decoders let a dozen unrelated types out
        raise DataError(f"{source.path}: {name} is damaged or no picture: {error}") from error
    if values is None:
        raise DataError(
            f"{source.path}: {name} is no 16-bit depth: that is a grey PNG which no tag turns"
        )
    metres = values.astype(np.float32) / np.float32(units_per_metre)
    return fitting(metres, size, source, name)


def _units(data: bytes) -> NDArray[Any] | None:
    """What a picture of depth stores at each pixel, uint16 [H,W]; None where it is no such."""
    with Image.open(io.BytesIO(data)) as image:
        if isinstance(image, TiffImageFile):
            is_depth = tuple(image.tag_v2.get(*tag) for tag in _TIFF_TAGS) == _TIFF_DEPTH
        else:  # PNM's values are scaled to 16 bits by Pillow: no units any more
            is_depth = image.format == "PNG" and image.mode.startswith("I")
        return np.asarray(image) if is_depth and orientation_of(image) == 1 else None


def read_npy(source: Source, name: str) -> NDArray[np.float32]:
    """An array of numbers as float32. Raises DataError, also for an array of anything else."""
    data = source.read(name)
    try:
        array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a header may ask for anything, even for more memory than there is
        raise DataError(f"{source.path}: {name} is no array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"{source.path}: {name} is no array of numbers but of {array.dtype}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def fitting(array: NDArray, size: Sequence[int], source: Source, name: str) -> NDArray:  # type: ignore[type-arg]
    """The array itself where it has the picture's size. Raises DataError."""
    if array.shape != tuple(size):
        turned = ": one of the two is turned" if array.shape == tuple(size)[::-1] else ""
        raise DataError(
            f"{source.path}: {name} is {list(array.shape)}, its picture {list(size)} (H, W){turned}"
        )
    return array
