"""What the authors train on: Hypersim, preprocessed, and Virtual KITTI 2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from apdepth_deploy.errors import DataError
from apdepth_deploy.pictures.image import DepthArray, ImageArray

from .files import Source, open_source, read_depth_png, read_list
from .listed import ListedDataset
from .sample import Sample
from .transforms import crop

#: The part of a KITTI frame that its benchmark looks at: height and width.
KITTI_CROP = (352, 1216)


class Hypersim(ListedDataset):
    """``ai_001_001/rgb_cam_00_fr0000.png`` with ``depth_plane_cam_00_fr0000.png``, uint16 mm.

    As Marigold's preprocessing and `apdepth-deploy data hypersim` write it.

    Args:
        path: folder or tar file.
        list_file: ``rgb depth`` lines; None = all pairs that are there.
    """

    name = "Hypersim"
    min_depth = 1e-5
    max_depth = 65.0

    def __init__(self, path: Path, list_file: Path | None = None) -> None:
        source = open_source(path)
        super().__init__(source, read_list(list_file, 2) if list_file else _hypersim(source))

    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        return read_depth_png(self.source, line[1], 1000.0, image.shape[:2])


def _hypersim(source: Source) -> list[list[str]]:
    pattern = re.compile(r"(.*/)?rgb_(cam_\d+_fr\d+)\.png")
    names = source.names()
    found = [(name, match) for name in names if (match := pattern.fullmatch(name))]
    return [[name, f"{match[1] or ''}depth_plane_{match[2]}.png"] for name, match in found]


_SCENES = {"train": ("Scene02", "Scene06", "Scene18", "Scene20"), "val": ("Scene01",)}
_VARIANTS = ("15-deg-left", "15-deg-right", "clone", "morning", "overcast", "sunset")


class VirtualKitti(ListedDataset):
    """Virtual KITTI 2: ``Scene02/clone/frames/{rgb,depth}/Camera_0/…``, depth uint16 cm to 80 m.

    Cropped as KITTI's benchmark does, to 352x1216.

    Args:
        path: folder or tar file of the pictures, or of both.
        depth_path: folder or tar file of the depth, as it is released.
        split: "train" (Scene02, 06, 18, 20) or "val" (Scene01).
        list_file: ``rgb depth`` lines; None = all pairs that are there.
    """

    name = "Virtual KITTI 2"
    min_depth = 1e-5
    max_depth = 80.0

    def __init__(
        self,
        path: Path,
        depth_path: Path | None = None,
        split: str = "train",
        list_file: Path | None = None,
    ) -> None:
        if split not in _SCENES:
            raise DataError(f"Virtual KITTI 2 has the splits train and val, not {split!r}")
        source = open_source(path)
        lines = read_list(list_file, 2) if list_file else _virtual_kitti(source, split)
        super().__init__(source, lines, None if depth_path is None else open_source(depth_path))

    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        return read_depth_png(self.depth_source, line[1], 100.0, image.shape[:2])

    def frame(self, sample: Sample) -> Sample:
        return kitti_crop(sample)


def _virtual_kitti(source: Source, split: str) -> list[list[str]]:
    scenes, variants = "|".join(_SCENES[split]), "|".join(_VARIANTS)
    pattern = re.compile(
        rf"(.*/)?(({scenes})/({variants})/frames)/rgb/(Camera_[01])/rgb_(\d+)\.jpg"
    )
    found = [(name, m) for name in source.names() if (m := pattern.fullmatch(name))]
    return [[name, f"{m[1] or ''}{m[2]}/depth/{m[5]}/depth_{m[6]}.png"] for name, m in found]


def kitti_crop(sample: Sample) -> Sample:
    """The benchmark's 352x1216: at the bottom, centred. Raises DataError for smaller frames."""
    rows, columns = sample.depth.shape
    height, width = KITTI_CROP
    if rows < height or columns < width:
        raise DataError(f"{sample.name}: {rows}x{columns} is smaller than KITTI's {height}x{width}")
    return crop(sample, rows - height, (columns - width) // 2, height, width)
