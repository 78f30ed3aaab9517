"""``points``: pictures to clouds, by the verb."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.cli import main
from apdepth_deploy.pictures.image import read_image

Text = pytest.CaptureFixture[str]
VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


@pytest.fixture
def bundle(mean_bundle: Callable[..., Path]) -> Path:
    """Depth is the mean of the colours."""
    return mean_bundle(1, 64, 96)


@pytest.fixture
def photo_file(tmp_path: Path, photo: np.ndarray) -> Path:
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    Image.fromarray(photo).save(path)
    return path


def points(bundle: Path, *arguments: Any) -> int:
    return main(["points", str(bundle), *map(str, arguments)])


def read(path: Path) -> tuple[str, Any]:
    head, _, body = path.read_bytes().partition(b"end_header\n")
    return head.decode("ascii"), np.frombuffer(body, VERTEX)


def test_a_cloud_lies_where_the_depth_says(
    bundle: Path, photo_file: Path, tmp_path: Path, capsys: Text
) -> None:
    """Every point, projected by the formula, finds its pixel's colour and the relief's z there."""
    options = ["--intrinsics", "90,91,50,35", "--near", 2, "--far", 6]
    assert points(bundle, photo_file, *options, "-o", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert said.out.startswith("1 of 1 pictures done")
    assert "camera: --intrinsics\n" in said.err
    assert "a relief of relative depth, z 2 to 6, not metres" in said.err
    head, found = read(tmp_path / "out" / "a.ply")
    assert "comment a relief of relative depth, z 2 to 6, not metres" in head
    image, z = read_image(photo_file), found["xyz"][:, 2]
    x = np.rint(90 * found["xyz"][:, 0] / z + 50).astype(int)
    y = np.rint(91 * found["xyz"][:, 1] / z + 35).astype(int)
    assert len(set(zip(x, y, strict=True))) == len(found) > 0.9 * 70 * 101
    np.testing.assert_array_equal(found["rgb"], image[y, x])
    np.testing.assert_allclose(z, 2 + 4 * load(bundle)(image)[y, x], rtol=1e-6)


def test_a_cloud_keeps_its_folder_and_every_pixel_counts(
    bundle: Path, photo_file: Path, tmp_path: Path
) -> None:
    options = ["--fov", 70, "--ratio", 9, "-o", tmp_path / "out"]
    deep = photo_file.parent / "sub" / "b.png"
    deep.parent.mkdir()
    deep.write_bytes(photo_file.read_bytes())
    assert points(bundle, photo_file.parent, *options, "--every", 2) == 0
    assert len(read(tmp_path / "out" / "a.ply")[1]) == 35 * 51
    assert len(read(tmp_path / "out" / "sub" / "b.ply")[1]) == 35 * 51


def test_a_picture_without_a_camera_stops_no_other(
    bundle: Path, photo_file: Path, tmp_path: Path, photo: np.ndarray, capsys: Text
) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    Image.fromarray(photo).save(photo_file.with_name("b.jpg"), exif=exif)
    assert points(bundle, photo_file.parent, "-o", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.out.startswith("1 of 2 pictures done")
    assert f"failed: {photo_file}: its EXIF has no FocalLengthIn35mmFilm" in said.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.ply"]


def test_anchors_make_metres_of_one_picture_and_none_of_the_other(
    bundle: Path, photo_file: Path, photo: np.ndarray, tmp_path: Path, capsys: Text
) -> None:
    Image.open(photo_file).save(photo_file.with_name("b.png"))
    with load(bundle) as predictor:
        depth = predictor(photo)
    rows, columns = np.mgrid[2:68:9, 2:99:9].reshape(2, -1)
    lines = [f"{x},{y},{6 * depth[y, x] + 1.5}" for y, x in zip(rows, columns, strict=True)]
    (tmp_path / "anchors").mkdir()
    (tmp_path / "anchors" / "a.csv").write_text("\n".join(lines))
    words = ["--fov", "60", "--anchors", tmp_path / "anchors", "-o", tmp_path / "out"]
    assert points(bundle, photo_file.parent, *words) == 1
    assert "b.png: no metres: " in capsys.readouterr().err
    head, found = read(tmp_path / "out" / "a.ply")
    z = found["xyz"][:, 2]
    assert "comment metres\n" in head and z.min() > 1.4
    assert z.max() == pytest.approx(6 * depth.max() + 1.5, rel=0.02)


def test_an_edge_is_as_wide_as_depth_was_enlarged(
    bundle: Path, tmp_path: Path, mean_bundle: Callable[..., Path]
) -> None:
    """White beside black through a graph of a fourth of the size, and through one of the same."""
    image = np.zeros((256, 384, 3), np.uint8)
    image[:, 192:] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    share = {}
    for name, graph in {"small": bundle, "whole": mean_bundle(1, 256, 384)}.items():
        assert points(graph, tmp_path / "a.png", "--fov", 60, "-o", tmp_path / name) == 0
        z = read(tmp_path / name / "a.ply")[1]["xyz"][:, 2]
        share[name] = len(z) / image[..., 0].size
        assert ((z > 1.2) & (z < 3.4)).sum() == 0
    assert share["whole"] == 1 and 0.97 < share["small"] < 0.995


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--near", "3", "--far", "2"], "0 < near < far: not 3, 2"),
        (["--ratio", "0"], "such as 0.04, not 0"),
        (["--every", "0"], "1 or more, not 0"),
        (["--fov", "200"], "between 0 and 180, not 200"),
        (["--intrinsics", "1,2"], "--intrinsics is fx,fy,cx,cy"),
        (["--camera-info", "nowhere.yaml"], "nowhere.yaml: can't be read"),
        (
            ["--rerun", "a.png"],
            "--rerun takes FILE.rrd, spawn, or rerun+http://HOST:PORT/proxy, not a.png",
        ),
    ],
)
def test_wrong_use_is_told(
    bundle: Path, photo_file: Path, tmp_path: Path, options: list[str], words: str, capsys: Text
) -> None:
    fov = [] if "--fov" in options else ["--fov", "60"]
    assert points(bundle, photo_file, *fov, *options, "-o", tmp_path / "out") == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ply"))


def test_a_recording_holds_camera_picture_depth_and_points(
    bundle: Path, photo_file: Path, tmp_path: Path
) -> None:
    chunk = pytest.importorskip("rerun.chunk")
    Image.open(photo_file).save(photo_file.with_name("b.png"))
    options = ["--intrinsics", "90,91,50,35", "--rerun", tmp_path / "out.rrd"]
    assert points(bundle, photo_file.parent, *options, "-o", tmp_path / "out") == 0
    found: dict[str, Any] = {}
    for part in chunk.RrdReader(tmp_path / "out.rrd").stream():
        batch = part.to_record_batch()
        for name in batch.schema.names:
            assert name != "picture" or [row.as_py() for row in batch.column(name)] == [0, 1]
            found[f"{part.entity_path} {name}"] = batch.column(name)[-1]
    assert found["/ ViewCoordinates:xyz"].as_py() == [[3, 2, 5]]  # right, down, forward
    (pinhole,) = found["/camera Pinhole:image_from_camera"].as_py()
    assert np.array(pinhole).reshape(3, 3).T.tolist() == [[90, 0, 50], [0, 91, 35], [0, 0, 1]]
    image, depth = (
        np.array(found[f"/camera/{name}:buffer"].as_py()[0], np.uint8)
        for name in ("image Image", "depth DepthImage")
    )
    np.testing.assert_array_equal(image.reshape(70, 101, 3), read_image(photo_file))
    z = 1 + 3 * load(bundle)(read_image(photo_file))
    np.testing.assert_allclose(depth.view(np.float32).reshape(70, 101), z, rtol=1e-6)
    assert found["/camera/depth DepthImage:meter"].as_py() == [1.0]
    cloud = read(tmp_path / "out" / "b.ply")[1]
    np.testing.assert_array_equal(found["/points Points3D:positions"].as_py(), cloud["xyz"])
    colours = np.array(found["/points Points3D:colors"].as_py()) >> 8  # 0xRRGGBBAA
    np.testing.assert_array_equal(colours, cloud["rgb"] @ np.array([1 << 16, 1 << 8, 1]))


def test_without_rerun_its_extra_is_named(
    bundle: Path, photo_file: Path, tmp_path: Path, monkeypatch: Any, capsys: Text
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)  # as if it were not installed
    rrd = tmp_path / "out.rrd"
    assert points(bundle, photo_file, "--fov", 60, "--rerun", rrd, "-o", tmp_path / "out") == 2
    assert "pip install 'apdepth-deploy[rerun]'" in capsys.readouterr().err
    assert not rrd.exists()
