"""``apdepth-deploy infer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import printable, say
from apdepth_deploy.errors import UsageError

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
from ..each import Backend, Device, FramesEvery, Precision, Threads, done_line, tell, two_numbers
from ..feeds.search import find_images, in_natural_order
from ..feeds.video import is_video
from ..metric.camera import camera_source
from .folder import infer_folder
from .state import open_stabilizer, save_stabilizer

app = typer.Typer(add_completion=False)


@app.command()
def infer(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    images: Annotated[
        list[str], typer.Argument(help="Pictures, videos, folders, or quoted globs.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the depth.")],
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="For backend torch: weights, if not the manifest's.")
    ] = None,
    sequence: Annotated[
        bool | None,
        typer.Option(help="Steady depth: of each video (default), of the pictures as one stream."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="For --sequence: a file; what it holds is gone on with, and it is kept."),
    ] = None,
    frames_every: FramesEvery = 1,
    anchors: Anchors = None,
    camera_height: CameraHeight = None,
    pitch: Pitch = None,
    roll: Roll = None,
    intrinsics: Intrinsics = None,
    camera_info: CameraInfo = None,
    fov: Fov = None,
    shown: Annotated[
        str | None, typer.Option("--range", help="near,far that the colours span, for all.")
    ] = None,
) -> None:
    """Depth from pictures and videos' frames: 16-bit PNG, NPY and a colour PNG for each.

    Relative depth, 0 near to 1 far; with --anchors or --camera-height metres (the 16-bit PNG has
    millimetres), and fits.jsonl says how well they are founded. A picture that fails doesn't stop
    the others; it is named at the end and the exit code is 1.
    """
    if state is not None and not sequence:
        raise UsageError("--state is for --sequence: give both")
    colours = None if shown is None else two_numbers(shown)
    camera = camera_source(intrinsics, camera_info, fov)
    basis = basis_of(anchors, camera_height, pitch, roll, camera)
    found = find_images(images)
    if camera_height is not None:
        need_camera(found.jobs, intrinsics, camera_info, fov)
    if state is not None and any(is_video(job.image) for job in found.jobs):
        raise UsageError("--state is for pictures: each video is a stream of its own")
    jobs = in_natural_order(found.jobs) if sequence else found.jobs
    steady = open_stabilizer(state) if sequence else None
    for line in found.left_out:
        say(line)
    predictor = load(
        bundle,
        backend,
        device=device,
        precision=precision,
        threads=threads,
        checkpoint=checkpoint,
    )
    reason = predictor.reason
    tell(predictor, bundle)
    failures = infer_folder(
        predictor,
        jobs,
        output,
        basis,
        colours,
        steady,
        steady_videos=sequence is not False,
        frames_every=frames_every,
    )
    if steady is not None and state is not None:
        save_stabilizer(steady, state)
    for failure in failures:
        say(f"failed: {failure}")
    if predictor.reason != reason:
        say(predictor.reason)
    print(printable(f"{done_line(jobs, failures)}, depth in {output}"))
    if failures:
        raise SystemExit(1)
