"""Anchors from files, one for each picture: what a range sensor, a map or a person knows of it.

    STEM.csv           lines x,y,z or x,y,z,sigma: pixels of the picture as it is read, metres
    STEM_sparse.png    16 bits: millimetres, 0 where there is none
    STEM_sparse.npy    numbers [h,w]: metres, 0 or NaN where there is none

A depth image may be smaller or larger than the picture: it shows the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.errors import ImageError, UsageError

Floats = NDArray[np.float64]

ENDINGS = (".csv", "_sparse.png", "_sparse.npy")
#: Of a file; a million anchors as text have some 30 MB.
_MOST_BYTES = 64 << 20
#: Anchors that are kept of a depth image, evenly spread: more tell nothing more.
_MOST = 20_000


def find_anchors(folder: Path, stem: str) -> Path | None:
    """The file of a picture's anchors; None where there is none.

    Args:
        stem: of the picture's results; its last part alone is looked for, too.

    Raises UsageError where ``folder`` is none, or holds two files for one picture.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder with anchors")
    for name in dict.fromkeys((stem, Path(stem).name)):
        found = [path for ending in ENDINGS if (path := folder / f"{name}{ending}").is_file()]
        if len(found) > 1:
            raise UsageError(f"{found[0]} and {found[1].name} are both for {stem}: keep one")
        if found:
            return found[0]
    return None


def read_anchors(path: Path, size: tuple[int, int]) -> Floats:
    """float64 [N,3] or [N,4]: x, y, z, sigma, for a picture of ``size`` (height, width).

    Raises ImageError, with the line where there is one, for what isn't of its kind.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ImageError(f"{path}: anchors of over {_MOST_BYTES >> 20} MB: keep fewer")
        if path.suffix == ".csv":
            return _read_csv(path)
        depth = _read_png(path) if path.suffix == ".png" else _read_npy(path)
    except OSError as error:
        raise ImageError(f"{path}: can't be read: {error.strerror or error}") from error
    return _of_depth(path, depth, size)


def _read_csv(path: Path) -> Floats:
    rows: list[list[float]] = []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        words = [word.strip() for word in line.split(",")]
        if words == [""] or words[0].startswith("#") or (number == 1 and words[:2] == ["x", "y"]):
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            raise ImageError(f"{path}, line {number}: not numbers: {line[:60]!r}") from None
        if len(row) not in (3, 4) or (rows and len(row) != len(rows[0])):
            raise ImageError(
                f"{path}, line {number}: {len(row)} columns: all lines are x,y,z, or x,y,z,sigma"
            )
        if not np.isfinite(row).all() or min(row[2:]) <= 0.0:
            raise ImageError(f"{path}, line {number}: z and sigma must be above 0: {line[:60]!r}")
        rows.append(row)
    return np.array(rows or np.empty((0, 3)), np.float64)


def _read_png(path: Path) -> Floats:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if not picture.mode.startswith("I"):
                raise ImageError(f"{path}: must be grey with 16 bits (millimetres)")
            return np.asarray(picture, np.float64) / 1000.0
    except (SyntaxError, ValueError) as error:
        raise ImageError(f"{path}: damaged: {error}") from error


def _read_npy(path: Path) -> Floats:
    try:
        depth: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ImageError(f"{path}: no array of numbers: {error}") from error
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or depth.dtype.kind not in "fiu":
        raise ImageError(f"{path}: must be numbers [h,w] (metres, 0 or NaN where there is none)")
    metres = depth.astype(np.float64)
    metres[np.isnan(metres)] = 0.0
    return metres


def _of_depth(path: Path, depth: Floats, size: tuple[int, int]) -> Floats:
    if (depth < 0.0).any() or not np.isfinite(depth).all():
        raise ImageError(f"{path}: metres can't be negative or infinite")
    (height, width), (rows, columns) = size, depth.shape
    if abs(rows * width - columns * height) > max(height, width):
        raise ImageError(
            f"{path}: {columns}x{rows} doesn't show what a picture of {width}x{height} does: "
            "project it into the picture's camera first"
        )
    y, x = np.nonzero(depth)
    if len(x) > _MOST:
        some = np.arange(_MOST) * len(x) // _MOST
        y, x = y[some], x[some]
    across, down = (x + 0.5) * width / columns - 0.5, (y + 0.5) * height / rows - 0.5
    return np.stack([across, down, depth[y, x]], axis=1)
