"""Many pictures and videos: their depth as files."""

from __future__ import annotations

import json
from pathlib import Path

from apdepth_deploy.files import atomic_file
from apdepth_deploy.pictures.depth import ENDINGS, write_depth
from apdepth_deploy.pictures.image import Reading

from ..basis import Basis, metres_of
from ..each import each, going_on, predict
from ..feeds.search import Job
from ..feeds.video import is_video
from ..metric.stabilizer import Stabilizer
from ..predictor import Predictor
from ..stream import Stream

#: In the output folder: a line of JSON for each picture or frame whose metres were asked for.
FITS = "fits.jsonl"


def infer_folder(
    predictor: Predictor,
    jobs: list[Job],
    output: Path,
    basis: Basis | None = None,
    shown: tuple[float, float] | None = None,
    steady: Stabilizer | None = None,
    *,
    steady_videos: bool = True,
    frames_every: int = 1,
) -> list[str]:
    """Predict and write every job; returns a line for each that failed.

    Args:
        basis: what metres rest on, and then depth is in metres; shown: see ``write_depth``.
        steady: the pictures are a stream in order, and its depth goes through this.
        steady_videos: whether each video's depth goes through a ``Stabilizer`` of its own.
        frames_every: see ``each``.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError as ``each`` does.
    """
    fits: list[str] = []

    def one(job: Job, picture: Reading, stream: Stream) -> None:
        depth = stream.depth(picture.image, predict(predictor, picture, job))
        if basis is not None:
            fit = stream.fit(basis(job, picture, depth), job)
            fits.append(json.dumps(stream.told(fit, job)))
            depth = metres_of(fit, depth, job)
        target = output / job.stem
        write_depth(depth, target.parent, target.name, metric=basis is not None, shown=shown)

    failures: list[str] = []
    for job, pictures in each(jobs, output, ENDINGS, failures, frames_every):
        stream = Stream.of_video(steady_videos) if is_video(job.image) else Stream(steady)
        for at, picture in pictures:
            with going_on(failures, at):
                one(at, picture, stream)
            del picture  # before the next is read
    if fits:
        with atomic_file(output / FITS) as path:
            path.write_text("".join(f"{line}\n" for line in fits), encoding="utf-8")
    return failures
