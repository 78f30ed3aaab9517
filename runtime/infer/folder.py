"""Many pictures: their depth as files."""

from __future__ import annotations

import json
from pathlib import Path

from apdepth_deploy.files import atomic_file
from apdepth_deploy.pictures.depth import ENDINGS, write_depth

from ..basis import Basis, metres_of
from ..each import each, going_on, predict, read
from ..feeds.search import Job
from ..metric.stabilizer import Stabilizer
from ..predictor import Predictor

#: In the output folder: a line of JSON for each picture whose metres were asked for.
FITS = "fits.jsonl"


def infer_folder(
    predictor: Predictor,
    jobs: list[Job],
    output: Path,
    basis: Basis | None = None,
    shown: tuple[float, float] | None = None,
    steady: Stabilizer | None = None,
) -> list[str]:
    """Predict and write every job; returns a line for each picture that failed.

    Args:
        basis: what metres rest on, and then depth is in metres; shown: see ``write_depth``.
        steady: the jobs are a stream in order, and its depth goes through this.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture.
    """
    fits: list[str] = []

    def one(job: Job) -> None:  # what it holds is gone before the next is read
        picture = read(job.image)
        depth = predict(predictor, picture, job.image)
        if steady is not None:
            depth = steady(picture.image, depth)
        if basis is not None:
            fit = basis(job, picture, depth)
            fits.append(json.dumps({"picture": str(job.image), **fit.to_json()}))
            depth = metres_of(fit, depth, job.image)
        target = output / job.stem
        write_depth(depth, target.parent, target.name, metric=basis is not None, shown=shown)

    failures: list[str] = []
    for job in each(jobs, output, ENDINGS):
        with going_on(failures, job.image):
            one(job)
    if fits:
        with atomic_file(output / FITS) as path:
            path.write_text("".join(f"{line}\n" for line in fits), encoding="utf-8")
    return failures
