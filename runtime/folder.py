"""Many pictures: finding them, naming their results, and going on after a failure."""

from __future__ import annotations

import dataclasses
import glob
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from apdepth_deploy.depth import ENDINGS, write_depth
from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.files import output_errors
from apdepth_deploy.image import SUFFIXES, read_image

from .predictor import Predictor


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture and the name of its results, relative to the output folder."""

    image: Path
    stem: str


def find_images(patterns: Iterable[str]) -> list[Job]:
    """Files as they are, folders by known endings (with sub-folders), globs expanded.

    In folders, hidden files and results of earlier runs are left out. Results are named by the
    picture's stem, with its ending where two would be the same.

    Raises UsageError where a pattern matches nothing, or two results would have one name.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        try:
            matches = dict(_expand(pattern))
        except OSError as error:
            raise UsageError(f"{pattern}: can't be looked into: {error.strerror}") from error
        if not matches:
            raise UsageError(f"{pattern}: no picture there ({', '.join(sorted(SUFFIXES))})")
        found |= matches
    stems = Counter(name.with_suffix("") for name in found.values())
    jobs = [
        Job(image, str(name if stems[name.with_suffix("")] > 1 else name.with_suffix("")))
        for image, name in found.items()
    ]
    twice = [stem for stem, count in Counter(job.stem for job in jobs).items() if count > 1]
    if twice:
        raise UsageError(f"two pictures would write {twice[0]}_depth.png: run them apart")
    return jobs


def _expand(pattern: str) -> Iterator[tuple[Path, Path]]:
    """(picture, name of its results with the picture's ending)."""
    path = Path(pattern)
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path)
            if any(part.startswith(".") for part in name.parts) or _is_result(file):
                continue
            if file.suffix.lower() in SUFFIXES and file.is_file():
                yield file, name
    elif path.exists() or not glob.has_magic(pattern):
        yield path, Path(path.name)
    else:
        matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path's takes no absolute ones
        for file in map(Path, sorted(matches)):
            if file.is_file():
                yield file, Path(file.name)


def _is_result(file: Path) -> bool:
    """Whether ``write_depth`` wrote it: the output folder may lie among the pictures."""
    stem = file.name.removesuffix("_depth.png").removesuffix("_color.png")
    return stem != file.name and file.with_name(f"{stem}_depth.npy").exists()


def infer_folder(predictor: Predictor, jobs: list[Job], output: Path) -> list[str]:
    """Predict and write every job; returns a line for each picture that failed.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture.
    """
    _spare_images(jobs, output)
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    failures = []
    for job in _with_progress(jobs):
        try:
            depth = predictor(read_image(job.image))
        except ImageError as error:
            failures.append(str(error))
            continue
        if not np.isfinite(depth).all():
            failures.append(f"{job.image}: depth has NaN or Inf; `verify` the bundle")
            continue
        target = output / job.stem
        write_depth(depth, target.parent, target.name)
    return failures


def _spare_images(jobs: list[Job], output: Path) -> None:
    images = {job.image.resolve() for job in jobs}
    for job in jobs:
        for ending in ENDINGS:
            if (output / f"{job.stem}{ending}").resolve() in images:
                raise UsageError(
                    f"{job.image}: its {job.stem}{ending} would take the place of a picture: "
                    "choose another -o"
                )


def _with_progress(jobs: list[Job]) -> Iterable[Job]:
    """A bar on a terminal, a line per picture elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console

        return track(jobs, description="depth", console=Console(stderr=True))
    return _with_lines(jobs)


def _with_lines(jobs: list[Job]) -> Iterator[Job]:
    for number, job in enumerate(jobs, start=1):
        print(f"[{number}/{len(jobs)}] {job.image}", file=sys.stderr, flush=True)
        yield job
