"""Which pictures are found, how their results are called, and what is said of the others."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.errors import UsageError
from apdepth_deploy.pictures.depth import write_depth
from apdepth_deploy.runtime.feeds.search import find_images


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with photos/a.png, photos/sub/b.jpg and a text."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "sub/b.jpg", "notes.txt"):
        touch(tmp_path / "photos" / name)
    return tmp_path / "photos"


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def stems(*patterns: str | Path) -> list[str]:
    found = find_images(map(str, patterns))
    return sorted(job.stem for job in found.jobs)


def left_out(*patterns: str | Path) -> list[str]:
    return find_images(map(str, patterns)).left_out


def test_linked_folders_are_entered_and_circles_are_not(photos: Path, tmp_path: Path) -> None:
    touch(tmp_path / "disk" / "deep" / "c.png")
    (photos / "day").symlink_to(tmp_path / "disk")
    (photos / "sub" / "up").symlink_to(photos)
    (tmp_path / "disk" / "deep" / "back").symlink_to(tmp_path)
    found = find_images(["photos"])
    assert [job.stem for job in found.jobs] == ["a", "day/deep/c", "sub/b"]
    assert found.left_out == []
    assert all(job.image.is_file() for job in found.jobs)


def test_a_folder_and_a_link_to_it_are_one(photos: Path) -> None:
    (photos / "alias").symlink_to("sub")
    (photos / "zoom").symlink_to("sub")
    assert stems("photos") == ["a", "sub/b"]


@pytest.mark.parametrize(
    "patterns",
    [
        ("photos/a.png", "{cwd}/photos/a.png", "./photos/a.png", "photos/sub/../a.png"),
        ("photos", "{cwd}/photos", "photos/."),
        ("photos", "photos/sub"),
        ("photos", "photos/sub", "photos/sub/b.jpg", "photos/**/*.jpg"),
        (".", "{cwd}", "photos", "photos/a.png"),
        ("photos", "link"),
        ("photos/a.png", "link/a.png"),
    ],
)
def test_a_picture_by_several_names_is_one_in_any_order(
    photos: Path, tmp_path: Path, patterns: tuple[str, ...]
) -> None:
    (tmp_path / "link").symlink_to("photos")
    touch(photos / "b.jpg")  # another picture than photos/sub/b.jpg
    named = [pattern.format(cwd=tmp_path) for pattern in patterns]
    results = [set(stems(*order)) for order in itertools.permutations(named)]
    assert all(one == results[0] for one in results)
    expected = {"a", "b", "sub/b"} if len(results[0]) > 1 else {"a"}
    assert results[0] in (expected, {f"photos/{stem}" for stem in expected})


def test_links_to_a_picture_have_results_of_their_own_names(photos: Path) -> None:
    (photos / "latest.png").symlink_to("a.png")
    (photos / "again").mkdir()
    (photos / "again" / "a.png").symlink_to("../a.png")
    assert stems("photos") == ["a", "again/a", "latest", "sub/b"]
    assert stems("photos/a.png", "photos/again/a.png") == ["a"]


def test_others_files_are_not_taken_for_results(photos: Path) -> None:
    """What RGB-D capture scripts write."""
    for name in ("000_color.png", "000_depth.png", "000_depth.npy"):
        touch(photos / name)
    assert stems("photos") == ["000_color", "000_depth", "a", "sub/b"]


def test_results_of_earlier_runs_are_left_out_and_counted(photos: Path) -> None:
    for path in write_depth(np.zeros((20, 20), np.float32), photos, "a"):
        if path.suffix == ".npy":
            path.unlink()  # to save room
    assert stems("photos") == ["a", "sub/b"]
    assert left_out("photos") == ["photos: left out 2 results of earlier runs"]


def test_nothing_is_left_out_in_silence(photos: Path) -> None:
    for name in (".a.png", ".cache/x.png", "c.HEIC", "d.heic", "e.gif", "f.jp2", "g.dng"):
        touch(photos / name)
    (photos / "gone.png").symlink_to("nowhere")
    os.mkfifo(photos / "pipe.png")
    assert left_out("photos", "photos/sub") == [
        "photos: left out 1 .dng (not searched for), 1 .gif (not searched for), "
        "2 .heic (not searched for), 1 .jp2 (not searched for), 2 hidden, "
        "2 links to nothing, or no files"
    ]
    touch(photos / "only" / "x.avif")
    with pytest.raises(UsageError, match=r"only: no picture there .*; left out: 1 \.avif"):
        find_images(["photos/only"])


def test_videos_are_taken_by_name_and_not_out_of_folders(photos: Path) -> None:
    for name in ("clip.mp4", "sub/CLIP.MKV", "old.avi"):
        touch(photos / name)
    assert stems("photos") == ["a", "sub/b"]
    assert left_out("photos") == ["photos: left out 3 videos (name them outright)"]
    assert stems("photos/clip.mp4", "photos") == ["a", "clip", "sub/b"]
    assert stems("photos/*.avi", "photos/sub/CLIP.MKV") == ["CLIP", "old"]
    touch(photos / "clip" / "000001.png")
    with pytest.raises(UsageError, match=r"clip\.mp4 would write clip/000001_depth\.png"):
        find_images(["photos", "photos/clip.mp4"])


def test_every_ending_of_pnm_is_searched_for(photos: Path) -> None:
    for ending in ("pbm", "pgm", "ppm", "pnm", "jfif"):
        touch(photos / "more" / f"{ending}.{ending}")
    assert stems("photos/more") == ["jfif", "pbm", "pgm", "pnm", "ppm"]


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("", "an empty name among the pictures: is a variable unset?"),
        ("-", "-: pictures are read from files: save it as one first"),
        ("https://example.com/a.png", "https://example.com/a.png: pictures are read from files"),
    ],
)
def test_what_names_no_file_is_told_so(photos: Path, pattern: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_images(["photos", pattern])
    assert str(caught.value).startswith(line)


def test_a_glob_over_equal_names_is_pointed_to_the_folder(photos: Path) -> None:
    for day in "12":
        touch(photos / day / "0.png")
    with pytest.raises(UsageError, match=r"0\.png_depth\.png: .* name the folder that holds both"):
        find_images(["photos/**/*.png"])
    assert {"1/0", "2/0"} <= set(stems("photos"))


def test_a_picture_made_by_hand_beside_results_is_found(photos: Path) -> None:
    Image.new("RGB", (20, 20)).save(photos / "b_color.png")
    assert stems("photos") == ["a", "b_color", "sub/b"]
