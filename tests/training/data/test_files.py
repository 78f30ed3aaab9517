"""Folders and tar files as one, and what is said of damaged members."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.errors import DataError
from apdepth_deploy.training.data.files import (
    open_source,
    read_depth_png,
    read_list,
    read_mask,
    read_npy,
    read_rgb,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "a").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)).save(root / "a" / "rgb.png")
    depth = np.array([[0, 1, 1000, 65535]], dtype=np.uint16).repeat(2, axis=0)
    Image.fromarray(depth).save(root / "a" / "depth.png")
    Image.fromarray(np.array([[0, 1, 255]], dtype=np.uint8)).save(root / "a" / "mask.png")
    np.save(root / "numbers.npy", np.arange(6.0).reshape(2, 3, 1))
    np.save(root / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    return root


def pack(folder: Path, prefix: str = "./") -> Path:
    """The folder as the authors pack it."""
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        for file in sorted(folder.rglob("*")):
            tar.add(file, prefix + file.relative_to(folder).as_posix(), recursive=False)
    return path


@pytest.mark.parametrize("prefix", ["./", ""])
def test_a_tar_reads_like_its_folder(folder: Path, prefix: str) -> None:
    here, there = open_source(folder), open_source(pack(folder, prefix))
    assert here.names() == there.names() and "a/rgb.png" in here.names()
    for name in here.names():
        assert here.read(name) == there.read("./" + name) == (folder / name).read_bytes()


def test_a_source_travels_to_other_processes(folder: Path) -> None:
    source = open_source(pack(folder))
    source.read("a/rgb.png")
    assert pickle.loads(pickle.dumps(source)).read("a/rgb.png") == source.read("a/rgb.png")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "a\\..\\b"])
@pytest.mark.parametrize("packed", [False, True])
def test_no_name_leaves_the_root(folder: Path, name: str, packed: bool) -> None:
    (folder.parent / "secret").write_text("secret")
    with pytest.raises(DataError, match="leaves the data set's root"):
        open_source(pack(folder) if packed else folder).read(name)


def test_what_is_no_source_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_source(tmp_path / "none")
    zipped = tmp_path / "set.tar.gz"
    with tarfile.open(zipped, "w:gz") as tar:
        tar.add(folder, "set")
    with pytest.raises(DataError, match="decompress it"):
        open_source(zipped)


def test_a_tar_that_is_cut_short_is_named(folder: Path) -> None:
    path = pack(folder)
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match="cut short"):
        source.read("objects.npy")
    with pytest.raises(DataError, match="no member"):
        source.read("a/none.png")


def test_values_are_what_the_encoding_says(folder: Path) -> None:
    source = open_source(folder)
    depth = read_depth_png(source, "a/depth.png", 1000.0, (2, 4))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth[0], [0, 0.001, 1.0, 65.535])
    assert read_mask(source, "a/mask.png", (1, 3)).tolist() == [[False, True, True]]
    assert read_rgb(source, "a/rgb.png").shape == (4, 6, 3)
    assert read_npy(source, "numbers.npy")[1, 2, 0] == 5.0


def test_damage_is_named(folder: Path) -> None:
    source = open_source(folder)
    data = (folder / "a" / "rgb.png").read_bytes()
    (folder / "a" / "rgb.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a/rgb\.png is damaged"):
        read_rgb(source, "a/rgb.png")
    with pytest.raises(DataError, match=r"\[2, 4\], its picture \[4, 6\]"):
        read_depth_png(source, "a/depth.png", 1000.0, (4, 6))
    with pytest.raises(DataError, match="no 16-bit depth"):
        read_depth_png(source, "a/mask.png", 1000.0, (1, 3))
    with pytest.raises(DataError, match="no array of numbers"):
        read_npy(source, "objects.npy")
    with pytest.raises(DataError, match=r"none\.png"):
        read_rgb(source, "none.png")


def test_lists(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.png b.png c\n\n./d.png e.png\n")
    assert read_list(path, 2) == [["a.png", "b.png", "c"], ["./d.png", "e.png"]]
    with pytest.raises(DataError, match="line 2: 2 names, not 3"):
        read_list(path, 3)
    path.write_text("")
    with pytest.raises(DataError, match="names no sample"):
        read_list(path, 2)
    with pytest.raises(DataError, match="not a list"):
        read_list(tmp_path / "none.txt", 2)


def test_bytes_are_all_that_a_picture_needs(folder: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (3, 2), 7).save(buffer, format="JPEG")
    (folder / "grey.jpg").write_bytes(buffer.getvalue())
    assert read_rgb(open_source(folder), "grey.jpg").tolist() == [[[7] * 3] * 3] * 2
