"""Camera paths: the poses against the depth that was rendered from them, and what moves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mitsuba")
pytest.importorskip("pyoidn")

from apdepth_deploy.cli import main
from apdepth_deploy.errors import DataError
from apdepth_deploy.training.data.paths import CameraPath, at, flow, read_paths
from apdepth_deploy.training.synthesis.dataset import PATHS
from apdepth_deploy.training.synthesis.paths import _MOTIONS, render_path

SIZE = 48, 64
FRAMES = 6


def synthesize(folder: Path, *words: str) -> int:
    size = ("--height", str(SIZE[0]), "--width", str(SIZE[1]), "--spp", "1", "--workers", "1")
    return main(["synthesize", "-o", str(folder), *size, "--train", "0", "--val", "0", *words])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two paths of a cut; read only."""
    folder = tmp_path_factory.mktemp("paths") / "set"
    assert synthesize(folder, "--path", "cut", "--views", str(FRAMES), "--test", "12") == 0
    return folder


def depths(path: CameraPath) -> list[np.ndarray]:
    return [path[number].depth for number in range(len(path))]


def test_every_kind_is_one_that_can_be_asked_for() -> None:
    assert tuple(_MOTIONS) == PATHS


def test_depth_warped_by_the_poses_is_the_next_frames_depth(rendered: Path) -> None:
    """Of what both see: two renderings, joined by pose, intrinsics and depth alone."""
    for path in read_paths(rendered):
        z = depths(path)
        for here in (0, 1, 3, 4):
            found = flow(path, here, here + 1, z[here], z[here + 1])
            # 1/z of a plane is linear in the picture, so reading it between pixels is exact;
            # files hold whole millimetres.
            there = 1 / at(1 / np.maximum(z[here + 1], 1e-3), found.x, found.y)
            error = np.abs(there - found.z)[found.seen]
            assert np.quantile(error, [0.5, 0.75]).max() < 1e-3
            assert found.seen.sum() > 0.6 * (z[here] > 0).sum()
            back = flow(path, here + 1, here, z[here + 1], z[here])
            columns = np.indices(SIZE)[1]
            again = at(back.x, found.x, found.y)[found.seen]
            assert np.median(np.abs(again - columns[found.seen])) < 0.02
        assert flow(path, 2, 3, z[2], z[3]).seen.mean() < 0.3  # behind the cut it is elsewhere


def test_a_point_goes_where_geometry_by_hand_has_it(rendered: Path) -> None:
    path = read_paths(rendered)[0]
    depth = depths(path)[0]
    found = flow(path, 0, 1, depth, depth)
    fx, fy, cx, cy = path.intrinsics
    assert (cx, cy) == (31.5, 23.5) and fx == fy > 0
    y, x = 30, 20
    world = path.poses[0] @ [
        (x - cx) / fx * depth[y, x],
        (y - cy) / fy * depth[y, x],
        depth[y, x],
        1,
    ]
    side, down, away = path.poses[1][:3, :3].T @ (world[:3] - path.poses[1][:3, 3])
    assert found.z[y, x] == pytest.approx(away)
    assert found.x[y, x] == pytest.approx(fx * side / away + cx)
    assert found.y[y, x] == pytest.approx(fy * down / away + cy)


def test_poses_are_rotations(rendered: Path) -> None:
    for path in read_paths(rendered):
        for pose in path.poses:
            turn = pose[:3, :3]
            np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(turn) == pytest.approx(1)
            np.testing.assert_array_equal(pose[3], [0, 0, 0, 1])


def path_of(kind: str, frames: int = FRAMES, seed: int = 5) -> tuple[np.ndarray, list[np.ndarray]]:
    """Poses and depth."""
    found = render_path((0, 0, seed), kind, frames, SIZE, 1)
    return np.stack([frame.view.pose() for frame in found]), [frame.depth for frame in found]


def test_a_pan_turns_to_the_right_and_a_drive_goes_forward() -> None:
    pan, _ = path_of("pan")
    drive, z = path_of("drive")
    towards = pan[0][:3, 0] @ pan[-1][:3, 2]
    assert np.degrees(np.arcsin(towards)) == pytest.approx(0.6 * (FRAMES - 1), abs=1.0)
    assert np.abs(pan[-1][:3, 3] - pan[0][:3, 3]).max() == 0
    step = drive[0][:3, :3].T @ (drive[-1][:3, 3] - drive[0][:3, 3])
    near = np.quantile(z[0][z[0] > 0], 0.1)
    assert step[2] == pytest.approx(0.5 * near * (FRAMES - 1) / FRAMES, rel=0.1)
    assert np.abs(step[:2]).max() < 0.2 * step[2]


def test_something_near_enters_and_leaves() -> None:
    """Seed by seed the same scene as without it, but for a patch that crosses."""
    _, z = path_of("enter", frames=9)
    near = np.quantile(z[0][z[0] > 0], 0.1)
    columns = []
    for depth in z[1:-1]:
        patch = (depth > 0) & (depth < 0.7 * near)
        if patch.sum() > 10:
            columns.append(np.argwhere(patch)[:, 1].mean())
    assert len(columns) >= 5 and np.diff(columns).min() > 0
    assert columns[-1] - columns[0] > 0.4 * SIZE[1]


def test_a_seed_draws_one_path_and_its_exposure_is_one() -> None:
    first, again = (render_path((1, 0, 2), "handheld", 4, (24, 32), 1) for _ in range(2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.view.pose(), two.view.pose())
    means = [frame.image.mean() for frame in first]
    assert np.ptp(means) < 0.1 * np.mean(means)


def test_it_goes_on_where_it_stopped(rendered: Path, tmp_path: Path) -> None:
    shutil.copytree(rendered, tmp_path / "set")
    (tmp_path / "set" / "test" / "000001_path.json").unlink()
    options = ("--path", "cut", "--views", str(FRAMES), "--test", "12")
    assert synthesize(tmp_path / "set", *options) == 0
    for file in (rendered / "test").iterdir():
        assert (tmp_path / "set" / "test" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--path", "moonwalk", "--views", "4", "--test", "4"), "one of handheld, pan"),
        (("--path", "pan", "--test", "4"), "2 --views or more"),
        (("--path", "pan", "--views", "4", "--test", "6"), "multiples of --views"),
    ],
)
def test_what_cant_be_rendered_is_said(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synthesize(tmp_path / "set", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_a_set_without_paths_and_a_damaged_one_are_named(rendered: Path, tmp_path: Path) -> None:
    shutil.copytree(rendered, tmp_path / "set")
    for file in (tmp_path / "set" / "test").glob("*_path.json"):
        file.unlink()
    with pytest.raises(DataError, match="synthesize --path"):
        read_paths(tmp_path / "set")
    record = json.loads((rendered / "test" / "000000_path.json").read_text())
    for spoilt in ({**record, "poses": [[1.0]]}, {**record, "intrinsics": [1.0]}, {}):
        (tmp_path / "set" / "test" / "000000_path.json").write_text(json.dumps(spoilt))
        with pytest.raises(DataError, match="not a camera's path"):
            read_paths(tmp_path / "set")
