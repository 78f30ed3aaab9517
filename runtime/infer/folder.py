"""Many pictures: their depth as files."""

from __future__ import annotations

from pathlib import Path

from apdepth_deploy.pictures.depth import ENDINGS, write_depth

from ..each import each, going_on, predict, read
from ..feeds.search import Job
from ..predictor import Predictor


def infer_folder(predictor: Predictor, jobs: list[Job], output: Path) -> list[str]:
    """Predict and write every job; returns a line for each picture that failed.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture.
    """
    failures: list[str] = []
    for job in each(jobs, output, ENDINGS):
        with going_on(failures, job.image):
            depth = predict(predictor, read(job.image), job.image)
            target = output / job.stem
            write_depth(depth, target.parent, target.name)
    return failures
