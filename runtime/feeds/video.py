"""Videos, frame by frame, by PyAV (FFmpeg), which is loaded when one is opened.

FFmpeg decodes, and its libswscale makes RGB of what a frame says of its colours: matrix (BT.601
where it says nothing) and range. Frames come as they are shown, one in memory at a time but for
those that the decoder itself needs. Pixels that aren't square stay so.
"""

from __future__ import annotations

import importlib
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.pictures.image import Reading, check_size, upright

#: What a video is known by.
SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm"})
#: Where stored x and y go on the screen -> EXIF's word for it.
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
#: A file's stated end may lie so far behind its last frame's: seconds; frames at the mean rate.
_SLACK, _SLACK_FRAMES = 0.25, 1.5
#: Where PyAV's time-out ended a wait.
_LATE = "no answer in time"


class Frame(NamedTuple):
    """``number``: in the video, from 0; ``seconds``: when it is shown, by the file, never less than
    the frame's before; ``picture``: its pixels, upright."""

    number: int
    seconds: float
    picture: Reading


def is_video(path: Path) -> bool:
    """By its name alone."""
    return path.suffix.lower() in SUFFIXES


def load_av() -> Any:
    """The module ``av``. Raises UsageError where it isn't installed."""
    try:
        return importlib.import_module("av")
    except ModuleNotFoundError:
        raise UsageError(
            "videos need PyAV, which is not installed: pip install 'apdepth-deploy[video]'"
        ) from None


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """A file's first or best video stream.

    Raises:
        UsageError: PyAV isn't installed.
        ImageError: no file, none that FFmpeg can read, or nothing but sound in it.
    """
    av = load_av()
    if path.exists() and not path.is_file():
        raise ImageError(f"{path}: not a file: videos are read from files alone")
    try:
        container = av.open(str(path.absolute()))  # absolute: "a:b.mp4" is no address
    except av.FFmpegError as error:
        raise ImageError(f"{path}: {reason_of(error)}") from error
    with container:
        yield Video(container, str(path))


def reason_of(error: Any) -> str:
    """What FFmpeg's refusal means, in words."""
    words = str(error.strerror)
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, load_av().error.ExitError):
        return _LATE
    if isinstance(error, ValueError):  # FFmpeg's "invalid data"
        return f"no video, or damaged or truncated: {words}"
    return f"can't be opened: {words}"


