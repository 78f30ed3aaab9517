"""`synthesize`: what it writes, that training reads it, and that it goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mitsuba")
pytest.importorskip("pyoidn")

from apdepth_deploy.cli import main
from apdepth_deploy.errors import DataError, OutputError
from apdepth_deploy.training.data.synthetic import SyntheticDataset
from apdepth_deploy.training.synthesis import dataset
from apdepth_deploy.training.synthesis.dataset import Settings, synthesize

Contents = Callable[[Path], dict[str, bytes]]
SIZE = ["--height", "24", "--width", "32", "--spp", "1"]


def run(folder: Path, *options: str, workers: int = 1) -> int:
    """With one worker where it doesn't matter: each takes seconds to load Mitsuba."""
    return main(["synthesize", "-o", str(folder), *SIZE, f"--workers={workers}", *options])


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came about"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    folder = tmp_path_factory.mktemp("rendered") / "set"
    assert run(folder, "--train", "3", "--val", "1", "--test", "2", workers=2) == 0
    return folder


def test_it_is_what_training_reads(rendered: Path) -> None:
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        frames = SyntheticDataset(rendered, split)
        assert len(frames) == count
        for i in range(count):
            sample = frames[i]
            assert sample.image.shape == (24, 32, 3) and sample.depth.shape == (24, 32)
            assert sample.depth[sample.valid].min() > 0 and sample.depth.max() < 60
            assert sample.image.std() > 5
    manifest = json.loads((rendered / "manifest.json").read_text())
    settings = {"seed": 0, "height": 24, "width": 32, "spp": 1, "views": 1, "path": None}
    assert manifest["settings"] == settings
    assert manifest["frames"] == {"train": 3, "val": 1, "test": 2}


def test_splits_share_no_scene(rendered: Path) -> None:
    pictures = [path.read_bytes() for path in rendered.rglob("*_depth.png")]
    assert len(set(pictures)) == 6


def test_a_set_that_was_cut_off_becomes_the_same(
    rendered: Path, tmp_path: Path, contents: Contents
) -> None:
    whole = contents(rendered)
    part = tmp_path / "part"
    for name, data in whole.items():
        if name.startswith("train/000001") or name.endswith("list.txt"):
            continue
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_bytes(data)
    (part / "train" / ".apdepth-half").write_bytes(b"half a picture")
    kept = part / "train" / "000000_0_rgb.png"
    before = kept.stat().st_mtime_ns
    assert run(part, "--train", "3", "--val", "1", "--test", "2") == 0
    assert contents(part) == whole
    assert kept.stat().st_mtime_ns == before


def test_other_settings_are_refused(
    rendered: Path, capsys: pytest.CaptureFixture[str], contents: Contents
) -> None:
    before = contents(rendered)
    assert run(rendered, "--seed", "1", "--spp", "2") == 2
    assert "seed 0 there, 1 here, spp 1 there, 2 here" in capsys.readouterr().err
    assert contents(rendered) == before


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert run(tmp_path) == 2
    assert "not a rendered set" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_larger_set_holds_the_smaller(rendered: Path, tmp_path: Path, contents: Contents) -> None:
    assert run(tmp_path / "set", "--train", "1", "--val", "0", "--test", "0") == 0
    assert not (tmp_path / "set" / "val").exists()
    assert run(tmp_path / "set", "--train", "3", "--val", "0", "--test", "0") == 0
    made, whole = contents(tmp_path / "set"), contents(rendered)
    assert all(made[name] == whole[name] for name in made if name.startswith("train/"))


def test_a_split_of_no_frames_stays_as_it_is(
    rendered: Path, tmp_path: Path, contents: Contents, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(rendered, tmp_path / "set")
    assert run(tmp_path / "set", "--train", "3", "--val", "0", "--test", "0") == 0
    assert contents(tmp_path / "set") == contents(rendered)
    assert run(tmp_path / "none", "--train", "0", "--val", "0", "--test", "0") == 2
    assert "no split has a frame" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_several_views_of_a_scene(rendered: Path, tmp_path: Path, contents: Contents) -> None:
    options = ("--train", "3", "--val", "0", "--test", "0", "--views", "2")
    assert run(tmp_path / "set", *options) == 0
    made, single = contents(tmp_path / "set"), contents(rendered)
    names = ["000000_0", "000000_1", "000001_0"]
    lines = [f"{name}_rgb.png {name}_depth.png" for name in names]
    assert made["train/list.txt"].decode().splitlines() == lines
    for kind in ("rgb", "depth"):
        first, second, other = (made[f"train/{name}_{kind}.png"] for name in names)
        assert first == single[f"train/000000_0_{kind}.png"] != second
        assert other == single[f"train/000001_0_{kind}.png"]


def _running(group: int) -> list[str]:
    """Command lines of the live processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_killed_run_leaves_no_worker_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "apdepth_deploy", "synthesize", "-o", str(tmp_path / "set")]
    command += [*SIZE, "--train", "5000", "--workers", "2"]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for(lambda: sum("spawn_main" in line for line in _running(process.pid)) == 2)
        wait_for(lambda: any(tmp_path.rglob("*_depth.png")))
        process.kill()
        process.wait()
        wait_for(lambda: not _running(process.pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _die(job: object) -> None:
    os._exit(9)


def test_a_worker_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_render_job", _die)
    with pytest.raises(OutputError, match="fewer --workers"):
        synthesize(
            tmp_path / "set",
            Settings(0, 24, 32, 1),
            {"train": 0, "val": 0, "test": 2},
            1,
            lambda line: None,  # type: ignore[arg-type]
        )
    assert not (tmp_path / "set" / "test" / "list.txt").exists()


def test_a_set_that_is_not_complete_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `apdepth-deploy synthesize` to its end"):
        SyntheticDataset(tmp_path, "train")


def test_depth_of_another_size_is_named(rendered: Path, tmp_path: Path, contents: Contents) -> None:
    for name, data in contents(rendered).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    Image.fromarray(np.ones((5, 5), np.uint16)).save(tmp_path / "train" / "000001_0_depth.png")
    with pytest.raises(DataError, match=r"000001_0_depth\.png is \[5, 5\]"):
        SyntheticDataset(tmp_path, "train")[1]
