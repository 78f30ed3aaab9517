"""Folders and tar files as one, and what is said of damaged members."""

from __future__ import annotations

import io
import os
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
    read_npy,
    read_rgb,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "a").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(root / "a" / "rgb.png")
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


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("../secret", "all names are below"),
        ("a/../../secret", "all names are below"),
        ("a\0b", "all names are below"),
        ("/a/rgb.png", "without a slash in front"),
        ("a\\rgb.png", "forward slashes"),
        ("C:/sets/rgb.png", "forward slashes"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_no_name_leaves_the_root(folder: Path, name: str, advice: str, packed: bool) -> None:
    (folder.parent / "secret").write_text("secret")
    source = open_source(pack(folder) if packed else folder)
    with pytest.raises(DataError, match=f"leaves the data set's root: .*{advice}"):
        source.read(name)


def test_a_name_of_another_root_is_told_from_damage(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"has no set/a/rgb\.png: names are relative to this folder"
    ):
        read_rgb(open_source(folder), "set/a/rgb.png")
    with pytest.raises(
        DataError, match=r"no member set/a/rgb\.png: names are relative to its root"
    ):
        read_rgb(open_source(pack(folder)), "set/a/rgb.png")


def test_linked_folders_count_and_none_twice(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "b").mkdir(parents=True)
    (tmp_path / "disk" / "b" / "rgb.png").write_bytes(b"")
    (folder / "0_linked").symlink_to(tmp_path / "disk")
    (folder / "0_again").symlink_to(folder / "a")
    (folder / "a" / "loop").symlink_to(folder)
    pictures = [name for name in open_source(folder).names() if name.endswith("rgb.png")]
    assert pictures == ["0_linked/b/rgb.png", "a/rgb.png"]


def test_a_stamp_changes_with_its_member(folder: Path) -> None:
    source = open_source(folder)
    first = source.stamp("a/rgb.png")
    assert source.stamp("a/rgb.png") == first != source.stamp("a/depth.png")
    os.utime(folder / "a" / "rgb.png", ns=(1, 1))
    assert source.stamp("a/rgb.png") != first
    tar = pack(folder)
    packed = open_source(tar).stamp("a/rgb.png")
    assert open_source(tar).stamp("a/rgb.png") == packed
    os.utime(tar, ns=(1, 1))
    assert open_source(tar).stamp("a/rgb.png") != packed


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
    assert read_rgb(source, "a/rgb.png").shape == (16, 24, 3)
    assert read_npy(source, "numbers.npy")[1, 2, 0] == 5.0


def test_damage_is_named(folder: Path) -> None:
    source = open_source(folder)
    data = (folder / "a" / "rgb.png").read_bytes()
    (folder / "a" / "rgb.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"set: a/rgb\.png: damaged"):
        read_rgb(source, "a/rgb.png")
    with pytest.raises(DataError, match=r"\[2, 4\], its picture \[16, 24\] \(H, W\)$"):
        read_depth_png(source, "a/depth.png", 1000.0, (16, 24))
    with pytest.raises(
        DataError, match=r"\[2, 4\], its picture \[4, 2\].*one of the two is turned"
    ):
        read_depth_png(source, "a/depth.png", 1000.0, (4, 2))
    with pytest.raises(DataError, match="no 16-bit depth"):
        read_depth_png(source, "a/mask.png", 1000.0, (1, 3))
    with pytest.raises(DataError, match=r"none\.png"):
        read_rgb(source, "none.png")


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_are_what_infer_sees(folder: Path, packed: bool) -> None:
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    colour = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(colour).save(folder / "alpha.png")
    Image.fromarray(colour[..., :3]).save(folder / "colour.bmp")
    source = open_source(pack(folder) if packed else folder)
    made = read_rgb(source, "deep.png").astype(int)
    assert np.abs(made - deep[..., None] / 257).max() <= 1
    np.testing.assert_array_equal(read_rgb(source, "alpha.png"), colour[..., :3])
    np.testing.assert_array_equal(read_rgb(source, "colour.bmp"), colour[..., :3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_picture_that_its_exif_turns_may_not_lie_as_its_depth(
    folder: Path, suffix: str, orientation: int
) -> None:
    name, exif = f"turned.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (24, 16)).save(folder / name, exif=exif)
    Image.fromarray(np.ones((16, 24), np.uint16)).save(folder / "depth.png", exif=exif)
    source = open_source(folder)
    if orientation == 1:
        assert read_rgb(source, name).shape == (16, 24, 3)
        assert read_depth_png(source, "depth.png", 1.0, (16, 24)).all()
        return
    with pytest.raises(DataError, match=rf"{name} is turned by its EXIF orientation"):
        read_rgb(source, name)
    with pytest.raises(DataError, match=r"depth\.png is no 16-bit depth: .* no tag turns"):
        read_depth_png(source, "depth.png", 1.0, (16, 24))


UNITS = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24) * 100


def encoded(kind: str, array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        encoded("PNG", UNITS),
        encoded("TIFF", UNITS),
        encoded("TIFF", UNITS, compression="tiff_lzw"),
        encoded("TIFF", UNITS.astype(">u2")),
        encoded("PNG", UNITS, exif=b"neither big nor little"),
    ],
    ids=["png", "tiff", "lzw", "big-endian", "broken tags"],
)
def test_units_are_as_stored(folder: Path, data: bytes) -> None:
    (folder / "depth").write_bytes(data)
    depth = read_depth_png(open_source(folder), "depth", 1000.0, (16, 24))
    np.testing.assert_allclose(depth, UNITS / 1000.0, rtol=1e-6)


@pytest.mark.parametrize(
    "data",
    [
        b"P5 24 16 40000\n" + UNITS.astype(">u2").tobytes(),
        b"P5 24 16 65535\n" + UNITS.astype(">u2").tobytes(),
        encoded("TIFF", UNITS, tiffinfo={262: 0}),
        encoded("TIFF", UNITS.astype(np.int32)),
        encoded("TIFF", UNITS.astype(np.float32)),
        encoded("PNG", UNITS.astype(np.uint8)),
        encoded("PNG", np.dstack([UNITS.astype(np.uint8)] * 3)),
    ],
    ids=["maxval", "pnm", "white is zero", "int32", "float", "8 bits", "colour"],
)
def test_what_may_mean_other_units_is_refused(folder: Path, data: bytes) -> None:
    (folder / "depth").write_bytes(data)
    with pytest.raises(DataError, match="depth is no 16-bit depth"):
        read_depth_png(open_source(folder), "depth", 1000.0, (16, 24))


def _header(file: io.BytesIO, header: dict[str, object]) -> None:
    np.lib.format.write_array_header_1_0(file, header)


def stored(array: object, save: object = np.save) -> bytes:
    buffer = io.BytesIO()
    save(buffer, array)  # type: ignore[operator]
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"torn",
        stored(np.ones(4))[:-1],
        stored(np.array([{}], dtype=object)),
        stored(np.array(["1.0", "2.0"])),
        stored(np.array([1 + 2j])),
        stored(np.array(["2020-01-01"], dtype="datetime64[D]")),
        stored(np.zeros(2, dtype=[("depth", "f4")])),
        stored(np.ones(4), np.savez),
        stored({"descr": "<f8", "fortran_order": False, "shape": (10**14,)}, _header),
        pickle.dumps(np.ones(4)),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(folder: Path, data: bytes) -> None:
    (folder / "odd.npy").write_bytes(data)
    with pytest.raises(DataError, match=r"odd\.npy is no array of numbers"):
        read_npy(open_source(folder), "odd.npy")


@pytest.mark.parametrize("dtype", ["?", "<u2", ">i4", ">f8", "<f2"])
def test_numbers_of_any_type(folder: Path, dtype: str) -> None:
    np.save(folder / "any.npy", np.array([[0, 1]], dtype=dtype))
    found = read_npy(open_source(folder), "any.npy")
    assert found.dtype == np.float32 and found.tolist() == [[0.0, 1.0]]


def test_lists(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.png b.png c\n\n./d.png e.png\n")
    assert read_list(path, 2) == [["a.png", "b.png", "c"], ["./d.png", "e.png"]]
    with pytest.raises(DataError, match="line 3: 2 names, not 3"):
        read_list(path, 3)
    path.write_text("")
    with pytest.raises(DataError, match="names no sample"):
        read_list(path, 2)
    with pytest.raises(DataError, match="can't be read: No such file"):
        read_list(tmp_path / "none.txt", 2)


def test_names_with_blanks_stand_in_double_quotes(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text('"my photos/a 1.png"\t"d 1.png" 518.8\nit\'s.png b"c.png\n')
    assert read_list(path, 2) == [
        ["my photos/a 1.png", "d 1.png", "518.8"],
        ["it's.png", 'b"c.png'],
    ]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_an_editor_adds_to_a_list(tmp_path: Path, mark: str, ends: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(f"{mark}ä.png b.png{ends}{mark}c.png d.png{ends}".encode())
    assert read_list(path, 2) == [["ä.png", "b.png"], ["c.png", "d.png"]]


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-32", "UTF-16"), ("latin-1", "not UTF-8")],
)
def test_another_encoding_is_named(tmp_path: Path, encoding: str, reason: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("ä.png b.png\n".encode(encoding))
    with pytest.raises(DataError, match=f"{reason}.*save it as UTF-8"):
        read_list(path, 2)


def test_bytes_are_all_that_a_picture_needs(folder: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (18, 16), 7).save(buffer, format="JPEG")
    (folder / "grey").write_bytes(buffer.getvalue())
    assert read_rgb(open_source(folder), "grey").tolist() == [[[7] * 3] * 18] * 16
