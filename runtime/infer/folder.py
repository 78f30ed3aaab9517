"""Many pictures: their depth, one after the other, and going on after a failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from apdepth_deploy.console import is_terminal, quiet, say
from apdepth_deploy.errors import BackendError, ImageError, OutputError, UsageError
from apdepth_deploy.files import concerns_one_name, output_errors
from apdepth_deploy.pictures.depth import ENDINGS, write_depth
from apdepth_deploy.pictures.image import DepthArray, read_picture

from ..feeds.search import Job
from ..metric.stabilizer import Stabilizer
from ..predictor import Predictor


def infer_folder(
    predictor: Predictor, jobs: list[Job], output: Path, steady: Stabilizer | None = None
) -> list[str]:
    """Predict and write every job; returns a line for each picture that failed.

    Args:
        steady: for pictures of one stream, in their order: what makes its depth steadier.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture.
    """
    _spare_images(jobs, output)
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    failures = []
    for job in _with_progress(jobs):
        try:
            depth = _depth(predictor, job.image, steady)
            target = output / job.stem
            write_depth(depth, target.parent, target.name)
        except ImageError as error:
            failures.append(str(error))
        except OutputError as error:
            if not concerns_one_name(error):
                raise
            failures.append(f"{job.image}: {error}")
        except (MemoryError, BackendError) as error:
            if not _is_out_of_memory(error):
                raise
            failures.append(f"{job.image}: not enough memory for a picture of this size")
    return failures


def _depth(predictor: Predictor, path: Path, steady: Stabilizer | None) -> DepthArray:
    with quiet():  # libtiff prints what is wrong with a file; the exception says it, too
        picture = read_picture(path)
    if picture.several:
        say(f"{path}: holds several pictures: the first is taken")
    depth: DepthArray = predictor(picture.image)
    if not np.isfinite(depth).all():
        raise ImageError(f"{path}: depth has NaN or Inf; `verify` the bundle")
    return depth if steady is None else steady(picture.image, depth)


def _is_out_of_memory(error: Exception) -> bool:
    """Engines say it in their own words."""
    words = ("bad_alloc", "out of memory", "allocate")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


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
    if is_terminal():
        from rich.console import Console

        return track(jobs, description="depth", console=Console(stderr=True))
    return _with_lines(jobs)


def _with_lines(jobs: list[Job]) -> Iterator[Job]:
    for number, job in enumerate(jobs, start=1):
        say(f"[{number}/{len(jobs)}] {job.image}")
        yield job
