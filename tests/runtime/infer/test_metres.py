"""``infer`` in metres: what is written, what is said, and nothing without a basis."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.cli import main

Text = pytest.CaptureFixture[str]


@pytest.fixture
def wedge(tmp_path: Path) -> NDArray[np.float32]:
    """Depth of the picture in ``photos``: the bundle's depth is a pixel's mean over 255."""
    grey = np.tile(np.linspace(0, 255, 96).round().astype(np.uint8), (64, 1))
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.repeat(grey[..., None], 3, axis=-1)).save(tmp_path / "photos" / "a.png")
    return (grey / 255).astype(np.float32)


def anchors(tmp_path: Path, depth: NDArray[np.float32], scale: float, shift: float) -> Path:
    folder = tmp_path / "anchors"
    folder.mkdir(exist_ok=True)
    x = np.arange(2, 94, 6)
    lines = [f"{at},{at % 60},{scale * depth[at % 60, at] + shift:.6f}" for at in x]
    (folder / "a.csv").write_text("x,y,z\n" + "\n".join(lines))
    return folder


def infer(tmp_path: Path, bundle: Path, *words: str) -> int:
    return main(
        ["infer", str(bundle), str(tmp_path / "photos"), "-o", str(tmp_path / "out"), *words]
    )


def test_anchors_make_metres(
    mean_bundle, tmp_path: Path, wedge: NDArray[np.float32], capsys: Text
) -> None:
    folder = anchors(tmp_path, wedge, 80.0, 1.5)
    assert infer(tmp_path, mean_bundle(1, 64, 96), "--anchors", str(folder)) == 0
    metres = np.load(tmp_path / "out" / "a_depth.npy")
    assert metres.dtype == np.float32
    np.testing.assert_allclose(metres, 80.0 * wedge + 1.5, rtol=1e-3)
    with Image.open(tmp_path / "out" / "a_depth.png") as picture:
        millimetres = np.asarray(picture)
    near = metres <= 65.535
    np.testing.assert_array_equal(millimetres[near], np.rint(metres[near] * 1000.0))
    assert (millimetres[~near] == 0).all() and not near.all()
    (line,) = (tmp_path / "out" / "fits.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert told["picture"].endswith("a.png") and told["valid"] and told["why"] == ""
    assert told["scale"] == pytest.approx(80, rel=1e-3) and told["anchors"] == 16


def test_a_picture_without_a_basis_fails_and_says_why(
    mean_bundle, tmp_path: Path, wedge: NDArray[np.float32], capsys: Text
) -> None:
    folder = anchors(tmp_path, wedge, 4.0, 1.0)
    Image.new("RGB", (96, 64)).save(tmp_path / "photos" / "b.png")
    assert infer(tmp_path, mean_bundle(1, 64, 96), "--anchors", str(folder)) == 1
    said = capsys.readouterr()
    assert said.out.startswith("1 of 2 pictures done")
    assert f"b.png: no metres: {folder} has none of b.csv, b_sparse.png, b_sparse.npy" in said.err
    assert not list((tmp_path / "out").glob("b_*"))
    fits = [json.loads(line) for line in (tmp_path / "out" / "fits.jsonl").read_text().splitlines()]
    assert [fit["valid"] for fit in fits] == [True, False] and "has none of" in fits[1]["why"]


def test_the_cameras_height_makes_metres(mean_bundle, tmp_path: Path, capsys: Text) -> None:
    """A picture whose grey is the ground's depth, up to its horizon."""
    y = np.arange(64)
    fall = (y - 31.5) / 80.0 + np.tan(np.radians(25))
    z = 1.2 / (np.cos(np.radians(25)) * fall)
    z[z < 0] = 4.0
    z = np.minimum(z, 4.0)
    grey = np.rint((z - z.min()) / np.ptp(z) * 255).astype(np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.tile(grey[:, None, None], (1, 96, 3))).save(tmp_path / "photos" / "a.png")
    words = ["--camera-height", "1.2", "--pitch", "25", "--intrinsics", "80,80,47.5,31.5"]
    assert infer(tmp_path, mean_bundle(1, 64, 96), *words) == 0
    metres = np.load(tmp_path / "out" / "a_depth.npy")
    np.testing.assert_allclose(metres[:, 48], z, rtol=0.03)


def test_one_range_gives_all_pictures_the_same_colours(
    mean_bundle, tmp_path: Path, wedge: NDArray[np.float32]
) -> None:
    half = Image.fromarray(np.repeat((wedge * 127).astype(np.uint8)[..., None], 3, axis=-1))
    half.save(tmp_path / "photos" / "b.png")
    assert infer(tmp_path, mean_bundle(1, 64, 96), "--range", "0,1") == 0
    colours = [np.asarray(Image.open(tmp_path / "out" / f"{n}_color.png")) for n in "ab"]
    depths = [np.load(tmp_path / "out" / f"{n}_depth.npy") for n in "ab"]
    at = int(np.abs(depths[0][0] - depths[1][0, -1]).argmin())
    np.testing.assert_allclose(colours[0][0, at].astype(int), colours[1][0, -1], atol=4)


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("--pitch 10", "--pitch and --roll go with --camera-height"),
        ("--camera-height 1.2", "--camera-height needs --pitch"),
        ("--camera-height 1 --pitch 1 --anchors .", "--anchors or --camera-height"),
        ("--anchors /nowhere", "/nowhere: no such folder with anchors"),
        ("--range 5,1", "--range is near,far with near below far"),
        ("--range x", "--range is near,far with near below far"),
        ("--range nan,1", "--range is near,far with near below far"),
    ],
)
def test_what_cant_be_is_said_before_any_work(
    mean_bundle, tmp_path: Path, wedge: NDArray[np.float32], words: str, rule: str, capsys: Text
) -> None:
    assert infer(tmp_path, mean_bundle(1, 64, 96), *words.split()) == 2
    assert capsys.readouterr().err.startswith(f"error: {rule}")
    assert not (tmp_path / "out").exists()
