"""Many pictures, one after the other, going on after a failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.progress import track

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import is_terminal, quiet, say
from apdepth_deploy.errors import BackendError, ImageError, OutputError, UsageError
from apdepth_deploy.files import concerns_one_name, output_errors
from apdepth_deploy.pictures.image import DepthArray, Reading, read_picture

from .feeds.search import Job
from .predictor import Predictor


def tell(predictor: Predictor, bundle: Path) -> None:
    """On stderr: which engine runs and why, and what to beware of."""
    say(predictor.reason)
    for warning in predictor.warnings:
        say(f"warning: {warning}")
    if Bundle.open(bundle).random_weights:
        say("warning: the weights are random: this depth means nothing")


def each(jobs: list[Job], output: Path, endings: Iterable[str]) -> Iterator[Job]:
    """The jobs one by one, with progress told; the output folder is there before the first.

    Args:
        output: the folder that results are written to; endings: of their names, behind a stem.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture.
    """
    _spare_images(jobs, output, tuple(endings))
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    yield from _with_progress(jobs)


@contextmanager
def going_on(failures: list[str], image: Path) -> Iterator[None]:
    """What makes this picture fail, and no other, becomes a line in ``failures``."""
    try:
        yield
    except ImageError as error:
        failures.append(str(error))
    except OutputError as error:
        if not concerns_one_name(error):
            raise
        failures.append(f"{image}: {error}")
    except (MemoryError, BackendError) as error:
        if not _is_out_of_memory(error):
            raise
        failures.append(f"{image}: not enough memory for a picture of this size")


def read(path: Path) -> Reading:
    """``read_picture``, and a line where the file holds more than one. Raises ImageError."""
    with quiet():  # libtiff prints what is wrong with a file; the exception says it, too
        picture = read_picture(path)
    if picture.several:
        say(f"{path}: holds several pictures: the first is taken")
    return picture


def predict(predictor: Predictor, picture: Reading, path: Path) -> DepthArray:
    """float32 [H,W], all of it finite; else ImageError."""
    depth: DepthArray = predictor(picture.image)
    if not np.isfinite(depth).all():
        raise ImageError(f"{path}: depth has NaN or Inf; `verify` the bundle")
    return depth


def _is_out_of_memory(error: Exception) -> bool:
    """Engines say it in their own words."""
    words = ("bad_alloc", "out of memory", "allocate")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def _spare_images(jobs: list[Job], output: Path, endings: tuple[str, ...]) -> None:
    images = {job.image.resolve() for job in jobs}
    for job in jobs:
        for ending in endings:
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
