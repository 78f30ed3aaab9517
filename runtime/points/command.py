"""``apdepth-deploy points``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import printable, say

from ..basis import (
    Anchors,
    CameraHeight,
    CameraInfo,
    Fov,
    Intrinsics,
    Pitch,
    Roll,
    basis_of,
    need_camera,
)
from ..choice import load
from ..each import Backend, Device, FramesEvery, Precision, done_line, tell
from ..feeds.search import find_images
from ..metric.camera import camera_source
from ..metric.points import Relief
from ..recording import Rerun, recording
from .folder import points_folder

app = typer.Typer(add_completion=False)


@app.command()
def points(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    pictures: Annotated[
        list[str], typer.Argument(help="Pictures, videos, folders, or quoted globs.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the clouds.")],
    intrinsics: Intrinsics = None,
    camera_info: CameraInfo = None,
    fov: Fov = None,
    anchors: Anchors = None,
    camera_height: CameraHeight = None,
    pitch: Pitch = None,
    roll: Roll = None,
    near: Annotated[float, typer.Option(help="Without metres: z of relative depth 0.")] = 1.0,
    far: Annotated[float, typer.Option(help="Without metres: z of relative depth 1.")] = 4.0,
    ratio: Annotated[
        float, typer.Option(help="Steps of z beyond this part of it are edges.")
    ] = 0.04,
    every: Annotated[int, typer.Option(help="Take each so many-th pixel and row.")] = 1,
    frames_every: FramesEvery = 1,
    rerun: Rerun = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Points in space from pictures and videos' frames: a PLY with colours for each.

    The camera is the first of --intrinsics, --camera-info and --fov that is given; else it is read
    from each picture's EXIF. A picture that fails doesn't stop the others; it is named at the end
    and the exit code is 1.
    """
    found = find_images(pictures)
    for line in found.left_out:
        say(line)
    need_camera(found.jobs, intrinsics, camera_info, fov)
    source = camera_source(intrinsics, camera_info, fov)
    basis = basis_of(anchors, camera_height, pitch, roll, source)
    shape = Relief(near, far)
    with recording(rerun) as log:
        predictor = load(bundle, backend, device=device, precision=precision)
        tell(predictor, bundle)
        say(f"camera: {source.note}")
        if basis is None:
            say(f"{shape}: its form is to look at, its lengths and angles mean nothing")
        failures = points_folder(
            predictor,
            found.jobs,
            output,
            source,
            basis or shape,
            ratio=ratio,
            every=every,
            frames_every=frames_every,
            log=log,
        )
    for failure in failures:
        say(f"failed: {failure}")
    print(printable(f"{done_line(found.jobs, failures)}, points in {output}"))
    if failures:
        raise SystemExit(1)
