"""Depth out: 16-bit PNG, NPY and a colour picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.files import atomic_file
from apdepth_deploy.image import DepthArray

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


def write_depth(depth: DepthArray, folder: Path, stem: str) -> list[Path]:
    """Write one depth map three ways, each file whole or not at all.

    ``STEM_depth.png`` is uint16, round(depth x 65535); ``STEM_depth.npy`` float32 [H,W];
    ``STEM_color.png`` a picture for people, stretched to the depth's own range.

    Raises OutputError where a file can't be written.
    """
    contents = (_png(to_uint16(depth)), _npy(depth), _png(colorize(depth)))
    paths = [folder / f"{stem}{ending}" for ending in ENDINGS]
    for path, content in zip(paths, contents, strict=True):
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    return paths


# Encoded in memory: Pillow and numpy hide the reason when a write of their own fails.


def _png(picture: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def to_uint16(depth: DepthArray) -> NDArray[np.uint16]:
    """float32 [H,W] in [0, 1] -> uint16 [H,W], 65535 = far."""
    scaled: NDArray[np.float64] = np.multiply(depth.clip(0.0, 1.0), 65535.0, dtype=np.float64)
    return np.rint(scaled).astype(np.uint16)


def colorize(depth: DepthArray) -> NDArray[np.uint8]:
    """float32 [H,W] -> uint8 RGB [H,W,3]: near warm and bright, far cold and dark."""
    low, high = float(depth.min()), float(depth.max())
    position = (depth - low) / max(high - low, 1e-6) * (len(_STOPS) - 1)
    table = np.arange(len(_STOPS))
    channels = [np.interp(position, table, _STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
