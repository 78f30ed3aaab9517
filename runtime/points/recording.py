"""Pictures, depth and points as a recording for the Rerun viewer, which is not started here."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import atomic_file, check_writable
from apdepth_deploy.pictures.image import ImageArray

from ..metric.camera import Camera
from ..metric.points import Cloud

#: (camera, uint8 [H,W,3], z [H,W], points): the next picture of a recording.
Log = Callable[[Camera, ImageArray, NDArray[Any], Cloud], None]


@contextmanager
def recording(path: Path | None) -> Iterator[Log | None]:
    """A ``Log`` into a file, which is there at the end, whole or not at all; None for None.

    The timeline ``picture`` counts from 0. ``camera`` is a Pinhole with ``image`` and ``depth`` (a
    DepthImage, 1.0 = one unit of z) below it; ``points`` are beside it, in the same frame.

    Raises UsageError for another ending than .rrd, or where rerun-sdk isn't installed; OutputError
    where the file can't be written.
    """
    if path is None:
        yield None
        return
    if path.suffix != ".rrd":
        raise UsageError(f"--rerun writes a recording, FILE.rrd, not {path}")
    try:
        rerun = importlib.import_module("rerun")
    except ModuleNotFoundError:
        raise UsageError(
            "--rerun needs rerun-sdk, which is not installed: pip install 'apdepth-deploy[rerun]'"
        ) from None
    check_writable(path)
    with atomic_file(path) as temporary:
        stream = rerun.RecordingStream("apdepth-deploy")
        try:
            stream.save(temporary)
            stream.log("/", rerun.ViewCoordinates.RDF, static=True)
            yield _log(rerun, stream)
        finally:
            stream.disconnect()  # writes what is waiting


def _log(rerun: Any, stream: Any) -> Log:
    numbers = itertools.count()

    def log(camera: Camera, image: ImageArray, z: NDArray[Any], points: Cloud) -> None:
        stream.set_time("picture", sequence=next(numbers))
        pinhole = rerun.Pinhole(
            focal_length=[camera.fx, camera.fy],
            principal_point=[camera.cx, camera.cy],
            resolution=[camera.width, camera.height],
        )
        stream.log("camera", pinhole)
        stream.log("camera/image", rerun.Image(image))
        stream.log("camera/depth", rerun.DepthImage(z.astype(np.float32), meter=1.0))
        stream.log("points", rerun.Points3D(points.xyz, colors=points.rgb))

    return log
