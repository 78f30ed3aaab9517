"""Depth as lossless video: Matroska with FFV1 and gray16le.

depth = near + (far - near) value / 65535. The file's tags say ``DEPTH_RANGE`` (near,far) and
``DEPTH_UNIT`` (``relative`` or ``metres``); in metres 0 is what isn't known, or lies outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import DepthArray

from .video import load_av, reason_of

#: near, far.
Range = tuple[float, float]
_RANGE, _UNIT = "DEPTH_RANGE", "DEPTH_UNIT"
_MOST = 65535


def tags_of(shown: Range, metric: bool) -> dict[str, str]:
    """What a file says of itself; in capitals, for so Matroska keeps them."""
    return {_RANGE: f"{shown[0]!r},{shown[1]!r}", _UNIT: "metres" if metric else "relative"}


def to_values(depth: DepthArray, shown: Range, metric: bool) -> NDArray[np.uint16]:
    """float32 [H,W] -> uint16 [H,W]. Relative depth is clipped to the range; metres outside of it,
    and NaN, are 0."""
    near, far = shown
    scaled = np.rint((depth.astype(np.float64) - near) * (_MOST / (far - near)))
    if metric:
        scaled[~((scaled >= 0) & (scaled <= _MOST))] = 0
    return scaled.clip(0, _MOST).astype(np.uint16)


class DepthFrame(NamedTuple):
    """``seconds``: since the first frame; ``depth``: float32 [H,W], NaN where it isn't known;
    ``metric``: whether it is metres."""

    seconds: float
    depth: DepthArray
    metric: bool


def read_depth_video(path: Path) -> Iterator[DepthFrame]:
    """Frame after frame of what ``live --depth`` wrote, to 1/65535 of its range.

    Raises ImageError for anything else, or where it is damaged; UsageError without PyAV.
    """
    av = load_av()
    try:
        with av.open(str(path.absolute())) as container:
            near, far, metric = _tags(path, container.metadata)
            for frame in container.decode(video=0):
                values = frame.to_ndarray(format="gray16le")
                depth = (values * ((far - near) / _MOST) + near).astype(np.float32)
                if metric:
                    depth[values == 0] = np.nan
                yield DepthFrame(float(frame.pts * frame.time_base), depth, metric)
    except av.FFmpegError as error:
        raise ImageError(f"{path}: {reason_of(error)}") from error


def _tags(path: Path, metadata: dict[str, str]) -> tuple[float, float, bool]:
    try:
        near, far = map(float, metadata[_RANGE].split(","))
        return near, far, {"metres": True, "relative": False}[metadata[_UNIT]]
    except (KeyError, ValueError):
        raise ImageError(
            f"{path}: says no {_RANGE} and {_UNIT}: it isn't a video that `live --depth` wrote"
        ) from None
