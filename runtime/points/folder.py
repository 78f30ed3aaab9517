"""Many pictures and videos: their points as files."""

from __future__ import annotations

from pathlib import Path

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import Reading

from ..basis import Basis, camera_of, metres_of
from ..each import each, going_on, predict
from ..feeds.search import Job
from ..feeds.video import is_video
from ..metric.camera import Camera, CameraSource
from ..metric.points import Relief, cloud, write_ply
from ..predictor import Predictor
from ..recording import Log
from ..stream import Stream

ENDINGS = (".ply",)


def points_folder(
    predictor: Predictor,
    jobs: list[Job],
    output: Path,
    source: CameraSource,
    shape: Basis | Relief,
    *,
    ratio: float,
    every: int,
    frames_every: int = 1,
    log: Log | None = None,
) -> list[str]:
    """Write ``STEM.ply`` for every job, with steady depth of videos; a line for each that failed.

    Args:
        source: of each picture's camera; shape: what metres rest on, or the relief to make.
        ratio, every: see ``cloud``; frames_every: see ``each``.
        log: is given each picture and its points, too.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError as ``each`` does.
    """

    def one(job: Job, picture: Reading, stream: Stream) -> None:
        camera = camera_of(source, picture, job)  # before the work of a prediction
        depth = stream.depth(picture.image, predict(predictor, picture, job))
        if isinstance(shape, Relief):
            z, unit = shape.z(depth), str(shape)
        else:
            fit = stream.fit(shape(job, picture, depth), job)
            z, unit = metres_of(fit, depth, job), "metres"
        points = cloud(z, picture.image, camera, ratio, _spacing(predictor, camera), every)
        if not len(points.xyz):
            raise ImageError(f"{job}: no points: z is nowhere known")
        write_ply(output / f"{job.stem}.ply", points, unit)
        if log is not None:
            log(camera, picture.image, z, points)

    failures: list[str] = []
    for job, pictures in each(jobs, output, ENDINGS, failures, frames_every):
        stream = Stream.of_video() if is_video(job.image) else Stream()
        for at, picture in pictures:
            with going_on(failures, at):
                one(at, picture, stream)
            del picture  # before the next is read
    return failures


def _spacing(predictor: Predictor, camera: Camera) -> int:
    """How much depth was enlarged from the graph's frame, rounded up; 1 where each has its own."""
    height, width = predictor.frame_size or (camera.height, camera.width)
    return max(1, -(-camera.height // height), -(-camera.width // width))
