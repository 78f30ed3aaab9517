"""Which pictures and videos are meant by files, folders and globs, and what results are called."""

from __future__ import annotations

import dataclasses
import glob
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from apdepth_deploy.errors import UsageError
from apdepth_deploy.folders import natural, walk
from apdepth_deploy.pictures.depth import is_result
from apdepth_deploy.pictures.image import SUFFIXES

from .video import SUFFIXES as VIDEO_SUFFIXES
from .video import is_video

#: Pictures that a folder is not searched for: some can't be read, some are rarely photos.
_OTHER_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".jp2", ".j2k", ".jxl", ".tga", ".psd", ".exr", ".hdr"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pfm"}
)


@dataclasses.dataclass(frozen=True)
class Job:
    """A picture or a video, and the name of its results, relative to the output folder.

    Attributes:
        frame: of a video, which one, from 0; ``stem`` is then that frame's own.
        seconds: when that frame is shown; None where it is none.
    """

    image: Path
    stem: str
    frame: int | None = None
    seconds: float | None = None

    def at(self, frame: int, seconds: float) -> Job:
        """A video's frame, whose results lie in a folder of the video's name."""
        return Job(self.image, f"{self.stem}/{frame:06d}", frame, seconds)

    def __str__(self) -> str:
        """As messages call it."""
        return str(self.image) + ("" if self.frame is None else f", frame {self.frame}")


@dataclasses.dataclass(frozen=True)
class Found:
    """The pictures, and a line for each folder in which some were left out."""

    jobs: list[Job]
    left_out: list[str]


def find_images(patterns: Iterable[str]) -> Found:
    """Files as they are, folders by known endings (with sub-folders, linked ones too), globs.

    In folders, hidden files and results of earlier runs are left out, and videos, which are taken
    where a name or a glob says so. Results are named by the picture's stem, with its ending where
    two would be the same. A picture that is named twice is taken once, by the name that tells more
    of its folders.

    Raises UsageError where a pattern matches nothing, or two results would have one name.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    notes = []
    for pattern in patterns:
        left_out: Counter[str] = Counter()
        try:
            matches = list(_expand(pattern, left_out))
        except OSError as error:
            raise UsageError(f"{pattern}: can't be looked into: {error.strerror}") from error
        note = ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
        if not matches:
            endings = ", ".join(sorted(SUFFIXES))
            raise UsageError(
                f"{pattern}: no picture there ({endings})" + (f"; left out: {note}" if note else "")
            )
        if note:
            notes.append(f"{pattern}: left out {note}")
        for match in matches:
            place = match[0].parent.resolve() / match[0].name
            found[place] = min(match, found.get(place, match), key=_preference)
    return Found(_named(found.values()), notes)


def in_natural_order(jobs: Iterable[Job]) -> list[Job]:
    """By name, numbers by their value: frame_9 before frame_10."""
    return sorted(jobs, key=lambda job: natural(job.image))


def _preference(match: tuple[Path, Path]) -> tuple[int, Path, Path]:
    path, name = match
    return -len(name.parts), name, path


def _named(found: Iterable[tuple[Path, Path]]) -> list[Job]:
    """Jobs; where links make one picture out of two of the same name, a single one."""
    distinct = {(path.resolve(), name): path for path, name in reversed(list(found))}
    pictures = [(path, name) for (_, name), path in reversed(distinct.items())]
    stems = Counter(name.with_suffix("") for _, name in pictures)
    jobs = [
        Job(image, str(name if stems[name.with_suffix("")] > 1 else name.with_suffix("")))
        for image, name in pictures
    ]
    twice = [stem for stem, count in Counter(job.stem for job in jobs).items() if count > 1]
    if twice:
        raise UsageError(
            f"two pictures would write {twice[0]}_depth.png: run them apart, or name the folder "
            "that holds both and not a glob: results keep a folder's tree"
        )
    _spare_frames(jobs)
    return jobs


def _spare_frames(jobs: list[Job]) -> None:
    """Raises UsageError where a picture's results could be those of a video's frame."""
    videos = {job.stem: job.image for job in jobs if is_video(job.image)}
    for job in jobs:
        folder, name = Path(job.stem).parent.as_posix(), Path(job.stem).name
        if videos and folder in videos and name.isdecimal():
            raise UsageError(
                f"{job.image} and a frame of {videos[folder]} would write {job.stem}_depth.png: "
                "run them apart"
            )


def _expand(pattern: str, left_out: Counter[str]) -> Iterator[tuple[Path, Path]]:
    """(picture, name of its results with the picture's ending); counts what it leaves out."""
    if not pattern:
        raise UsageError("an empty name among the pictures: is a variable unset?")
    if pattern == "-" or "://" in pattern:
        raise UsageError(f"{pattern}: pictures are read from files: save it as one first")
    path = Path(pattern)
    if path.is_dir():
        for file in sorted(_files(path, left_out)):
            if _is_wanted(file, left_out):
                yield file, file.relative_to(path)
    elif path.exists() or not glob.has_magic(pattern):
        yield path, Path(path.name)
    else:
        matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path's takes no absolute ones
        for file in map(Path, sorted(matches)):
            if file.is_file():
                yield file, Path(file.name)


def _files(root: Path, left_out: Counter[str]) -> Iterator[Path]:
    """All files below ``root`` that aren't in hidden folders."""

    def unreadable(error: OSError) -> None:
        left_out["folders that can't be opened"] += 1

    return walk(root, unreadable, lambda name: _hidden(name, left_out))


def _hidden(name: str, left_out: Counter[str]) -> bool:
    if not name.startswith("."):
        return False
    left_out["hidden"] += 1
    return True


def _is_wanted(file: Path, left_out: Counter[str]) -> bool:
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES | _OTHER_SUFFIXES | VIDEO_SUFFIXES or _hidden(file.name, left_out):
        return False
    if suffix in _OTHER_SUFFIXES:
        left_out[f"{suffix} (not searched for)"] += 1
    elif suffix in VIDEO_SUFFIXES:
        left_out["videos (name them outright)"] += 1
    elif not file.is_file():
        left_out["links to nothing, or no files"] += 1
    elif is_result(file):
        left_out["results of earlier runs"] += 1
    else:
        return True
    return False
