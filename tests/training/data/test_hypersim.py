"""Preparing Hypersim from files as they are released (HDF5), against the published formulas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.cli import main
from apdepth_deploy.errors import DataError, TrainingError
from apdepth_deploy.training.data import hypersim
from apdepth_deploy.training.data.hypersim import plane_depth, prepare_hypersim, tone_map
from apdepth_deploy.training.data.training_sets import Hypersim

HEADER = (
    "scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,"
    "split_partition_name\n"
)


@pytest.fixture
def raw(tmp_path: Path, write_hypersim: Callable[[Path, int], None]) -> Path:
    write_hypersim(tmp_path / "raw", 2)
    (tmp_path / "splits.csv").write_text(
        HEADER
        + "ai_001_001,cam_00,0,True,,train\n"
        + "ai_001_001,cam_00,1,True,,train\n"
        + "ai_001_001,cam_00,2,False,dark,train\n"
        + "ai_001_002,cam_00,0,True,,test\n"
    )
    return tmp_path / "raw"


def prepare(raw: Path, **changes: int) -> int:
    settings = {"workers": 1, "bad_samples": 0, **changes}
    splits = raw.parent / "splits.csv"
    return prepare_hypersim(
        raw, raw.parent / "out", splits, "train", progress=lambda line: None, **settings
    )


def test_the_command_gives_what_training_reads(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, splits = raw.parent / "out", raw.parent / "splits.csv"
    arguments = ["data", "hypersim", str(raw), "-o", str(out), "--split-csv", str(splits)]
    assert main([*arguments, "--workers", "1"]) == 0
    assert "2 pairs for train" in capsys.readouterr().out
    dataset = Hypersim(out, out / "filename_list_train.txt")
    assert len(dataset) == 2
    sample = dataset[0]
    assert sample.image.shape == (480, 640, 3)
    # The wall is flat: 3 m everywhere, to float16's rounding; below it nothing was rendered.
    known = sample.depth[sample.valid]
    assert np.abs(known - 3.0).max() < 0.004
    assert sample.valid[1:417].all() and not sample.valid[420:].any() and not sample.valid[0, 0]


def test_tone_mapping() -> None:
    rng = np.random.default_rng(0)
    color = rng.uniform(0, 4, (30, 40, 3)).astype(np.float32)
    valid = rng.random((30, 40)) > 0.2
    made = tone_map(color, valid)
    weights = np.array([0.3, 0.59, 0.11])
    bright = np.percentile((color.astype(np.float64) @ weights)[valid], 90)
    expected = np.clip((color / bright * 0.8**2.2) ** (1 / 2.2), 0, 1) * 255
    assert np.abs(made - expected).max() <= 0.51
    assert tone_map(color * 0, valid).max() == 0


def test_plane_depth_at_a_corner_and_in_the_middle() -> None:
    depth = plane_depth(np.full((768, 1024), 10.0, np.float32))
    corner = 10 * 886.81 / (511.5**2 + 383.5**2 + 886.81**2) ** 0.5
    assert depth[0, 0] == depth[-1, -1] == pytest.approx(corner, rel=1e-6)
    assert depth[384, 512] == pytest.approx(10.0, rel=1e-6)


def test_what_is_there_stays(raw: Path) -> None:
    assert prepare(raw) == 2
    first = raw.parent / "out" / "ai_001_001" / "rgb_cam_00_fr0000.png"
    Image.new("RGB", (640, 480)).save(first)
    second = first.with_name("depth_plane_cam_00_fr0001.png")
    second.unlink()
    assert prepare(raw) == 2
    assert second.exists() and np.asarray(Image.open(first)).max() == 0


def test_damaged_frames_are_named_and_left_out(raw: Path) -> None:
    torn = raw / "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0001.depth_meters.hdf5"
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"more than 0 frames.*frame\.0001\.depth_meters"):
        prepare(raw)
    assert prepare(raw, bad_samples=1) == 1
    lines = (raw.parent / "out" / "filename_list_train.txt").read_text().splitlines()
    assert lines == ["ai_001_001/rgb_cam_00_fr0000.png ai_001_001/depth_plane_cam_00_fr0000.png"]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        HEADER + "../../ai_1_1,cam_00,0,True,,train\n",
        HEADER + "ai_001_001,cam_00,zero,True,,train\n",
    ],
)
def test_a_wrong_table_is_refused(raw: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (raw.parent / "splits.csv").write_text(text)
    arguments = ["data", "hypersim", str(raw), "-o", str(raw.parent / "out")]
    assert main([*arguments, "--split-csv", str(raw.parent / "splits.csv")]) == 2
    assert "not Hypersim's table of splits" in capsys.readouterr().err


def test_a_table_that_an_editor_saved(raw: Path) -> None:
    table = raw.parent / "splits.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert prepare(raw) == 2
    table.write_bytes(table.read_text(encoding="utf-8-sig").encode("utf-16"))
    with pytest.raises(DataError, match=r"splits\.csv: is UTF-16"):
        prepare(raw)


def test_nothing_done_is_no_success(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, splits = raw.parent / "out", raw.parent / "splits.csv"

    def run(folder: Path, output: Path, *options: str) -> int:
        arguments = ["data", "hypersim", str(folder), "-o", str(output), "--workers", "1"]
        return main([*arguments, "--split-csv", str(splits), *options])

    assert run(raw, out, "--split", "nope") == 2
    assert "has frames of test, train, none of 'nope'" in capsys.readouterr().err
    assert run(tmp_path / "none", out) == 2
    assert "none: no such folder" in capsys.readouterr().err
    (tmp_path / "wrong").mkdir()
    assert run(tmp_path / "wrong", out) == 2
    assert "not one of 2 frames of train is good: " in (said := capsys.readouterr().err)
    assert "frame.0000.color.hdf5: missing or damaged" in said.splitlines()[-1]
    assert not out.exists()


def test_a_good_list_stays(raw: Path) -> None:
    assert prepare(raw) == 2
    out = raw.parent / "out"
    before = (out / "filename_list_train.txt").read_text()
    for path in (out / "ai_001_001").iterdir():
        path.unlink()
    for path in raw.rglob("*.color.hdf5"):
        path.unlink()
    with pytest.raises(DataError, match="not one of 2 frames"):
        prepare(raw, bad_samples=9)
    assert (out / "filename_list_train.txt").read_text() == before


ODD = [3.0, "text", np.ones(3), np.ones((4, 4), complex), np.ones((2, 4, 4)), None]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_what_is_no_map_is_refused(tmp_path: Path, odd: object) -> None:
    path = tmp_path / "frame.0000.depth_meters.hdf5"
    with h5py.File(path, "w") as file:
        if odd is None:
            file.create_group("dataset")
        else:
            file.create_dataset("dataset", data=odd)
    with pytest.raises(DataError, match=r"frame\.0000\.depth_meters\.hdf5: "):
        hypersim._read(path, 2)


def test_an_odd_frame_costs_itself_alone(raw: Path) -> None:
    places = raw / "ai_001_001/images"
    for path in places.rglob("frame.0000.*"):
        with h5py.File(path, "w") as file:
            file.create_dataset(
                "dataset", data=np.ones((0, 0, 3)[: 3 if "color" in path.name else 2])
            )
    assert prepare(raw, bad_samples=1) == 1
    lines = (raw.parent / "out" / "filename_list_train.txt").read_text()
    assert lines.startswith("ai_001_001/rgb_cam_00_fr0001.png ")
