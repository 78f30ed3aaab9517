"""The five sets that depth models are compared on, and any folder of RGB-D pairs.

Ranges, masks and resolutions as the authors evaluate (their code, tag V1-1, after Marigold's).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from apdepth_deploy.errors import DataError, UsageError
from apdepth_deploy.pictures.image import DepthArray, ImageArray

from .files import Source, fitting, open_source, read_depth_png, read_list, read_npy
from .listed import Lines, ListedDataset
from .sample import Dataset, MaskArray, Sample
from .synthetic import SyntheticDataset
from .training_sets import kitti_crop


@dataclasses.dataclass(frozen=True)
class EvalSet:
    """A set with its rules.

    Attributes:
        min_depth, max_depth: metres; predictions are clipped to them.
        longer_side: pixels that pictures are brought to before the model; None = as they are.
        fit_side: scale and shift are fitted on maps of at most that side; None = as they are.
    """

    dataset: Dataset
    min_depth: float
    max_depth: float
    longer_side: int | None = None
    fit_side: int | None = None


#: Top, bottom, left, right, as fractions of the benchmark's crop.
_KITTI_PARTS = {
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
}


class Nyu(ListedDataset):
    """NYUv2, the 654 labelled test frames: lines ``rgb depth filled``; the raw depth, uint16 mm."""

    name = "NYUv2"
    min_depth = 1e-3
    max_depth = 10.0

    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        return read_depth_png(self.source, line[1], 1000.0, image.shape[:2])

    def frame(self, sample: Sample) -> Sample:
        if sample.valid.shape != (480, 640):
            size = "x".join(map(str, sample.valid.shape))
            raise DataError(f"{sample.name} is {size}: NYUv2's frames are 480x640")
        return sample

    def mask(self, line: Sequence[str], sample: Sample) -> MaskArray:
        inside = np.zeros_like(sample.valid)
        inside[45:471, 41:601] = True
        return inside


class Kitti(ListedDataset):
    """KITTI, the Eigen test split: lines ``rgb depth focal``, depth "None" where there is none.

    uint16 / 256; the benchmark's crop, then Eigen's or Garg's part of it.
    """

    name = "KITTI"
    min_depth = 1e-5
    max_depth = 80.0

    def __init__(self, source: Source, lines: Lines, part: str = "eigen") -> None:
        super().__init__(source, [line for line in lines if line[1] != "None"])
        self.part = part
        if part != "eigen":
            self.name = f"KITTI ({part.capitalize()})"

    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        return read_depth_png(self.source, line[1], 256.0, image.shape[:2])

    def frame(self, sample: Sample) -> Sample:
        return kitti_crop(sample)

    def mask(self, line: Sequence[str], sample: Sample) -> MaskArray:
        height, width = sample.valid.shape
        top, bottom, left, right = _KITTI_PARTS[self.part]
        inside = np.zeros_like(sample.valid)
        inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = 1
        return inside


class Eth3d(ListedDataset):
    """ETH3D: float32 without a header, of the picture's size (4032x6048); inf = unknown."""

    name = "ETH3D"
    min_depth = 1e-5
    max_depth = math.inf

    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        data = self.source.read(line[1])
        if len(data) != 4 * image.shape[0] * image.shape[1]:
            raise DataError(
                f"{self.source.path}: {line[1]} holds {len(data)} bytes, not one float32 for each "
                f"pixel of {image.shape[0]}x{image.shape[1]}"
            )
        depth = np.frombuffer(data, dtype="<f4").reshape(image.shape[:2])
        return np.where(np.isfinite(depth), depth, np.float32(0))


class ScanNet(ListedDataset):
    """ScanNet, 800 frames: uint16 mm, of the picture's size."""

    name = "ScanNet"
    min_depth = 1e-3
    max_depth = 10.0

    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        return read_depth_png(self.source, line[1], 1000.0, image.shape[:2])


