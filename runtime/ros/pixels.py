"""sensor_msgs/Image to RGB, whatever its encoding. Knows messages by their fields alone.

YUV is BT.601 with limited range, as video is where nothing else is said (ITU-R BT.601-7, 2.5.3),
in steps of 1/256: R = (298 (Y - 16) + 409 (V - 128) + 128) >> 8. Chroma is taken as it lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import ImageArray, check_size

#: Encoding -> bytes of a pixel, and where R, G and B lie in it.
_PLAIN = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
#: Encoding -> where Y, U, Y, V lie in the four bytes of two pixels.
_PAIRS = {
    "yuv422": (1, 0, 3, 2),
    "uyvy": (1, 0, 3, 2),
    "yuv422_yuy2": (0, 1, 2, 3),
    "yuyv": (0, 1, 2, 3),
}
ENCODINGS = (*_PLAIN, "mono16", *_PAIRS, "nv12")


def rgb_of(message: Any) -> ImageArray:
    """uint8 RGB [H,W,3] of a sensor_msgs/Image; 16-bit values are divided by 257.

    Raises ImageError for an encoding that isn't in ``ENCODINGS``, a size that can't be, a step
    shorter than a row, or too few bytes.
    """
    encoding, height, width = message.encoding, message.height, message.width
    check_size(height, width)
    if encoding in _PLAIN:
        size, order = _PLAIN[encoding]
        pixels = rows_of(message, width * size).reshape(height, width, size)
        return np.ascontiguousarray(pixels[..., list(order)])
    if encoding == "mono16":
        kind = np.dtype(np.uint16).newbyteorder(">" if message.is_bigendian else "<")
        wide = np.ascontiguousarray(rows_of(message, 2 * width)).view(kind)
        grey = ((wide.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if encoding in _PAIRS:
        if width % 2:
            raise ImageError(f"{encoding} holds pixels in pairs: its width can't be {width}")
        pairs = rows_of(message, 2 * width).reshape(height, width // 2, 4)
        y, u, y_next, v = (pairs[..., place] for place in _PAIRS[encoding])
        luma = np.stack([y, y_next], axis=-1).reshape(height, width)
        return _rgb(luma, np.repeat(u, 2, axis=1), np.repeat(v, 2, axis=1))
    if encoding == "nv12":
        if width % 2 or height % 2:
            raise ImageError(f"nv12 holds pixels in fours: its size can't be {width}x{height}")
        rows = rows_of(message, width, height * 3 // 2)
        chroma = rows[height:].reshape(height // 2, width // 2, 2)
        u, v = (chroma[..., k].repeat(2, axis=0).repeat(2, axis=1) for k in (0, 1))
        return _rgb(rows[:height], u, v)
    raise ImageError(f"encoding {encoding!r} is none of {', '.join(ENCODINGS)}")


def rows_of(message: Any, length: int, rows: int | None = None) -> NDArray[np.uint8]:
    """The bytes of each row without what pads it, [rows,length]; by default ``height`` rows.

    Raises ImageError where the step is shorter than a row, or bytes are missing.
    """
    rows = message.height if rows is None else rows
    step, data = message.step, np.frombuffer(message.data, np.uint8)
    if step < length:
        raise ImageError(f"step is {step} bytes, and a row of {message.encoding!r} has {length}")
    needed = step * (rows - 1) + length
    if len(data) < needed:
        raise ImageError(f"it has {len(data)} bytes of data, and its size and step say {needed}")
    return np.lib.stride_tricks.as_strided(data, (rows, length), (step, 1), writeable=False)


def _rgb(y: NDArray[Any], u: NDArray[Any], v: NDArray[Any]) -> ImageArray:
    luma = 298 * (y.astype(np.int32) - 16) + 128
    u, v = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    channels = luma + 409 * v, luma - 100 * u - 208 * v, luma + 516 * u
    return np.stack([(one >> 8).clip(0, 255) for one in channels], axis=-1).astype(np.uint8)
