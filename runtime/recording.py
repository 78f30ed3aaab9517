"""Pictures, depth and points for the Rerun viewer: as a recording, or live."""

from __future__ import annotations

import importlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import typer
from numpy.typing import NDArray

from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import atomic_file, check_writable
from apdepth_deploy.pictures.image import ImageArray

from .feeds.newest import Slot
from .metric.camera import Camera
from .metric.points import Cloud

#: (camera, uint8 [H,W,3], z [H,W], points): the next picture; without a camera it is flat.
Log = Callable[[Camera | None, ImageArray, NDArray[Any], Cloud | None], None]
#: The option of the verbs that show what they do.
Rerun = Annotated[
    str | None,
    typer.Option(
        help="For the Rerun viewer: FILE.rrd, spawn (start one), or rerun+http://HOST:PORT/proxy."
    ),
]
_SCHEME = "rerun+http"
_PORT = 9876
#: Seconds for a viewer to answer, and for the last picture to reach it.
_PATIENCE = 5.0


@contextmanager
def recording(target: str | None) -> Iterator[Log | None]:
    """A ``Log`` into a file, which is there at the end, whole or not at all, or to a viewer; None
    for None. To a viewer the newest picture alone goes, from a thread: it holds nothing up.

    The timeline ``picture`` counts from 0. ``camera`` is a Pinhole with ``image`` and ``depth`` (a
    DepthImage, 1.0 = one unit of z) below it; ``points`` are beside it, in the same frame.

    Raises UsageError for another target, a viewer that doesn't answer, or where rerun-sdk isn't
    installed; OutputError where the file can't be written.
    """
    if target is None:
        yield None
        return
    to_file = target.endswith(".rrd")
    if not (to_file or target == "spawn" or target.startswith(f"{_SCHEME}://")):
        raise UsageError(
            f"--rerun takes FILE.rrd, spawn, or {_SCHEME}://HOST:PORT/proxy, not {target}"
        )
    try:
        rerun = importlib.import_module("rerun")
    except ModuleNotFoundError:
        raise UsageError(
            "--rerun needs rerun-sdk, which is not installed: pip install 'apdepth-deploy[rerun]'"
        ) from None
    with _into_file(rerun, Path(target)) if to_file else _to_viewer(rerun, target) as log:
        yield log


@contextmanager
def _into_file(rerun: Any, path: Path) -> Iterator[Log]:
    check_writable(path)
    with atomic_file(path) as temporary:
        stream = rerun.RecordingStream("apdepth-deploy")
        try:
            stream.save(temporary)
            yield _log(rerun, stream)
        finally:
            stream.disconnect()  # writes what is waiting


@contextmanager
def _to_viewer(rerun: Any, target: str) -> Iterator[Log]:
    """A viewer that goes away makes Rerun wait for it, for ever: that thread is left behind."""
    stream = rerun.RecordingStream("apdepth-deploy")
    if target == "spawn":
        try:
            stream.spawn()
        except RuntimeError as error:  # no viewer there
            raise UsageError(f"Rerun's viewer doesn't start: {error}") from error
    else:
        _check_answers(target)
        stream.connect_grpc(target)
    slot: Slot[tuple[Any, ...]] = Slot()
    log = _log(rerun, stream)

    def show() -> None:
        while not slot.over:
            if (item := slot.take()) is not None:
                log(*item)
        stream.disconnect()

    thread = threading.Thread(target=show, name="rerun", daemon=True)
    thread.start()
    try:
        yield lambda *item: slot.put(item)
    finally:
        slot.close()
        thread.join(_PATIENCE)


def _check_answers(address: str) -> None:
    """Rerun itself would only complain of it on stderr."""
    try:
        parts = urlsplit(address)
        place = parts.hostname or "", parts.port or _PORT
        socket.create_connection(place, timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"--rerun {address}: no viewer answers ({error})") from error


def _log(rerun: Any, stream: Any) -> Log:
    numbers = itertools.count()
    stream.log("/", rerun.ViewCoordinates.RDF, static=True)

    def log(
        camera: Camera | None, image: ImageArray, z: NDArray[Any], points: Cloud | None
    ) -> None:
        stream.set_time("picture", sequence=next(numbers))
        if camera is not None:
            pinhole = rerun.Pinhole(
                focal_length=[camera.fx, camera.fy],
                principal_point=[camera.cx, camera.cy],
                resolution=[camera.width, camera.height],
            )
            stream.log("camera", pinhole)
        stream.log("camera/image", rerun.Image(image))
        stream.log("camera/depth", rerun.DepthImage(z.astype(np.float32), meter=1.0))
        if points is not None:
            stream.log("points", rerun.Points3D(points.xyz, colors=points.rgb))

    return log
