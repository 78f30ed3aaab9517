"""Points: none in the air, all of a surface, and files that others read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError, OutputError, UsageError
from apdepth_deploy.pictures.image import resize_depth
from apdepth_deploy.runtime.metric.camera import Camera
from apdepth_deploy.runtime.metric.points import Cloud, Relief, cloud, flying_pixels, write_ply

CAMERA = Camera(80.0, 80.0, 47.5, 31.5, 96, 64)


def plane(degrees: float, turn: float = 0.0) -> NDArray[np.float64]:
    """z [64,96] of a plane so far from facing the camera; inf and below 0 beyond its horizon."""
    tilt, turn = np.radians(degrees), np.radians(turn)
    normal = np.array([np.sin(tilt) * np.sin(turn), np.sin(tilt) * np.cos(turn), np.cos(tilt)])
    y, x = np.mgrid[0:64, 0:96]
    rays = np.stack([(x - 47.5) / 80, (y - 31.5) / 80, np.ones(x.shape)], axis=-1)
    with np.errstate(divide="ignore"):
        return 1.0 / (rays @ normal)


def colours(height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_points_are_the_pixels_in_their_colours() -> None:
    image, z = colours(), plane(30)
    xyz, rgb = cloud(z, image, CAMERA)
    assert (xyz.dtype, rgb.dtype, len(xyz)) == (np.float32, np.uint8, z.size)
    np.testing.assert_allclose(xyz, CAMERA.unproject(z).reshape(-1, 3), rtol=1e-6)
    np.testing.assert_array_equal(rgb, image.reshape(-1, 3))


def test_where_z_is_not_known_there_is_no_point() -> None:
    z = np.full((64, 96), 2.0, np.float32)
    z[10, 10:15] = [np.nan, np.inf, -np.inf, 0, -1]
    xyz, _ = cloud(z, colours(), CAMERA)
    assert len(xyz) == z.size - 5 and np.isfinite(xyz).all()


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0, 200.0])
def test_a_slanted_plane_keeps_every_point(turn: float) -> None:
    """At 80 degrees z changes by 7 % from pixel to pixel, near the horizon by more."""
    z = plane(80, turn)
    there = np.isfinite(z) & (z > 0)
    with np.errstate(invalid="ignore"):
        steps = np.abs(np.diff(z.astype(np.float64), axis=0))[there[:-1] & there[1:]]
    assert turn != 0 or np.median(steps / 0.04) > np.median(z[there])
    assert not flying_pixels(z.astype(np.float32)).any()
    assert len(cloud(z, colours(), CAMERA).xyz) == there.sum()


def test_a_floor_that_meets_a_wall_keeps_every_point() -> None:
    floor, wall = plane(80), np.full((64, 96), 3.0)
    z = np.where((floor > 0) & (floor < wall), floor, wall)
    assert not flying_pixels(z).any()


@pytest.mark.parametrize("width", range(1, 9))
@pytest.mark.parametrize("axis", [0, 1])
def test_what_is_smeared_over_a_step_is_dropped(width: int, axis: int) -> None:
    """A near and a far wall with 1 to 8 pixels between: those go, and no other."""
    profile = np.full(64, 1.0)
    profile[32:] = 3.0
    profile[32 - width : 32] = np.linspace(1.0, 3.0, width + 2)[1:-1]
    z = np.tile(profile, (64, 1)) if axis else np.tile(profile[:, None], (1, 64))
    flying = flying_pixels(z)
    expected = (z > 1.0) & (z < 3.0)
    np.testing.assert_array_equal(flying, expected)


@pytest.mark.parametrize("scale", [3, 8])
def test_an_edge_of_a_model_at_a_photos_size_leaves_nothing_in_the_air(scale: int) -> None:
    """A disc before a slanted wall, enlarged as a prediction is."""
    y, x = np.mgrid[0:64, 0:96]
    disc = np.hypot(x - 40, y - 30) < 15
    small = np.where(disc, 1.0, 3.0 + x / 96).astype(np.float32)
    z = resize_depth(small, 64 * scale, 96 * scale)
    kept = z[~flying_pixels(z, spacing=scale)]
    between = (z > 1.1) & (z < 3.0)
    assert between.mean() > 0.01
    assert ((kept > 1.1) & (kept < 3.0)).sum() < 0.05 * between.sum()
    assert len(kept) > 0.96 * z.size


def test_a_thin_thing_before_a_wall_stays() -> None:
    z = np.full((64, 96), 3.0)
    z[:, 40], z[20] = 1.0, 1.5
    assert not flying_pixels(z).any()


def test_a_step_without_anything_between_stays_whole() -> None:
    z = np.full((64, 96), 3.0)
    z[20:40, 30:60] = 1.0
    assert not flying_pixels(z).any()


def test_the_ratio_says_what_an_edge_is() -> None:
    z = np.full((64, 96), 1.0)
    z[:, 48], z[:, 49:] = 1.05, 1.1
    assert flying_pixels(z, 0.04)[:, 48].all() and not flying_pixels(z, 0.06).any()


def test_every_third_pixel() -> None:
    image, z = colours(), plane(30)
    z[3, 6] = np.nan
    xyz, rgb = cloud(z, image, CAMERA, every=3)
    keep = np.ones((22, 32), bool)
    keep[1, 2] = False
    np.testing.assert_allclose(xyz, CAMERA.unproject(z)[::3, ::3][keep], rtol=1e-6)
    np.testing.assert_array_equal(rgb, image[::3, ::3][keep])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_another_reader_finds_the_same_points(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    points = Cloud(
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.integers(0, 256, (count, 3), dtype=np.uint8),
    )
    write_ply(tmp_path / "sub" / "a.ply", points, "a comment")
    found = read_ply(tmp_path / "sub" / "a.ply")
    assert found == [(*map(float, xyz), *map(int, rgb)) for xyz, rgb in zip(*points, strict=True)]


def read_ply(path: Path) -> list[tuple[Any, ...]]:
    """By the words of the format's description."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "comment a comment"]
    (element,) = (line.split() for line in lines if line.startswith("element"))
    types = [line.split()[1:] for line in lines if line.startswith("property")]
    assert [name for _, name in types] == ["x", "y", "z", "red", "green", "blue"]
    form = "<" + "".join({"float": "f", "uchar": "B"}[kind] for kind, _ in types)
    vertices = list(struct.iter_unpack(form, body))
    assert element == ["element", "vertex", str(len(vertices))]
    return vertices


