"""Many pictures: their points as files."""

from __future__ import annotations

from pathlib import Path

from apdepth_deploy.errors import ImageError

from ..basis import Basis, camera_of, metres_of
from ..each import each, going_on, predict, read
from ..feeds.search import Job
from ..metric.camera import Camera, CameraSource
from ..metric.points import Relief, cloud, write_ply
from ..predictor import Predictor
from .recording import Log

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
    log: Log | None = None,
) -> list[str]:
    """Write ``STEM.ply`` for every job; returns a line for each picture that failed.

    Args:
        source: of each picture's camera; shape: what metres rest on, or the relief to make.
        ratio, every: see ``cloud``.
        log: is given each picture and its points, too.

    Raises OutputError where the output folder can't be written: that would fail every picture.
    UsageError where a result would take the place of a picture.
    """

    def one(job: Job) -> None:  # what it holds is gone before the next is read
        picture = read(job.image)
        camera = camera_of(source, picture, job)  # before the work of a prediction
        depth = predict(predictor, picture, job.image)
        if isinstance(shape, Relief):
            z, unit = shape.z(depth), str(shape)
        else:
            z, unit = metres_of(shape(job, picture, depth), depth, job.image), "metres"
        points = cloud(z, picture.image, camera, ratio, _spacing(predictor, camera), every)
        if not len(points.xyz):
            raise ImageError(f"{job.image}: no points: z is nowhere known")
        write_ply(output / f"{job.stem}.ply", points, unit)
        if log is not None:
            log(camera, picture.image, z, points)

    failures: list[str] = []
    for job in each(jobs, output, ENDINGS):
        with going_on(failures, job.image):
            one(job)
    return failures


def _spacing(predictor: Predictor, camera: Camera) -> int:
    """How much depth was enlarged from the graph's frame, rounded up; 1 where each has its own."""
    height, width = predictor.frame_size or (camera.height, camera.width)
    return max(1, -(-camera.height // height), -(-camera.width // width))
