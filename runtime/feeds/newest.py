"""Of a stream the newest frame alone: a thread of its own reads, and never waits for depth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import Reading

from .source import Source, open_source
from .video import Video

#: Seconds before a stream is opened again: at first, growing by this factor, at most.
PAUSES = 0.5, 2.0, 10.0
#: A file that can't be decoded in time may be so late: seconds; then it plays slower.
_LATE = 1.0
#: How long the reader may take to end, seconds: a camera that says nothing can't be waked.
_LEAVE = 2.0

Item = TypeVar("Item")


class Slot(Generic[Item]):
    """Room for one: what comes takes the place of what waits.

    Attributes:
        dropped: how many were never taken.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._closed = False
        self.dropped = 0

    def put(self, item: Item) -> None:
        """The newest."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()

    def take(self, seconds: float | None = None) -> Item | None:
        """What waits, or comes within so many seconds; None where nothing does, or ever will."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, seconds)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many wait: 0 or 1."""
        return int(self._item is not None)

    @property
    def over(self) -> bool:
        """Whether nothing waits, and nothing more will come."""
        with self._changed:
            return self._closed and self._item is None


class LiveFrame(NamedTuple):
    """``number``: of the stream's frames, from 0; ``seconds``: a file's own, else since the first
    frame; ``captured``: when it was there, by ``time.monotonic()``; ``picture``: makes its pixels
    (ImageError where it is too small)."""

    number: int
    seconds: float
    captured: float
    picture: Callable[[], Reading]


class Reader:
    """A source that is read while it is entered; a file at its own pace, as a camera would.

    A stream that breaks is opened again, with growing pauses (``PAUSES``), for ever.

    Attributes:
        slot: where the newest frame waits; over at a file's end, or after ``failure``.
        failure: why there will be no more: a file that is damaged, a stream that never was.
        reopened: how often a stream was opened again and gave frames.
    """

    def __init__(self, source: Source, tell: Callable[[str], None]) -> None:
        """``tell``: is given a line where a stream breaks, and where it is back."""
        self.slot: Slot[LiveFrame] = Slot()
        self.failure: Exception | None = None
        self.reopened = 0
        self._source, self._tell = source, tell
        self._count, self._start = 0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join(_LEAVE)

    def _run(self) -> None:
        try:
            if self._source.is_file:
                self._play()
            else:
                self._watch()
        except Exception as error:  # noqa: BLE001 - the other thread raises it
            self.failure = error
        finally:
            self.slot.close()

    def _play(self) -> None:
        with open_source(self._source) as video:
            for _, seconds, frame in video.decoded():
                now = time.monotonic()
                if not self._count or now - self._start - seconds > _LATE:
                    self._start = now - seconds
                if self._stop.wait(max(0.0, self._start + seconds - now)):
                    return
                self._put(video, frame, seconds, time.monotonic())
            video.check_whole()

    def _watch(self) -> None:
        pause, broke = PAUSES[0], 0.0
        while not self._stop.is_set():
            before, why = self._count, "it ended"
            try:
                with open_source(self._source) as video:
                    for _, _, frame in video.decoded():
                        if self._stop.is_set():
                            return
                        if broke:
                            self._tell(f"{self._source.name}: back after {_since(broke):.1f} s")
                            self.reopened, broke = self.reopened + 1, 0.0
                        self._start = self._start or video.arrived
                        self._put(video, frame, video.arrived - self._start, video.arrived)
                    why = video.broke or why
            except ImageError as error:
                if not self._count:
                    raise
                why = str(error).removeprefix(f"{self._source.name}: ")
            if not self._count:
                raise ImageError(f"{self._source.name}: gave no frame ({why})")
            if not broke:
                broke = time.monotonic()
                self._tell(
                    f"{self._source.name}: broke off ({why}): it is opened again, "
                    f"after pauses of {PAUSES[0]:g} to {PAUSES[2]:g} s"
                )
            pause = PAUSES[0] if self._count > before else min(pause * PAUSES[1], PAUSES[2])
            self._stop.wait(pause)

    def _put(self, video: Video, frame: object, seconds: float, captured: float) -> None:
        self.slot.put(LiveFrame(self._count, seconds, captured, lambda: video.picture(frame)))
        self._count += 1


def _since(moment: float) -> float:
    return time.monotonic() - moment
