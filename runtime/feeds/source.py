"""Streams by name: a camera, a file, an address, opened by PyAV so that frames come at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from apdepth_deploy.errors import ImageError, UsageError

from .video import Video, load_av, open_video, reason_of

#: Seconds until a source that says nothing is given up: at opening, and between two packets.
TIMEOUTS = 10.0, 5.0
#: Of FFmpeg, for what is live: hand on each packet, keep none of those that told the format, and
#: look for a second at most (a frame rate isn't needed). Times are microseconds.
_LIVE = {"fflags": "nobuffer", "analyzeduration": "1000000", "fpsprobesize": "0"}
#: Over TCP: over UDP lost packets would be torn frames. ``timeout`` is the socket's.
_RTSP = {"rtsp_transport": "tcp", "timeout": f"{TIMEOUTS[1] * 1e6:.0f}"}
_SCHEMES = ("rtsp", "rtsps", "http", "https")


@dataclasses.dataclass(frozen=True)
class Source:
    """What to open.

    Attributes:
        name: as messages call it, without a password; stem: what its results are called.
        address: for FFmpeg; format: its demuxer, None: FFmpeg finds out; options: for that.
        is_file: it has a pace of its own and an end; all else is live.
    """

    name: str
    stem: str
    address: str
    format: str | None = None
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    is_file: bool = False


def source_of(text: str) -> Source:
    """A camera's number or /dev/video*, a file, rtsp:// or http://.

    Raises UsageError for anything else, a file or camera that isn't there, or without PyAV.
    """
    load_av()
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme:
        if scheme not in _SCHEMES or not urlsplit(text).hostname:
            raise UsageError(f"{_hidden(text)}: streams come by {', '.join(_SCHEMES)}, or a file")
        options = _LIVE | (_RTSP if scheme.startswith("rtsp") else {})
        return Source(_hidden(text), "stream", text, options=options)
    path = Path(f"/dev/video{text}" if re.fullmatch("[0-9]+", text) else text)
    if path.is_char_device():
        return Source(str(path), path.name, str(path), "v4l2", _LIVE)
    if not path.is_file():
        what = "no such camera" if str(path).startswith("/dev/") else "no such file, nor a camera"
        raise UsageError(
            f"{path}: {what}: name a camera (0, /dev/video0: on Linux), a video, or an address"
        )
    return Source(str(path), path.stem, str(path), is_file=True)


def _hidden(address: str) -> str:
    """Without user and password."""
    return re.sub(r"//[^/]*@", "//", address)


@contextmanager
def open_source(source: Source) -> Iterator[Video]:
    """What it shows. Raises ImageError where it can't be opened, in ``TIMEOUTS`` at the latest."""
    if source.is_file:
        with open_video(Path(source.address)) as video:
            yield video
        return
    av = load_av()
    try:
        container = av.open(
            source.address, format=source.format, options=source.options, timeout=TIMEOUTS
        )
    except av.FFmpegError as error:
        raise ImageError(f"{source.name}: {reason_of(error)}") from error
    with container:
        video = Video(container, source.name)
        video.hurry()
        yield video
