"""What a picture's metres rest on: anchors in files, or the ground below the camera."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.pictures.image import DepthArray, Reading

from .feeds.anchors import ENDINGS, find_anchors, read_anchors
from .feeds.search import Job
from .feeds.video import is_video
from .metric.camera import Camera, CameraSource
from .metric.ground import fit_ground, up_vector
from .metric.metres import Fit, fit_metres, no_fit

#: (the job, its picture, its relative depth) -> a fit, valid or not.
Basis = Callable[[Job, Reading, DepthArray], Fit]

# The options of every verb that gives metres.
Anchors = Annotated[
    Path | None,
    typer.Option(
        help="Metres: folder with STEM.csv (x,y,z[,sigma]) or STEM_sparse.png/.npy, or one such "
        "file, for all: of a camera that stands still."
    ),
]
CameraHeight = Annotated[
    float | None, typer.Option(help="Metres: the camera's height above flat ground in view.")
]
Pitch = Annotated[float | None, typer.Option(help="Degrees that the camera looks down.")]
Roll = Annotated[float | None, typer.Option(help="Degrees that it is turned clockwise.")]
Intrinsics = Annotated[
    str | None, typer.Option(help="The camera: fx,fy,cx,cy in pixels of these pictures.")
]
CameraInfo = Annotated[Path | None, typer.Option(help="The camera: a ROS camera_info in YAML.")]
Fov = Annotated[
    float | None, typer.Option(help="The camera: degrees that the pictures' width spans.")
]


def basis_of(
    anchors: Path | None,
    camera_height: float | None,
    pitch: float | None,
    roll: float | None,
    camera: CameraSource,
) -> Basis | None:
    """What was asked for; None where depth stays relative. Raises UsageError for what can't be."""
    if camera_height is None and (pitch is not None or roll is not None):
        raise UsageError("--pitch and --roll go with --camera-height: they say where the ground is")
    if anchors is not None and camera_height is not None:
        raise UsageError("--anchors or --camera-height: metres rest on one of them")
    if anchors is not None:
        if anchors.is_file():
            return _from_one_file(anchors)
        find_anchors(anchors, "")  # a folder that isn't there is said before any picture
        return lambda job, _, depth: _from_files(anchors, job, depth)
    if camera_height is None:
        return None
    if pitch is None:
        raise UsageError("--camera-height needs --pitch: degrees that the camera looks down")
    height, up = camera_height, up_vector(pitch, roll or 0.0)
    return lambda job, picture, depth: fit_ground(
        depth, camera_of(camera, picture, job), height, up
    )


def need_camera(
    jobs: list[Job], intrinsics: str | None, camera_info: Path | None, fov: float | None
) -> None:
    """Raises UsageError where there are videos and no option says what their camera is."""
    videos = [job for job in jobs if is_video(job.image)]
    if videos and intrinsics is None and camera_info is None and fov is None:
        raise UsageError(
            f"{videos[0]}: a video doesn't say what its camera is: give --intrinsics, "
            "--camera-info or --fov"
        )


def camera_of(camera: CameraSource, picture: Reading, job: Job) -> Camera:
    """A picture's own. Raises ImageError where it has none."""
    try:
        return camera.of(picture)
    except ImageError as error:
        raise ImageError(f"{job}: {error}") from error


def _from_files(folder: Path, job: Job, depth: DepthArray) -> Fit:
    path = find_anchors(folder, job.stem)
    if path is None:
        names = ", ".join(f"{Path(job.stem).name}{ending}" for ending in ENDINGS)
        return no_fit(f"{folder} has none of {names}")
    return fit_metres(depth, read_anchors(path, (depth.shape[0], depth.shape[1])))


def _from_one_file(path: Path) -> Basis:
    """Read once for each size of pictures."""
    if not path.name.endswith(ENDINGS):
        raise UsageError(f"{path}: anchors are a folder, or a file *{', *'.join(ENDINGS)}")
    read = functools.lru_cache(maxsize=1)(lambda size: read_anchors(path, size))
    return lambda _, __, depth: fit_metres(depth, read((depth.shape[0], depth.shape[1])))


def metres_of(fit: Fit, depth: DepthArray, job: Job) -> DepthArray:
    """float32 [H,W]. Raises ImageError, with the reason, where the fit isn't valid."""
    if not fit.valid:
        raise ImageError(f"{job}: no metres: {fit.why}")
    return fit.metres(depth)