class Diode(ListedDataset):
    """DIODE, validation: lines ``rgb depth mask``, both .npy."""

    name = "DIODE"
    min_depth = 0.6
    max_depth = 350.0

    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        return self._read(line[1], image.shape[:2])

    def mask(self, line: Sequence[str], sample: Sample) -> MaskArray:
        good: MaskArray = self._read(line[2], sample.valid.shape) > 0
        return good

    def _read(self, name: str, size: Sequence[int]) -> DepthArray:
        array = read_npy(self.source, name)
        flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
        return fitting(flat, size, self.source, name)


class Rgbd(ListedDataset):
    """Pairs of a picture and a 16-bit PNG of its depth; 0 = unknown."""

    name = "RGB-D"
    min_depth = 1e-3
    max_depth = math.inf

    def __init__(self, source: Source, lines: Lines, depth_scale: float) -> None:
        super().__init__(source, lines)
        self.depth_scale = depth_scale

    def read_depth(self, line: Sequence[str], image: ImageArray) -> DepthArray:
        return read_depth_png(self.source, line[1], self.depth_scale, image.shape[:2])


def open_rgbd(path: Path, list_file: Path | None, depth_scale: float) -> Rgbd:
    """Pairs by a list, or by name: ``a_color.jpg``/``a_rgb.png`` with ``a_depth.png``, or
    ``rgb/a.jpg`` with ``depth/a.png``. Raises DataError where there are none.
    """
    source = open_source(path)
    lines = read_list(list_file, 2) if list_file else _pairs_by_name(source.names())
    if not 0 < depth_scale < math.inf:
        raise UsageError("the depth scale is units per metre, above 0")
    return Rgbd(source, lines, depth_scale)


def _pairs_by_name(names: Sequence[str]) -> list[list[str]]:
    depths = {name for name in names if name.endswith(".png")}
    pairs = []
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        if suffix.lower() not in ("jpg", "jpeg", "png") or not dot:
            continue
        for pattern in (r"_(color|rgb)$", r"(?<![^/])(color|rgb)(?=/[^/]*$)"):
            twin = re.sub(pattern, lambda m: m[0].replace(m[1], "depth"), stem) + ".png"
            if twin != name and twin in depths and re.search(pattern, stem):
                pairs.append([name, twin])
                break
    return pairs


@dataclasses.dataclass(frozen=True)
class _Known:
    make: Callable[[Source, Lines], ListedDataset]
    columns: int
    longer_side: int | None = None
    fit_side: int | None = None


_SETS = {
    "nyu": _Known(Nyu, 2),
    "kitti": _Known(Kitti, 2),
    "kitti-garg": _Known(lambda source, lines: Kitti(source, lines, "garg"), 2),
    "eth3d": _Known(Eth3d, 2, longer_side=756, fit_side=1024),
    "scannet": _Known(ScanNet, 2),
    "diode": _Known(Diode, 3, longer_side=640),
}
EVAL_SETS = (*_SETS, "synthetic", "rgbd")


def open_eval_set(
    name: str, path: Path, list_file: Path | None = None, depth_scale: float = 1000.0
) -> EvalSet:
    """A set by its name in ``EVAL_SETS``.

    Args:
        path: folder or tar file; for "synthetic" the rendered set, of which "test" is taken.
        list_file: the set's list of samples; only "synthetic" and "rgbd" do without.
        depth_scale: for "rgbd": stored units per metre.

    Raises UsageError, DataError.
    """
    if name == "synthetic":
        return EvalSet(SyntheticDataset(path, "test"), 1e-3, math.inf)
    if name == "rgbd":
        pairs = open_rgbd(path, list_file, depth_scale)
        return EvalSet(pairs, pairs.min_depth, pairs.max_depth)
    if name not in _SETS:
        raise UsageError(f"unknown set {name!r}: choose one of {', '.join(EVAL_SETS)}")
    if list_file is None:
        raise UsageError(f"{name} needs --list: its file of `rgb depth` lines")
    known = _SETS[name]
    dataset = known.make(open_source(path), read_list(list_file, known.columns))
    return EvalSet(dataset, dataset.min_depth, dataset.max_depth, known.longer_side, known.fit_side)
