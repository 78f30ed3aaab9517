"""Anchors from files: right, or refused with the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.runtime.feeds import anchors
from apdepth_deploy.runtime.feeds.anchors import find_anchors, read_anchors

SIZE = (48, 64)


def test_lines_are_pixels_and_metres(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfx,y,z\r\n# by hand\r\n1, 2, 3.5\r\n\r\n4.25,5,60\r\n")
    np.testing.assert_array_equal(read_anchors(path, SIZE), [[1, 2, 3.5], [4.25, 5, 60]])
    path.write_text("1,2,3,0.1\n4,5,6,0.2\n")
    np.testing.assert_array_equal(read_anchors(path, SIZE), [[1, 2, 3, 0.1], [4, 5, 6, 0.2]])
    path.write_text("")
    assert read_anchors(path, SIZE).shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1,2\n", "line 1: 2 columns: all lines are x,y,z, or x,y,z,sigma"),
        ("1,2,3\n1,2,3,4\n", "line 2: 4 columns"),
        ("1,2,3\nx,y,z\n", "line 2: not numbers: 'x,y,z'"),
        ("1;2;3\n", "line 1: not numbers"),
        ("1,2,-3\n", "line 1: z and sigma must be above 0"),
        ("1,2,nan\n", "line 1: z and sigma must be above 0"),
        ("inf,2,3\n", "line 1: z and sigma must be above 0"),
        ("1,2,3,0\n", "line 1: z and sigma must be above 0"),
    ],
)
def test_a_line_that_is_no_anchor_is_named(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ImageError, match=rule) as caught:
        read_anchors(path, SIZE)
    assert str(caught.value).startswith(f"{path}, line")


def test_a_depth_image_has_anchors_where_it_isnt_0(tmp_path: Path) -> None:
    millimetres = np.zeros(SIZE, np.uint16)
    millimetres[3, 5], millimetres[40, 60] = 1234, 65535
    Image.fromarray(millimetres).save(tmp_path / "a_sparse.png")
    expected = [[5, 3, 1.234], [60, 40, 65.535]]
    np.testing.assert_allclose(read_anchors(tmp_path / "a_sparse.png", SIZE), expected)
    metres = np.where(millimetres, millimetres / 1000.0, np.nan).astype(np.float32)
    np.save(tmp_path / "a_sparse.npy", metres)
    found = read_anchors(tmp_path / "a_sparse.npy", SIZE)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_depth_image_may_be_of_another_size(tmp_path: Path) -> None:
    """Half the size: its pixel covers four of the picture, and lies between them."""
    metres = np.zeros((24, 32))
    metres[10, 7] = 2.0
    np.save(tmp_path / "a_sparse.npy", metres)
    np.testing.assert_allclose(read_anchors(tmp_path / "a_sparse.npy", SIZE), [[14.5, 20.5, 2.0]])
    with pytest.raises(ImageError, match="32x24 doesn't show what a picture of 64x64 does"):
        read_anchors(tmp_path / "a_sparse.npy", (64, 64))


def test_a_dense_depth_image_is_thinned_evenly(tmp_path: Path) -> None:
    np.save(tmp_path / "a_sparse.npy", np.ones((300, 400), np.float32))
    found = read_anchors(tmp_path / "a_sparse.npy", (300, 400))
    assert len(found) == 20_000
    assert found[:, 1].max() > 295 and np.ptp(found[:, 0]) > 390


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (np.full(SIZE, -1.0), "metres can't be negative or infinite"),
        (np.full(SIZE, np.inf), "metres can't be negative or infinite"),
        (np.zeros((3, *SIZE)), r"must be numbers \[h,w\]"),
        (np.array([["x"]]), r"must be numbers \[h,w\]"),
        (np.array([[{}]], object), "no array of numbers"),
    ],
)
def test_an_array_that_is_no_depth_is_refused(tmp_path: Path, array: Any, rule: str) -> None:
    np.save(tmp_path / "a_sparse.npy", array)
    with pytest.raises(ImageError, match=rule):
        read_anchors(tmp_path / "a_sparse.npy", SIZE)


def test_files_of_other_kinds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a_sparse.png")
    with pytest.raises(ImageError, match="must be grey with 16 bits"):
        read_anchors(tmp_path / "a_sparse.png", SIZE)
    (tmp_path / "a_sparse.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"can't be read|damaged"):
        read_anchors(tmp_path / "a_sparse.png", SIZE)
    (tmp_path / "a_sparse.npy").write_bytes(b"\x93NUMPY garbage")
    with pytest.raises(ImageError, match="no array of numbers"):
        read_anchors(tmp_path / "a_sparse.npy", SIZE)
    monkeypatch.setattr(anchors, "_MOST_BYTES", 10)
    (tmp_path / "b.csv").write_text("1,2,3\n" * 9)
    with pytest.raises(ImageError, match="anchors of over 0 MB: keep fewer"):
        read_anchors(tmp_path / "b.csv", SIZE)


def test_the_file_is_found_by_the_pictures_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert find_anchors(tmp_path, "sub/a") is None
    (tmp_path / "a.csv").touch()
    assert find_anchors(tmp_path, "sub/a") == tmp_path / "a.csv"
    (tmp_path / "sub" / "a.csv").touch()
    assert find_anchors(tmp_path, "sub/a") == tmp_path / "sub" / "a.csv"
    (tmp_path / "sub" / "a_sparse.npy").touch()
    with pytest.raises(UsageError, match=r"a.csv and a_sparse.npy are both for sub/a: keep one"):
        find_anchors(tmp_path, "sub/a")
    with pytest.raises(UsageError, match="nowhere: no such folder with anchors"):
        find_anchors(tmp_path / "nowhere", "a")
