"""Rendered paths of a camera: its frames in their order, and where each point goes in the next."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import DataError
from apdepth_deploy.pictures.image import DepthArray

from .sample import MaskArray, Sample
from .synthetic import SyntheticDataset
from .text import read_text

Map = NDArray[np.float64]
#: A point is still seen where the depth found there is its own up to this share.
_SAME = 0.02


@dataclasses.dataclass(frozen=True)
class CameraPath:
    """One camera's way through one scene.

    Attributes:
        name: the scene's number.
        kind: how the camera moves.
        intrinsics: fx, fy, cx, cy in pixels, whose centres are at whole numbers.
        poses: float64 [N,4,4], camera (x right, y down, z forward) to world, metres.
        first: its first frame's number in ``frames``.
        frames: those of all paths.
    """

    name: str
    kind: str
    intrinsics: tuple[float, float, float, float]
    poses: Map
    first: int
    frames: SyntheticDataset

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index: int) -> Sample:
        """Raises DataError where a frame is missing or damaged, IndexError behind the last."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.frames[self.first + index]


def is_rendered(folder: Path) -> bool:
    """Whether a folder is a set of `apdepth-deploy synthesize`, with paths or without."""
    return (folder / "manifest.json").is_file()


def read_paths(folder: Path, split: str = "test") -> list[CameraPath]:
    """The paths of a rendered set. Raises DataError where it has none, or they are damaged."""
    frames = SyntheticDataset(folder, split)
    found: list[CameraPath] = []
    for file in sorted((folder / split).glob("*_path.json")):
        first = sum(map(len, found))
        try:
            record = json.loads(read_text(file))
            poses = np.array(record["poses"], dtype=np.float64)
            fx, fy, cx, cy = map(float, record["intrinsics"])
            if poses.ndim != 3 or poses.shape[1:] != (4, 4):
                raise ValueError(f"poses are 4x4, not {poses.shape[1:]}")
        except (LookupError, ValueError, TypeError) as error:
            raise DataError(f"{file}: is not a camera's path ({error})") from error
        name = file.name.removesuffix("_path.json")
        path = CameraPath(name, str(record["path"]), (fx, fy, cx, cy), poses, first, frames)
        found.append(path)
    if not found or sum(map(len, found)) != len(frames):
        raise DataError(
            f"{folder / split} has no camera paths, or not all: render them with "
            "`apdepth-deploy synthesize --path`"
        )
    return found


@dataclasses.dataclass(frozen=True)
class Flow:
    """Where the points seen in one frame are in another; float64 [H,W] each.

    Attributes:
        x, y: pixels of the other frame, centres at whole numbers.
        z: metres along its optical axis.
        seen: bool [H,W]: known, and the other frame shows the same point there.
    """

    x: Map
    y: Map
    z: Map
    seen: MaskArray


def flow(path: CameraPath, here: int, there: int, depth: DepthArray, other: DepthArray) -> Flow:
    """Exact motion of what stands still, from depth and poses.

    Args:
        here, there: numbers of two frames.
        depth, other: float32 [H,W], their depth in metres; 0 where unknown.
    """
    fx, fy, cx, cy = path.intrinsics
    rows, columns = np.indices(depth.shape, dtype=np.float64)
    z = depth.astype(np.float64)
    points = np.stack([(columns - cx) / fx * z, (rows - cy) / fy * z, z, np.ones_like(z)], axis=-1)
    moved = points @ (np.linalg.inv(path.poses[there]) @ path.poses[here]).T
    known = (z > 0) & (moved[..., 2] > 0)
    there_z = np.where(known, moved[..., 2], 1.0)
    x = np.where(known, moved[..., 0] / there_z * fx + cx, -1.0)
    y = np.where(known, moved[..., 1] / there_z * fy + cy, -1.0)
    inside = known & (x >= 0) & (y >= 0) & (x <= depth.shape[1] - 1) & (y <= depth.shape[0] - 1)
    whole = at(np.asarray(other > 0, dtype=np.float64), x, y) > 0.999
    same = np.abs(at(other, x, y) - there_z) <= _SAME * there_z
    return Flow(x, y, there_z, inside & whole & same)


def at(values: DepthArray | Map, x: Map, y: Map) -> Map:
    """Read bilinearly: float64 [H,W]. Beyond the border: as there."""
    height, width = values.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    right_by, down_by = x - left, y - top
    upper = values[top, left] * (1 - right_by) + values[top, left + 1] * right_by
    lower = values[top + 1, left] * (1 - right_by) + values[top + 1, left + 1] * right_by
    return np.asarray(upper * (1 - down_by) + lower * down_by, dtype=np.float64)
