"""Depth out: 16-bit PNG, NPY and a colour picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from apdepth_deploy.files import atomic_file
from apdepth_deploy.pictures.image import DepthArray, strips

#: Endings of the files that ``write_depth`` makes for one picture.
ENDINGS = ("_depth.png", "_depth.npy", "_color.png")

# Colour stops from near (warm, bright) to far (cold, dark); even steps of lightness.
_STOPS = np.array(
    [
        [255, 244, 200],
        [253, 196, 106],
        [240, 136, 78],
        [203, 79, 97],
        [139, 46, 121],
        [78, 32, 118],
        [28, 16, 68],
    ],
    dtype=np.float64,
)
#: The colours in 4097 steps, finer than a channel's own.
_COLOURS = (
    np.stack(
        [
            np.interp(np.linspace(0, len(_STOPS) - 1, 4097), np.arange(len(_STOPS)), channel)
            for channel in _STOPS.T
        ],
        axis=-1,
    )
    .round()
    .astype(np.uint8)
)
#: What a PNG of ours says of itself, right behind its header.
_SOFTWARE = ("Software", "apdepth-deploy")
_MARK = b"tEXt" + "\0".join(_SOFTWARE).encode()
_HEAD = 100


def write_depth(
    depth: DepthArray,
    folder: Path,
    stem: str,
    *,
    metric: bool = False,
    shown: tuple[float, float] | None = None,
) -> list[Path]:
    """Write one depth map three ways, each file whole or not at all.

    ``STEM_depth.npy`` is float32 [H,W]; ``STEM_depth.png`` uint16: round(depth x 65535), or with
    ``metric`` millimetres, 0 where they aren't known or don't fit; ``STEM_color.png`` a picture for
    people, over ``shown``, or the depth's own range.

    Raises OutputError where a file can't be written.
    """
    paths = [folder / f"{stem}{ending}" for ending in ENDINGS]
    writers: tuple[Callable[[BinaryIO], object], ...] = (
        lambda file: file.write(encode_png((to_millimetres if metric else to_uint16)(depth))),
        lambda file: _write_npy(depth, file),
        lambda file: file.write(encode_png(colorize(depth, shown))),
    )
    for path, write in zip(paths, writers, strict=True):
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            write(file)
    return paths


def is_result(path: Path) -> bool:
    """Whether ``path`` is a picture that ``write_depth`` wrote: its first bytes say so."""
    if not path.name.endswith(ENDINGS):
        return False
    try:
        with path.open("rb") as file:
            return _MARK in file.read(_HEAD)
    except OSError:
        return False


# Pillow and numpy hide the reason when a write of their own fails: both are given no real file.


def encode_png(picture: NDArray[Any]) -> memoryview:
    """uint16 [H,W] or uint8 [H,W,3] -> a PNG file that ``is_result`` knows."""
    encoded = io.BytesIO()
    text = PngInfo()
    text.add_text(*_SOFTWARE)
    Image.fromarray(picture).save(encoded, format="PNG", pnginfo=text)
    return encoded.getbuffer()


def encode_npy(array: NDArray[Any]) -> memoryview:
    """An array -> an NPY file."""
    encoded = io.BytesIO()
    np.save(encoded, array)
    return encoded.getbuffer()


def _write_npy(array: NDArray[Any], file: BinaryIO) -> None:
    np.save(SimpleNamespace(write=file.write), array)


def to_uint16(depth: DepthArray) -> NDArray[np.uint16]:
    """float32 [H,W] in [0, 1] -> uint16 [H,W], 65535 = far."""
    result = np.empty(depth.shape, dtype=np.uint16)
    for rows in strips(*depth.shape):
        scaled: NDArray[np.float64] = np.multiply(
            depth[rows].clip(0.0, 1.0), 65535.0, dtype=np.float64
        )
        result[rows] = np.rint(scaled)
    return result


def to_millimetres(metres: DepthArray) -> NDArray[np.uint16]:
    """float32 [H,W] metres -> uint16 [H,W] millimetres, 0 where they are NaN or above 65.535 m."""
    result = np.zeros(metres.shape, dtype=np.uint16)
    for rows in strips(*metres.shape):
        scaled = np.rint(np.multiply(metres[rows], 1000.0, dtype=np.float64))
        fits = (scaled > 0.0) & (scaled <= 65535.0)
        result[rows][fits] = scaled[fits]
    return result


def colorize(depth: DepthArray, shown: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """float32 [H,W] -> uint8 RGB [H,W,3]: near warm and bright, far cold and dark, NaN black.

    ``shown``: from which depth to which the colours go; by default the picture's own range.
    """
    low, high = shown or (np.fmin.reduce(depth, axis=None), np.fmax.reduce(depth, axis=None))
    scale = (len(_COLOURS) - 1) / max(float(high) - float(low), 1e-6)
    result = np.empty((*depth.shape, 3), dtype=np.uint8)
    for rows in strips(*depth.shape):
        steps = ((depth[rows] - np.float32(low)) * np.float32(scale)).clip(0, len(_COLOURS) - 1)
        known = np.isfinite(steps)
        result[rows] = _COLOURS[np.rint(np.where(known, steps, 0)).astype(np.intp)]
        result[rows][~known] = 0
    return result
