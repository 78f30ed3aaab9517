"""Many pictures: their depth as files."""

from __future__ import annotations

from pathlib import Path

from apdepth_deploy.pictures.depth import ENDINGS, write_depth

from ..each import each_picture, predict, read
from ..feeds.search import Job
from ..predictor import Predictor


def infer_folder(predictor: Predictor, jobs: list[Job], output: Path) -> list[str]:
    """Predict and write every job; returns a line for each picture that failed.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture.
    """

    def work(job: Job) -> None:
        depth = predict(predictor, read(job.image), job.image)
        target = output / job.stem
        write_depth(depth, target.parent, target.name)

    return each_picture(jobs, output, ENDINGS, work)
