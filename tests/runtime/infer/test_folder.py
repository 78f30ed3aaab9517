"""``infer``: which pictures are taken, and which results stand there afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.cli import main
from apdepth_deploy.pictures.image import read_image

Contents = Callable[[Path], dict[str, bytes]]
Picture = Callable[..., Path]
Results = Callable[[Path], list[str]]
Text = pytest.CaptureFixture[str]


def infer(bundle: Path, *arguments: Any) -> int:
    return main(["infer", str(bundle), *map(str, arguments)])


def test_a_folder_is_searched_and_its_tree_kept(
    bundle: Path, photos: Path, tmp_path: Path, results: Results
) -> None:
    output = tmp_path / "out" / "depth"
    assert infer(bundle, photos, "-o", output) == 0
    assert results(output) == ["a", "sub/b"]
    predictor = load(bundle)
    for name, size in (("a.png", (30, 40)), ("sub/b.jpg", (50, 20))):
        depth = np.load(output / f"{name[:-4]}_depth.npy")
        assert depth.shape == size
        np.testing.assert_array_equal(depth, predictor(read_image(photos / name)))
        with Image.open(output / f"{name[:-4]}_depth.png") as image:
            np.testing.assert_array_equal(np.asarray(image), np.rint(depth.astype(float) * 65535))


def test_files_and_globs_are_named_by_their_stem(
    bundle: Path, photos: Path, tmp_path: Path, results: Results
) -> None:
    output = tmp_path / "out"
    assert infer(bundle, photos / "a.png", f"{photos}/**/*.jpg", "-o", output) == 0
    assert results(output) == ["a", "b"]


def test_a_picture_named_twice_is_done_once(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text
) -> None:
    assert infer(bundle, photos / "a.png", photos, f"{photos}/a*", "-o", tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("2 of 2 pictures done")


def test_endings_tell_pictures_of_one_stem_apart(
    bundle: Path, photos: Path, tmp_path: Path, picture: Picture, results: Results
) -> None:
    picture(photos / "a.jpg")
    assert infer(bundle, photos, "-o", tmp_path / "out") == 0
    assert results(tmp_path / "out") == ["a.jpg", "a.png", "sub/b"]


def test_two_pictures_of_one_name_are_refused(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text, picture: Picture
) -> None:
    (tmp_path / "other").mkdir()
    picture(tmp_path / "other" / "a.png")
    output = tmp_path / "out"
    assert infer(bundle, photos, tmp_path / "other", "-o", output) == 2
    assert (
        "two pictures would write a.png_depth.png: run them apart, or name the folder"
        in capsys.readouterr().err
    )
    assert not output.exists()


@pytest.mark.parametrize("pattern", ["*.gif", "**/*.xyz", "empty", "nothing-[0-9].png"])
def test_a_pattern_without_pictures_is_refused(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text, pattern: str
) -> None:
    (photos / "empty").mkdir()
    assert infer(bundle, photos / "a.png", photos / pattern, "-o", tmp_path / "out") == 2
    assert f"{photos}/{pattern}: no picture there (.bmp, .jfif" in capsys.readouterr().err


def test_hidden_files_and_earlier_results_are_left_out(
    bundle: Path, photos: Path, tmp_path: Path, picture: Picture, results: Results
) -> None:
    (photos / "._a.png").write_bytes(b"what macOS leaves on a card")
    (photos / ".thumbnails").mkdir()
    picture(photos / ".thumbnails" / "a.png")
    picture(photos / "truth_depth.png")
    for _ in range(2):
        assert infer(bundle, photos, "-o", photos) == 0
        assert infer(bundle, photos, "-o", photos / "out") == 0
    assert results(photos / "out") == ["a", "sub/b", "truth_depth"]


def test_a_result_never_takes_a_pictures_place(
    bundle: Path, photos: Path, capsys: Text, contents: Contents, picture: Picture
) -> None:
    picture(photos / "a_depth.png")
    before = contents(photos)
    assert infer(bundle, photos, "-o", photos) == 2
    assert "a_depth.png would take the place of a picture" in capsys.readouterr().err
    assert contents(photos) == before


def test_a_turned_photo_gives_upright_depth(bundle: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert infer(bundle, tmp_path / "a.jpg", "-o", tmp_path / "out") == 0
    assert np.load(tmp_path / "out" / "a_depth.npy").shape == (40, 20)


def test_trained_weights_give_no_warning_and_precision_is_as_asked(
    micro_bundle: Path, photos: Path, tmp_path: Path, capsys: Text
) -> None:
    assert infer(micro_bundle, photos, "-o", tmp_path / "out", "--precision", "fp16") == 0
    said = capsys.readouterr().err
    assert said.startswith("openvino on cpu, fp16 fused graph computed in fp32: the faster one")
    assert said.splitlines()[1].startswith("[1/2]")
    found = np.load(tmp_path / "out" / "a_depth.npy")
    expected = load(micro_bundle, precision="fp16")(read_image(photos / "a.png"))
    np.testing.assert_array_equal(found, expected)


def test_the_torch_backend_gives_the_same_depth(
    micro_bundle: Path, micro_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    options = ("--backend", "torch", "--checkpoint", micro_checkpoint)
    assert infer(micro_bundle, photos, "-o", tmp_path / "torch", *options) == 0
    assert infer(micro_bundle, photos, "-o", tmp_path / "onnx") == 0
    torch, onnx = (np.load(tmp_path / name / "a_depth.npy") for name in ("torch", "onnx"))
    np.testing.assert_allclose(torch, onnx, atol=1e-4, rtol=0)
