"""Many pictures and videos, one after the other, going on after a failure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import is_terminal, quiet, say
from apdepth_deploy.errors import BackendError, ImageError, OutputError, UsageError
from apdepth_deploy.files import concerns_one_name, output_errors
from apdepth_deploy.pictures.image import DepthArray, Reading, read_picture

from .feeds.search import Job
from .feeds.video import is_video, load_av, open_video
from .predictor import Predictor

#: A job's pictures: its own, or a video's frames, which have jobs of their own.
Pictures = Iterator[tuple[Job, Reading]]

# The options of the verbs that predict, and of those that take videos.
Backend = Annotated[
    str, typer.Option(help="auto, onnxruntime, openvino, tensorrt-rtx, tensorrt, torch.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Precision = Annotated[str | None, typer.Option(help="fp32, fp16, bf16; default: what runs best.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: one for each core.")]
FramesEvery = Annotated[int, typer.Option(help="Of a video take each so many-th frame.")]


def two_numbers(text: str) -> tuple[float, float]:
    """What ``--range`` says. Raises UsageError."""
    try:
        near, far = map(float, text.split(","))
    except ValueError:
        near = far = 0.0
    if not -math.inf < near < far < math.inf:
        raise UsageError(f"--range is near,far with near below far, such as 0.5,10; not {text!r}")
    return near, far


def tell(predictor: Predictor, bundle: Path) -> None:
    """On stderr: which engine runs and why, and what to beware of."""
    say(predictor.reason)
    for warning in predictor.warnings:
        say(f"warning: {warning}")
    if Bundle.open(bundle).random_weights:
        say("warning: the weights are random: this depth means nothing")


def each(
    jobs: list[Job],
    output: Path,
    endings: Iterable[str],
    failures: list[str],
    frames_every: int = 1,
) -> Iterator[tuple[Job, Pictures]]:
    """The jobs one by one and their pictures, with progress told; each is to be read to its end.

    Args:
        output: the folder that results are written to, made before the first; endings: of their
            names, behind a stem.
        failures: gets a line for each job that can't be read, whole or in part; those that frames
            of a video leave there (``going_on``) become one.
        frames_every: of a video each so many-th frame is taken.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture, for a ``frames_every`` below 1, or
    where there are videos and no PyAV.
    """
    if frames_every < 1:
        raise UsageError(f"--frames-every must be 1 or more, not {frames_every}")
    if any(is_video(job.image) for job in jobs):
        load_av()
    _spare_images(jobs, output, tuple(endings))
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    with _progress(len(jobs)) as progress:
        for job in jobs:
            progress.begin(job)
            if is_video(job.image):
                yield job, _frames(job, failures, frames_every, progress)
            else:
                yield job, _picture(job, failures)


@contextmanager
def going_on(failures: list[str], job: Job) -> Iterator[None]:
    """What makes this picture fail, and no other, becomes a line in ``failures``."""
    try:
        yield
    except ImageError as error:
        failures.append(str(error))
    except OutputError as error:
        if not concerns_one_name(error):
            raise
        failures.append(f"{job}: {error}")
    except (MemoryError, BackendError) as error:
        if not _is_out_of_memory(error):
            raise
        failures.append(f"{job}: not enough memory for a picture of this size")


def done_line(jobs: list[Job], failures: list[str]) -> str:
    """How many are done, in words."""
    what = "pictures and videos" if any(is_video(job.image) for job in jobs) else "pictures"
    return f"{len(jobs) - len(failures)} of {len(jobs)} {what} done"


def predict(predictor: Predictor, picture: Reading, job: Job) -> DepthArray:
    """float32 [H,W], all of it finite; else ImageError."""
    depth: DepthArray = predictor(picture.image)
    if not np.isfinite(depth).all():
        raise ImageError(f"{job}: depth has NaN or Inf; `verify` the bundle")
    return depth


def _picture(job: Job, failures: list[str]) -> Pictures:
    with going_on(failures, job):
        yield job, _read(job.image)


def _frames(job: Job, failures: list[str], every: int, progress: _Lines) -> Pictures:
    """What goes wrong meanwhile becomes one failure, which tells the first and the last."""
    before, taken = len(failures), 0
    with going_on(failures, job), open_video(job.image) as video:
        for frame in video.frames(every):
            taken += 1
            at = job.at(frame.number, frame.seconds)
            progress.frame(at, video.seconds)
            yield at, frame.picture
    wrong = failures[before:]
    if len(wrong) > 1:
        wrong[0] += f" (and {len(wrong) - 1} more failures, {taken} frames)"
        failures[before:] = ["; ".join([wrong[0], wrong[-1]])]


def _read(path: Path) -> Reading:
    """``read_picture``, and a line where the file holds more than one. Raises ImageError."""
    with quiet():  # libtiff prints what is wrong with a file; the exception says it, too
        picture = read_picture(path)
    if picture.several:
        say(f"{path}: holds several pictures: the first is taken")
    return picture


def _is_out_of_memory(error: Exception) -> bool:
    """Engines say it in their own words."""
    words = ("bad_alloc", "out of memory", "allocate")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def _spare_images(jobs: list[Job], output: Path, endings: tuple[str, ...]) -> None:
    images = {job.image.resolve() for job in jobs}
    of_frames = re.compile("[0-9]{6,}(" + "|".join(map(re.escape, endings)) + ")")
    for job in jobs:
        names = [f"{job.stem}{ending}" for ending in endings]
        if is_video(job.image):
            folder = (output / job.stem).resolve()
            there = (image.name for image in images if image.parent == folder)
            names = [f"{job.stem}/{name}" for name in there if of_frames.fullmatch(name)]
        for name in names:
            if (output / name).resolve() in images:
                raise UsageError(
                    f"{job.image}: its {name} would take the place of a picture: choose another -o"
                )


class _Lines:
    """A line for each picture, and for each frame of a video."""

    def __init__(self, total: int) -> None:
        self._total, self._number = total, 0

    def begin(self, job: Job) -> None:
        """The next job begins."""
        self._number += 1
        say(f"[{self._number}/{self._total}] {job}")

    def frame(self, at: Job, end: float | None) -> None:
        """A frame begins of a video that lasts to ``end`` seconds, where that is known."""
        say(f"[{self._number}/{self._total}] {at}")


class _Bar(_Lines):
    """A bar on a terminal, a job long for each job; a video's part of it fills frame by frame."""

    def __init__(self, total: int, bar: Any) -> None:
        super().__init__(total)
        self._bar, self._task = bar, bar.add_task("depth", total=total)

    def begin(self, job: Job) -> None:
        self._bar.update(self._task, completed=self._number, description="depth")
        self._number += 1

    def frame(self, at: Job, end: float | None) -> None:
        part = min(1.0, max(0.0, (at.seconds or 0.0) / end)) if end else 0.0
        done = self._number - 1 + part
        self._bar.update(self._task, completed=done, description=f"depth of frame {at.frame}")

    def finish(self) -> None:
        """All jobs are done."""
        self._bar.update(self._task, completed=self._total, description="depth")


@contextmanager
def _progress(total: int) -> Iterator[_Lines]:
    if not is_terminal():
        yield _Lines(total)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as shown:
        bar = _Bar(total, shown)
        yield bar
        bar.finish()
