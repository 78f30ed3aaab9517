"""Videos of depth: in colour beside the picture, and lossless with 16 bits (feeds/depth_video.py).

Times are the stream's, in milliseconds from the first frame.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from apdepth_deploy.errors import OutputError, UsageError
from apdepth_deploy.files import atomic_file, check_writable
from apdepth_deploy.pictures.depth import colorize
from apdepth_deploy.pictures.image import DepthArray, ImageArray

from ..feeds.depth_video import Range, tags_of, to_values
from ..feeds.video import load_av

RELATIVE: Range = (0.0, 1.0)
#: What 16 bits of millimetres span.
METRES: Range = (0.0, 65.535)
_TICK = Fraction(1, 1000)
#: A disk is left so many bytes: a file that is ended in time can be ended whole.
_SPARE = 64 << 20
#: Fragments of a second or two: nothing of a long recording waits in memory for its end.
_MP4 = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_H264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "20"}
_FFV1 = {"level": "3", "slicecrc": "1"}
#: A key frame each so many: where a player can start, and a fragment ends.
_KEY = 30


class VideoFile:
    """A video under way. At ``close`` it stands there whole; or, where writing failed, what stood
    there before. Without a frame there is none."""

    def __init__(self, path: Path, spare: int = _SPARE) -> None:
        """``spare``: bytes that ``check_space`` leaves. Raises OutputError, UsageError."""
        self.path, self._spare = path, spare
        self._container: Any = None
        self._stream: Any = None
        self._stack = contextlib.ExitStack()
        self._first, self._last = 0.0, -1
        self._av = load_av()
        check_writable(path)

    def _open(
        self,
        form: str,
        codec: str,
        pix_fmt: str,
        size: tuple[int, int],
        tags: dict[str, str],
        **options: Any,
    ) -> None:
        """``size``: height, width; ``tags``: of the file; ``options``: of the codec."""
        temporary = self._stack.enter_context(atomic_file(self.path))
        with self._failing():
            # A file of Python's own: of FFmpeg's, an error at the last write is never heard of.
            file = self._stack.enter_context(temporary.open("wb"))
            options_of = _MP4 if form == "mp4" else {}
            self._container = self._av.open(file, "w", format=form, options=options_of)
            self._container.metadata.update(tags)
            self._stream = self._container.add_stream(codec, rate=30, options=options)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = pix_fmt
        context = self._stream.codec_context
        context.time_base, context.gop_size, context.thread_count = _TICK, _KEY, 1

    def _write(self, frame: Any, seconds: float) -> None:
        """Raises OutputError, and then the file is given up."""
        if self._last < 0:
            self._first = seconds
        self._last = max(self._last + 1, round((seconds - self._first) / _TICK))
        frame.pts, frame.time_base = self._last, _TICK
        with self._failing():
            self._container.mux(self._stream.encode(frame))

    def check_space(self) -> None:
        """Raises OutputError where the disk is about full, while the file can be closed whole."""
        free = shutil.disk_usage(self.path.absolute().parent).free
        if free < self._spare:
            raise OutputError(
                f"{self.path}: only {free >> 20} MB are left on its disk: stopped while it is whole"
            )

    def close(self) -> None:
        """Raises OutputError where it can't be ended whole."""
        if self._container is None:
            return
        with self._failing():
            self._container.mux(self._stream.encode())
            self._container.close()
        self._container = None
        self._stack.close()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._av.FFmpegError) as error:
            if self._container is not None:
                with contextlib.suppress(OSError, self._av.FFmpegError):
                    self._container.close()
                self._container = None
            with contextlib.suppress(OSError):  # what stood there stays
                self._stack.__exit__(*sys.exc_info())
            raise OutputError(
                f"can't write {self.path}: {error.strerror}. What stood there before is untouched"
            ) from error


class ColourVideo(VideoFile):
    """MP4 (H.264): the picture, and depth in colours beside it."""

    def __init__(self, path: Path, shown: Range, spare: int = _SPARE) -> None:
        """``shown``: what the colours span, in all frames."""
        super().__init__(path, spare)
        if "libx264" not in self._av.codecs_available:
            raise UsageError("--record needs a PyAV with libx264: pip install 'av>=17'")
        self._shown = shown

    def write(self, image: ImageArray, depth: DepthArray, seconds: float) -> None:
        """uint8 [H,W,3] and float32 [H,W], of one size for all. Raises OutputError."""
        both = np.concatenate([image, colorize(depth, self._shown)], axis=1)
        both = both[: len(both) // 2 * 2]  # 4:2:0 has rows in pairs
        if self._container is None:
            self._open("mp4", "libx264", "yuv420p", both.shape[:2], {}, **_H264)
        self._write(self._av.VideoFrame.from_ndarray(both, format="rgb24"), seconds)


class DepthVideo(VideoFile):
    """Matroska (FFV1): depth with 16 bits, as ``read_depth_video`` reads it."""

    def __init__(self, path: Path, shown: Range, metric: bool, spare: int = _SPARE) -> None:
        """``shown``: what the 16 bits span; ``metric``: whether depth is metres."""
        super().__init__(path, spare)
        self._shown, self._metric = shown, metric

    def write(self, image: ImageArray, depth: DepthArray, seconds: float) -> None:
        """float32 [H,W], of one size for all. Raises OutputError."""
        values = to_values(depth, self._shown, self._metric)
        if self._container is None:
            tags = tags_of(self._shown, self._metric)
            self._open("matroska", "ffv1", "gray16le", values.shape, tags, **_FFV1)
        self._write(self._av.VideoFrame.from_ndarray(values, format="gray16le"), seconds)
