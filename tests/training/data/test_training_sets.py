"""Hypersim and Virtual KITTI 2 in their real layouts and encodings, from folders and tar files."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.errors import DataError
from apdepth_deploy.training.batches import open_set
from apdepth_deploy.training.config import SETS, SetConfig
from apdepth_deploy.training.data.sample import Dataset
from apdepth_deploy.training.data.training_sets import Hypersim, VirtualKitti


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def pack(folder: Path) -> Path:
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        tar.add(folder, ".")
    return path


@pytest.fixture
def hypersim(tmp_path: Path) -> Path:
    root = tmp_path / "hypersim"
    for scene, frame in (("ai_001_001", 0), ("ai_001_001", 7), ("ai_002_003", 0)):
        image = np.full((48, 64, 3), 10 * frame + 5, np.uint8)
        depth = np.full((48, 64), 2000 + frame, np.uint16)
        depth[0, 0], depth[0, 1] = 0, 65535
        save(root / scene / f"rgb_cam_00_fr{frame:04d}.png", image)
        save(root / scene / f"depth_plane_cam_00_fr{frame:04d}.png", depth)
    return root


def first(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sample = dataset[0]
    return sample.image, sample.depth, sample.valid


@pytest.mark.parametrize("packed", [False, True])
def test_hypersim(hypersim: Path, packed: bool) -> None:
    dataset = Hypersim(pack(hypersim) if packed else hypersim)
    assert len(dataset) == 3
    sample = dataset[1]
    assert sample.name == "ai_001_001/rgb_cam_00_fr0007.png"
    assert sample.image[5, 5].tolist() == [75, 75, 75]
    assert sample.depth[5, 5] == pytest.approx(2.007)
    assert not sample.valid[0, 0] and not sample.valid[0, 1] and sample.valid.sum() == 48 * 64 - 2
    assert (sample.depth[~sample.valid] == 0).all()


def test_hypersim_by_a_list(hypersim: Path, tmp_path: Path) -> None:
    lines = tmp_path / "list.txt"
    lines.write_text(
        "./ai_002_003/rgb_cam_00_fr0000.png ./ai_002_003/depth_plane_cam_00_fr0000.png\n"
    )
    dataset = Hypersim(hypersim, lines)
    assert len(dataset) == 1 and dataset[0].depth[5, 5] == pytest.approx(2.0)


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("by_list", [False, True])
def test_a_set_of_nothing_is_refused(tmp_path: Path, kind: str, by_list: bool) -> None:
    (tmp_path / "train").mkdir()
    empty = tmp_path / "train" / "list.txt"
    empty.touch()
    with pytest.raises(DataError, match=r"holds no sample of|names no sample"):
        open_set(SetConfig(kind, str(tmp_path), list=str(empty) if by_list else None))


def test_a_missing_depth_is_named(hypersim: Path) -> None:
    (hypersim / "ai_001_001" / "depth_plane_cam_00_fr0000.png").unlink()
    with pytest.raises(DataError, match=r"depth_plane_cam_00_fr0000\.png"):
        Hypersim(hypersim)[0]


@pytest.fixture
def virtual_kitti(tmp_path: Path) -> tuple[Path, Path]:
    """Pictures and depth apart, as they are released."""
    rgb, depth = tmp_path / "rgb", tmp_path / "depth"
    rows = np.arange(375)[:, None].repeat(1242, axis=1)
    image = np.stack([rows % 256, rows // 256 * 100, rows * 0], axis=-1).astype(np.uint8)
    centimetres = (rows * 20).astype(np.uint16)  # 0 at the top, 74.8 m at the bottom
    centimetres[-1] = 65535  # sky
    for scene in ("Scene01", "Scene02"):
        for variant in ("clone", "fog"):
            base = Path(scene) / variant / "frames"
            save(rgb / base / "rgb" / "Camera_0" / "rgb_00000.jpg", image)
            save(depth / base / "depth" / "Camera_0" / "depth_00000.png", centimetres)
    return rgb, depth


@pytest.mark.parametrize("packed", [False, True])
def test_virtual_kitti(virtual_kitti: tuple[Path, Path], packed: bool) -> None:
    rgb, depth = (pack(path) if packed else path for path in virtual_kitti)
    train, val = (VirtualKitti(rgb, depth, split) for split in ("train", "val"))
    assert len(train) == len(val) == 1  # fog is no variant that the authors train on
    assert train.lines[0][0] == "Scene02/clone/frames/rgb/Camera_0/rgb_00000.jpg"
    sample = train[0]
    assert sample.image.shape == (352, 1216, 3) and sample.depth.shape == (352, 1216)
    # At the bottom: 375 - 352 = 23 rows go.
    np.testing.assert_allclose(sample.depth[:-1, 0], np.arange(23, 374) * 0.2, rtol=1e-6)
    assert abs(int(sample.image[0, 0, 0]) - 23) < 4  # a JPEG
    assert not sample.valid[-1].any() and sample.valid[:-1].all()


def test_virtual_kitti_has_two_splits(virtual_kitti: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="train and val"):
        VirtualKitti(*virtual_kitti, "test")
