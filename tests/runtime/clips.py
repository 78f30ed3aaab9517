"""Small videos, made by PyAV for the tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def scenes(count: int, height: int = 48, width: int = 64, noise: float = 3.0) -> list[Image]:
    """A still scene of blocks with noise: uint8 [H,W,3]."""
    rng = np.random.default_rng(7)
    blocks = rng.integers(40, 200, (-(-height // 8), -(-width // 8), 3))
    scene = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    noisy = (scene + rng.normal(0, noise, scene.shape) for _ in range(count))
    return [one.round().clip(0, 255).astype(np.uint8) for one in noisy]


def write(
    path: Path,
    images: Iterable[Image],
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    ticks: Sequence[int] | None = None,
    rate: int = 10,
    **options: Any,
) -> Path:
    """A video of ``images`` at their ``ticks`` (default 0, 1, ...) of 1/``rate`` s; by default the
    pixels are kept exactly. ``options`` are the codec's; ``movflags`` the container's."""
    frames = [av.VideoFrame.from_ndarray(image, format="rgb24") for image in images]
    return write_frames(path, frames, codec, pix_fmt, ticks, rate, **options)


def write_frames(
    path: Path,
    frames: Sequence[Any],
    codec: str,
    pix_fmt: str,
    ticks: Sequence[int] | None = None,
    rate: int = 10,
    movflags: str = "",
    **options: Any,
) -> Path:
    """``write`` for PyAV's own frames, whose pixels, where of ``pix_fmt``, are not converted."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pix_fmt
        stream.codec_context.time_base = Fraction(1, rate)
        if frames[0].colorspace:
            stream.codec_context.colorspace = frames[0].colorspace
            stream.codec_context.color_range = frames[0].color_range
        for tick, frame in zip(ticks or range(len(frames)), frames, strict=True):
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut(path: Path, part: float) -> Path:
    """The file, with its first ``part`` alone left."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def turn(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """The MP4, whose track header now says: show (x, y) at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version 0: ISO/IEC 14496-12, 8.3.2
    whole = [value << 16 for value in (a, b, 0, c, d, 0, 0, 0)]
    assert data[matrix : matrix + 36] == struct.pack(
        ">9i", 1 << 16, *[0] * 3, 1 << 16, *[0] * 3, 1 << 30
    )
    data[matrix : matrix + 36] = struct.pack(">9i", *whole, 1 << 30)
    path.write_bytes(data)
    return path


def silence(path: Path) -> Path:
    """A file of sound alone."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, 8192, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
