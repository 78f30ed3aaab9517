"""Hypersim as it is released (HDF5) to pictures and plane depth, as Marigold prepares it.

RAW/ai_001_001/images/scene_cam_00_final_hdf5/frame.0000.color.hdf5
RAW/ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.{depth_meters,render_entity_id}.hdf5
->
OUT/ai_001_001/{rgb,depth_plane}_cam_00_fr0000.png       480x640; uint8, uint16 mm (0 = unknown)
OUT/filename_list_SPLIT.txt
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.console import Steps
from apdepth_deploy.errors import DataError, TrainingError, UsageError
from apdepth_deploy.files import atomic_file, sweep
from apdepth_deploy.pictures.image import DepthArray, ImageArray

from .text import read_text

#: Focal length in pixels of every Hypersim camera at 1024x768.
FOCAL = 886.81
_SIZE = 480, 640
#: Depth beyond doesn't fit in 16 bits of millimetres.
_FARTHEST = 65.0


@dataclasses.dataclass(frozen=True)
class _Frame:
    scene: str
    camera: str
    number: int

    @property
    def names(self) -> tuple[str, str]:
        """Of the picture and of the depth, below OUT."""
        tail = f"{self.camera}_fr{self.number:04d}.png"
        return f"{self.scene}/rgb_{tail}", f"{self.scene}/depth_plane_{tail}"

    def raw(self, root: Path, kind: str, dataset: str) -> Path:
        folder = root / self.scene / "images" / f"scene_{self.camera}_{kind}_hdf5"
        return folder / f"frame.{self.number:04d}.{dataset}.hdf5"


def prepare_hypersim(
    raw: Path,
    output: Path,
    split_csv: Path,
    split: str,
    workers: int,
    bad_samples: int,
    progress: Steps,
) -> int:
    """Write the pairs of one split and their list; pairs that are there stay.

    Args:
        split_csv: the release's ``metadata_images_split_scene_v1.csv``.
        split: "train", "val" or "test".
        bad_samples: frames to step over, by name, before it is given up.

    Returns how many pairs there are. Raises UsageError, DataError, OutputError, TrainingError.
    """
    if workers < 1 or bad_samples < 0:
        raise UsageError("workers must be at least 1, and bad samples at least 0")
    frames = _frames(split_csv, split)
    if not raw.is_dir():
        raise DataError(f"{raw}: no such folder")
    for scene in sorted({frame.scene for frame in frames}):
        sweep(output / scene)
    jobs = [(raw, output, frame) for frame in frames if not _is_there(output, frame)]
    bad: list[str] = []
    spawn = get_context("spawn")
    with ProcessPoolExecutor(min(workers, max(len(jobs), 1)), mp_context=spawn) as pool:
        for done, error in enumerate(pool.map(_prepare, jobs, chunksize=4), start=1):
            if error is not None:
                bad.append(error)
                progress(f"skipped a bad sample ({len(bad)}): {error}")
            if len(bad) > bad_samples:
                pool.shutdown(cancel_futures=True)
                raise TrainingError(
                    f"more than {bad_samples} frames are missing or damaged, the last: {error}. "
                    "Get them again, or raise --bad-samples"
                )
            if done % 100 == 0:
                progress(f"{done} of {len(jobs)} frames")
    there = [frame for frame in frames if _is_there(output, frame)]
    if not there:
        raise DataError(f"{raw}: not one of {len(frames)} frames of {split} is good: {bad[0]}")
    with atomic_file(output / f"filename_list_{split}.txt") as path:
        path.write_text("".join(" ".join(f.names) + "\n" for f in there), encoding="utf-8")
    return len(there)


def _frames(split_csv: Path, split: str) -> list[_Frame]:
    """The public release's frames of a split, at least one. Raises DataError."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(split_csv))))
        public = [row for row in rows if row["included_in_public_release"].lower() == "true"]
        frames = [_frame(row) for row in public if row["split_partition_name"] == split]
        splits = sorted({row["split_partition_name"] for row in public})
    except (csv.Error, KeyError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{split_csv}: not Hypersim's table of splits: {error!r}") from error
    if not frames:
        found = ", ".join(splits) or "no split"
        raise DataError(f"{split_csv}: has frames of {found}, none of {split!r}")
    return frames


def _frame(row: dict[str, str]) -> _Frame:
    """Names go into paths: they are what Hypersim's are, or ValueError."""
    scene, camera = row["scene_name"], row["camera_name"]
    if not (re.fullmatch(r"ai_\d+_\d+", scene) and re.fullmatch(r"cam_\d+", camera)):
        raise ValueError(f"scene {scene!r}, camera {camera!r}")
    return _Frame(scene, camera, int(row["frame_id"]))


def _is_there(output: Path, frame: _Frame) -> bool:
    return all((output / name).is_file() for name in frame.names)


def _prepare(job: tuple[Path, Path, _Frame]) -> str | None:
    """One pair, the depth last; returns what is wrong with it, or None."""
    raw, output, frame = job
    try:
        color = _read(frame.raw(raw, "final", "color"), 3)
        entity = _read(frame.raw(raw, "geometry", "render_entity_id"), 2)
        distance = _read(frame.raw(raw, "geometry", "depth_meters"), 2)
        if not color.shape == (*entity.shape, 3) == (*distance.shape, 3) or not color.size:
            raise DataError(f"{frame.names[0]}: picture, ids and depth differ in size")
    except DataError as error:
        return str(error)
    image = tone_map(color, entity != -1)
    depth = plane_depth(distance)
    depth = np.where((entity != -1) & np.isfinite(depth) & (depth < _FARTHEST), depth, 0)
    rgb_name, depth_name = frame.names
    _write(output / rgb_name, _shrink(image))
    _write(output / depth_name, (_nearest(depth) * 1000.0).round().astype(np.uint16))
    return None


def _read(path: Path, ndim: int) -> NDArray[Any]:
    try:
        with h5py.File(path) as file:
            array = np.asarray(file["dataset"])
    except Exception as error:  # what isn't there, isn't whole or isn't an array: each its own type
        raise DataError(f"{path}: missing or damaged: {error}") from error
    if array.ndim != ndim or array.dtype.kind not in "iuf":
        raise DataError(f"{path}: is {array.dtype} with {array.ndim} axes, not numbers with {ndim}")
    return np.asarray(array, dtype=np.int64 if array.dtype.kind in "iu" else np.float32)


def tone_map(color: NDArray[np.float32], valid: NDArray[np.bool_]) -> ImageArray:
    """Linear radiance [H,W,3] to uint8: brightness' 90th percentile to 0.8, gamma 1/2.2.

    Hypersim's own (its tonemap script): the percentile is over pixels that show an entity.
    """
    color = np.nan_to_num(color, posinf=0.0, neginf=0.0)
    brightness = 0.3 * color[..., 0] + 0.59 * color[..., 1] + 0.11 * color[..., 2]
    bright = float(np.percentile(brightness[valid], 90)) if valid.any() else 0.0
    scale = 0.0 if bright < 1e-4 else 0.8**2.2 / bright
    mapped = np.clip((scale * color).clip(0) ** (1 / 2.2), 0, 1)
    image: ImageArray = (mapped * 255).round().astype(np.uint8)
    return image


def plane_depth(distance: NDArray[np.float32]) -> DepthArray:
    """Distance from the camera's centre to distance along its axis: d f / |(x, y, f)|, [H,W].

    Pixel centres lie at half-integers around the middle.
    """
    height, width = distance.shape
    focal = FOCAL * width / 1024
    y = np.arange(height)[:, None] + 0.5 - height / 2
    x = np.arange(width)[None] + 0.5 - width / 2
    depth: DepthArray = (distance * (focal / np.sqrt(x**2 + y**2 + focal**2))).astype(np.float32)
    return depth


def _shrink(image: ImageArray) -> ImageArray:
    size = _SIZE[1], _SIZE[0]
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _nearest(depth: NDArray[Any]) -> NDArray[Any]:
    rows, columns = depth.shape
    y = ((np.arange(_SIZE[0]) + 0.5) * rows / _SIZE[0]).astype(int)
    x = ((np.arange(_SIZE[1]) + 0.5) * columns / _SIZE[1]).astype(int)
    picked: NDArray[Any] = depth[y[:, None], x[None]]
    return picked


def _write(path: Path, values: NDArray[Any]) -> None:
    with atomic_file(path) as temporary:
        Image.fromarray(values).save(temporary, format="PNG")
