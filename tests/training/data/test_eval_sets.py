"""The evaluation sets in their real layouts and encodings: values, masks, ranges, rules."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.errors import DataError, UsageError
from apdepth_deploy.training.data.eval_sets import EvalSet, open_eval_set


def write(root: Path, name: str, array: np.ndarray) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".npy"):
        np.save(path, array)
    elif name.endswith(".bin"):
        array.astype("<f4").tofile(path)
    else:
        Image.fromarray(array).save(path)


def opened(root: Path, name: str, *lines: str) -> EvalSet:
    (root / "list.txt").write_text("".join(line + "\n" for line in lines))
    return open_eval_set(name, root, root / "list.txt")


def picture(*size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_nyu_raw_depth_within_its_frame(tmp_path: Path) -> None:
    raw = np.full((480, 640), 3000, np.uint16)
    raw[100, 100], raw[101, 101] = 0, 10001
    write(tmp_path, "test/kitchen/rgb_0001.png", picture(480, 640))
    write(tmp_path, "test/kitchen/depth_0001.png", raw)
    write(tmp_path, "test/kitchen/filled_0001.png", raw * 0 + 1)
    rules = opened(
        tmp_path,
        "nyu",
        "test/kitchen/rgb_0001.png test/kitchen/depth_0001.png test/kitchen/filled_0001.png",
    )
    sample = rules.dataset[0]
    expected = np.zeros((480, 640), bool)
    expected[45:471, 41:601] = True
    expected[100, 100] = expected[101, 101] = False
    np.testing.assert_array_equal(sample.valid, expected)
    assert sample.depth[200, 200] == 3.0
    assert (rules.min_depth, rules.max_depth, rules.longer_side) == (1e-3, 10.0, None)


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [("kitti", (117, 321), (43, 1172)), ("kitti-garg", (143, 349), (43, 1172))],
)
def test_kitti_lines_crop_and_part(
    tmp_path: Path, name: str, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    depth = np.full((375, 1242), 256 * 20, np.uint16)
    depth[200, 600] = 0
    write(tmp_path, "day/image_02/data/0.png", picture(375, 1242))
    write(tmp_path, "day/proj_depth/0.png", depth)
    rules = opened(
        tmp_path,
        name,
        "day/image_02/data/0.png day/proj_depth/0.png 721.5",
        "day/image_02/data/1.png None 721.5",
    )
    assert len(rules.dataset) == 1
    sample = rules.dataset[0]
    assert sample.image.shape == (352, 1216, 3)
    expected = np.zeros((352, 1216), bool)
    expected[rows[0] : rows[1], columns[0] : columns[1]] = True
    expected[200 - 23, 600 - 13] = False
    np.testing.assert_array_equal(sample.valid, expected)
    assert sample.depth[250, 600] == 20.0


def test_eth3d_has_no_header(tmp_path: Path) -> None:
    depth = np.linspace(1, 90, 40 * 60).reshape(40, 60)
    depth[0, 0] = np.inf
    write(tmp_path, "rgb/yard/a.png", picture(40, 60))
    write(tmp_path, "depth/yard/a.bin", depth)
    rules = opened(tmp_path, "eth3d", "rgb/yard/a.png depth/yard/a.bin")
    sample = rules.dataset[0]
    assert not sample.valid[0, 0] and sample.valid.sum() == 40 * 60 - 1
    np.testing.assert_allclose(sample.depth[1:], depth[1:], rtol=1e-6)
    assert (rules.max_depth, rules.longer_side, rules.fit_side) == (math.inf, 756, 1024)
    (tmp_path / "depth/yard/a.bin").write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match="holds 100 bytes"):
        rules.dataset[0]


def test_scannet(tmp_path: Path) -> None:
    depth = np.full((48, 64), 1500, np.uint16)
    depth[0], depth[1] = 0, 12000
    write(tmp_path, "scene/color/0.jpg", picture(48, 64))
    write(tmp_path, "scene/depth/0.png", depth)
    rules = opened(tmp_path, "scannet", "scene/color/0.jpg scene/depth/0.png")
    sample = rules.dataset[0]
    assert sample.valid[2:].all() and not sample.valid[:2].any() and sample.depth[5, 5] == 1.5


def test_diode_has_a_mask_of_its_own(tmp_path: Path) -> None:
    depth = np.full((48, 64, 1), 5.0, np.float32)
    depth[0], depth[1] = 0.5, 400.0
    good = np.ones((48, 64))
    good[2] = 0
    write(tmp_path, "indoors/a.png", picture(48, 64))
    write(tmp_path, "indoors/a_depth.npy", depth)
    write(tmp_path, "indoors/a_depth_mask.npy", good)
    rules = opened(tmp_path, "diode", "indoors/a.png indoors/a_depth.npy indoors/a_depth_mask.npy")
    sample = rules.dataset[0]
    assert sample.valid[3:].all() and not sample.valid[:3].any()
    assert (rules.min_depth, rules.max_depth, rules.longer_side) == (0.6, 350.0, 640)
    with pytest.raises(DataError, match="2 names, not 3"):
        opened(tmp_path, "diode", "indoors/a.png indoors/a_depth.npy")


@pytest.mark.parametrize(
    ("rgb", "depth"),
    [
        ("TUM_color.png", "TUM_depth.png"),
        ("a/x_rgb.jpg", "a/x_depth.png"),
        ("walk/rgb/17.png", "walk/depth/17.png"),
        ("color/17.jpg", "depth/17.png"),
    ],
)
def test_rgbd_pairs_are_found_by_name(tmp_path: Path, rgb: str, depth: str) -> None:
    write(tmp_path, rgb, picture(48, 64))
    write(tmp_path, depth, np.full((48, 64), 5000, np.uint16))
    write(tmp_path, "lonely_color.png", picture(48, 64))
    rules = open_eval_set("rgbd", tmp_path, depth_scale=5000.0)
    assert len(rules.dataset) == 1 and (rules.dataset[0].depth == 1.0).all()


def test_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown set 'nyuv3'"):
        open_eval_set("nyuv3", tmp_path)
    with pytest.raises(UsageError, match="needs --list"):
        open_eval_set("nyu", tmp_path)
    with pytest.raises(DataError, match="no sample of RGB-D"):
        open_eval_set("rgbd", tmp_path)
    with pytest.raises(DataError, match=r"no list\.txt"):
        open_eval_set("synthetic", tmp_path)
