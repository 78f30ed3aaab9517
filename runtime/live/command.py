"""``apdepth-deploy live``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import say
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
)
from ..choice import load
from ..each import Backend, Device, Precision, Threads, tell, two_numbers
from ..feeds.depth_video import Range
from ..feeds.newest import Reader
from ..feeds.source import source_of
from ..metric.camera import camera_source
from ..metric.points import Relief
from ..recording import Log, Rerun, recording
from ..stream import Stream
from .loop import Output, asked_to_end, closing, run
from .rates import Rate
from .videos import METRES, RELATIVE, ColourVideo, DepthVideo
from .work import Shown, Work

app = typer.Typer(add_completion=False)


@app.command()
def live(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    source: Annotated[
        str, typer.Argument(help="Camera (0, /dev/video0), video, rtsp:// or http:// address.")
    ],
    record: Annotated[
        Path | None, typer.Option(help="FILE.mp4: the picture, and depth in colours beside it.")
    ] = None,
    depth: Annotated[
        Path | None, typer.Option(help="FILE.mkv: depth with 16 bits, lossless (FFV1).")
    ] = None,
    shown: Annotated[
        str | None, typer.Option("--range", help="near,far that colours and 16 bits span.")
    ] = None,
    sequence: Annotated[bool, typer.Option(help="Steady depth.")] = True,
    anchors: Anchors = None,
    camera_height: CameraHeight = None,
    pitch: Pitch = None,
    roll: Roll = None,
    intrinsics: Intrinsics = None,
    camera_info: CameraInfo = None,
    fov: Fov = None,
    rerun: Rerun = None,
    as_json: Annotated[bool, typer.Option("--json", help="The numbers as lines of JSON.")] = False,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
) -> None:
    """Depth of a camera or a stream, always of its newest frame; numbers once a second.

    Ctrl-C ends it, and the files are whole. A stream that breaks is opened again. A video plays at
    its own pace, to its end.
    """
    source_camera = camera_source(intrinsics, camera_info, fov)
    unsaid = intrinsics is None and camera_info is None and fov is None
    given = None if unsaid else source_camera
    if camera_height is not None and given is None:
        raise UsageError("--camera-height needs --intrinsics, --camera-info or --fov")
    basis = basis_of(anchors, camera_height, pitch, roll, source_camera)
    opened = source_of(source)
    if anchors is not None and anchors.is_dir() and not opened.is_file:
        raise UsageError("--anchors FOLDER is for a video: of a stream name a file, for all frames")
    metric = basis is not None
    outputs = _outputs(record, depth, None if shown is None else two_numbers(shown), metric)
    with recording(rerun) as log:
        predictor = load(bundle, backend, device=device, precision=precision, threads=threads)
        reason = predictor.reason
        tell(predictor, bundle)
        work = Work(predictor, opened, Stream.of_video(sequence), basis, given)
        reader = Reader(opened, say)
        report = _report_json if as_json else _report
        show = None if log is None else _shower(log, metric)
        with asked_to_end() as end, reader, closing(outputs):
            total = run(reader, work, outputs, show, report, end)
    if predictor.reason != reason:
        say(predictor.reason)
    if work.unknown:
        say(f"{work.unknown} frames without metres; the last: {work.why}")
    if as_json:
        ends = {"final": True, "seconds": round(total.seconds, 3), "reopened": reader.reopened}
        print(json.dumps(ends | total.to_json() | {"failed": work.failed, "unknown": work.unknown}))
    else:
        again = f", opened again {reader.reopened} times" if reader.reopened else ""
        print(f"{total.frames} frames in {total.seconds:.1f} s: {total}{again}")
    if work.failed:
        say(f"failed: {work.failed} frames; the last: {work.why}")
        raise SystemExit(1)


def _outputs(
    record: Path | None, depth: Path | None, shown: Range | None, metric: bool
) -> list[Output]:
    """What was asked for. Raises UsageError, OutputError."""
    for path, option, ending in ((record, "--record", ".mp4"), (depth, "--depth", ".mkv")):
        if path is not None and path.suffix.lower() != ending:
            raise UsageError(f"{option} writes FILE{ending}, not {path}")
    if record is not None and metric and shown is None:
        raise UsageError("--record in metres needs --range near,far: what the colours span")
    outputs: list[Output] = []
    if record is not None:
        outputs.append(ColourVideo(record, shown or RELATIVE))
    if depth is not None:
        outputs.append(DepthVideo(depth, shown or (METRES if metric else RELATIVE), metric))
    return outputs


def _shower(log: Log, metric: bool) -> Callable[[Shown], None]:
    """Under a camera relative depth is shown as the relief that ``points`` makes of it."""
    relief = Relief()

    def show(done: Shown) -> None:
        flat = metric or done.camera is None
        log(done.camera, done.image, done.depth if flat else relief.z(done.depth), None)

    return show


def _report(rate: Rate) -> None:
    say(str(rate))


def _report_json(rate: Rate) -> None:
    print(json.dumps(rate.to_json()), flush=True)