def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, file_limit: Callable[[int], Any], contents: Callable[[Path], dict[str, bytes]]
) -> None:
    (tmp_path / "a.ply").write_bytes(b"before")
    points = Cloud(np.zeros((9999, 3), np.float32), np.zeros((9999, 3), np.uint8))
    with file_limit(10_000), pytest.raises(OutputError, match="untouched"):
        write_ply(tmp_path / "a.ply", points, "")
    assert contents(tmp_path) == {"a.ply": b"before"}


def test_a_relief_goes_from_near_to_far() -> None:
    z = Relief(2.0, 5.0).z(np.array([[0, 0.5, 1]], np.float32))
    assert z.dtype == np.float32 and z.tolist() == [[2.0, 3.5, 5.0]]
    assert "not metres" in str(Relief())


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Relief(0, 1), UsageError, "0 < near < far: not 0, 1"),
        (lambda: Relief(2, 2), UsageError, "not 2, 2"),
        (lambda: cloud(np.ones((4, 96)), colours(), CAMERA), UsageError, r"not \[4, 96\]"),
        (lambda: cloud(np.ones((64, 96)), colours(), CAMERA, every=0), UsageError, "not 0"),
        (lambda: cloud(np.ones((64, 96)), colours(), CAMERA, ratio=0), UsageError, "not 0"),
        (lambda: cloud(np.ones((64, 96)), colours(), CAMERA, spacing=0), UsageError, "not 0"),
        (lambda: cloud(np.ones((64, 96)), None, CAMERA), ImageError, "uint8 array"),
    ],
)
def test_what_cant_work_is_refused(make: Callable[[], Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        make()