class Video:
    """What PyAV has open, read once from start to end.

    Attributes:
        seconds: when it ends, by what the file says; None where it doesn't.
        arrived: when the newest packet was read, by ``time.monotonic()``.
        broke: why reading ended too early, in words; "" where it didn't.
    """

    def __init__(self, container: Any, name: str) -> None:
        """``name``: what messages call it. Raises ImageError where it has no video stream."""
        av = load_av()
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            raise ImageError(f"{name}: has no video stream")
        best = container.streams.best("video")
        self._stream = best if best in streams else streams[0]
        if self._stream.codec_context is None:
            raise ImageError(f"{name}: this PyAV has no decoder for its video: save it as H.264")
        self._container, self._name = container, name
        self._errors = av.FFmpegError
        self._convert = av.video.reformatter.VideoReformatter().reformat
        self._whole, self._lost, self._end, self.broke = 0, 0, 0.0, ""
        self._rotation, self._orientation = None, 1
        self.seconds = None if container.duration is None else container.duration / av.time_base
        self.arrived = 0.0

    def hurry(self) -> None:
        """Decode for the least delay: no frame waits for those after it."""
        self._stream.codec_context.flags |= load_av().codec.context.Flags.low_delay
        self._stream.thread_type = "SLICE"

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Each ``every``-th frame, the first included, in the order in which they are shown.

        Raises ImageError for frames smaller than ``MIN_SIDE``; and, when all that can be had were
        given, where the file is damaged or truncated. UsageError where ``every`` isn't above 0.
        """
        if every < 1:
            raise UsageError(
                f"of a video each 1st, 2nd, ... frame can be taken, not each {every}th"
            )
        for number, seconds, frame in self.decoded():
            if number % every == 0:
                yield Frame(number, seconds, self.picture(frame))
        self.check_whole()

    def decoded(self) -> Iterator[tuple[int, float, Any]]:
        """Number, seconds, and what ``picture`` takes, of each frame that isn't damaged, in the
        order in which they are shown, as far as there are any."""
        seconds = 0.0
        for number, (frame, moment) in enumerate(self._decoded()):
            seconds = (
                moment if moment is not None and (not number or moment >= seconds) else seconds
            )
            self._end = seconds + float((frame.duration or 0) * self._stream.time_base)
            if frame.is_corrupt:  # painted over what was missing
                self._lost += 1
                continue
            self._whole += 1
            yield number, seconds, frame

    def _decoded(self) -> Iterator[tuple[Any, float | None]]:
        """Frames and their seconds. AVI has no times but the order: there, the k-th frame to be
        shown has the k-th packet's, though it may be another's."""
        times: deque[float] = deque()
        tick = self._stream.time_base  # what the decoder held back has none of its own
        in_order = self._container.format.name == "avi"
        for packet in self._packets():
            if packet is not None and packet.is_corrupt:
                self._lost += 1
                continue
            try:
                frames = self._stream.decode(packet)
            except self._errors:
                self._lost += 1
                continue
            if in_order and packet is not None and packet.dts is not None:
                times.append(float(packet.dts * tick))
            for frame in frames:
                own = None if frame.pts is None else float(frame.pts * tick)
                yield frame, times.popleft() if times else own

    def _packets(self) -> Iterator[Any]:
        """All that can be had, and None, which asks the decoder for what it holds back. Empty ones
        (AVI's for a frame that was dropped) would ask the same."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self.arrived = time.monotonic()
                    yield packet
        except self._errors as error:
            late = isinstance(error, load_av().error.ExitError)
            self.broke = _LATE if late else error.strerror
        yield None

    def picture(self, frame: Any) -> Reading:
        """A decoded frame's pixels, upright. Raises ImageError where it is too small."""
        try:
            check_size(frame.height, frame.width)
        except ImageError as error:
            raise ImageError(f"{self._name}: {error}") from error
        # A frame whose side data was looked at lives on until Python searches for circles.
        if frame.rotation != self._rotation:
            self._rotation, self._orientation = frame.rotation, _orientation(frame)
        image = self._convert(frame, format="rgb24").to_ndarray()
        return Reading(upright(image, self._orientation), self._orientation, several=False)

    def check_whole(self) -> None:
        """Asked at the end. Raises ImageError for a file that is damaged or truncated."""
        stated, end = self._stated_end(), self._end
        slack = max(_SLACK, _SLACK_FRAMES / float(self._stream.average_rate or 25))
        if stated is not None and end < stated - slack:  # Matroska ends without a word
            self.broke = f"it should last {stated:.1f} s"
        if self._whole and not self._lost and not self.broke:
            return
        words = [f"{self._whole} frames can be read, to {end:.1f} s"]
        words += [f"{self._lost} frames or parts are lost"] if self._lost else []
        words += [self.broke] if self.broke else []
        raise ImageError(f"{self._name}: damaged or truncated: {'; '.join(words)}")

    def _stated_end(self) -> float | None:
        """Of Matroska's video alone, in seconds; other formats tell of a missing end themselves."""
        stated = self._stream.metadata.get("DURATION", "").split(":")
        try:
            hours, minutes, seconds = map(float, stated)
        except ValueError:
            alone = "matroska" in self._container.format.name and len(self._container.streams) == 1
            return self.seconds if alone else None
        return 3600 * hours + 60 * minutes + seconds


def _orientation(frame: Any) -> int:
    """EXIF's word for the display matrix (ISO/IEC 14496-12, 6.2.2); 1 where it is no quarter turn.

    A stored (x, y) is shown at (a x + c y, b x + d y): a, b, u, c, d, v, ... in 16.16.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1
    a, b, _, c, d = (np.frombuffer(bytes(matrix), np.int32, 5) / 65536).round().astype(int).tolist()
    return _ORIENTATIONS.get((a, b, c, d), 1)
