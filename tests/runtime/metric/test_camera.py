"""Cameras: where they come from, and pixels to space and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.pictures.image import Reading, read_picture
from apdepth_deploy.runtime.metric.camera import Camera, camera_source


def picture(width: int, height: int, orientation: int = 1) -> Reading:
    """As it is read: upright."""
    return Reading(np.zeros((height, width, 3), np.uint8), orientation, several=False)


def project(camera: Camera, point: tuple[float, float, float]) -> tuple[float, float]:
    x, y, z = point
    return camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy


def test_a_rendered_plane_is_a_plane_again() -> None:
    """Rays met with n . p = 2 by solving it for each pixel, in float64."""
    camera = Camera(80.0, 82.0, 47.3, 30.9, 96, 64)
    normal = np.array([0.3, -0.2, 0.93])
    inverse = np.linalg.inv([[80.0, 0, 47.3], [0, 82.0, 30.9], [0, 0, 1]])
    y, x = np.mgrid[0:64, 0:96]
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ inverse.T
    z = 2.0 / (rays @ normal)
    points = camera.unproject(z.astype(np.float32))
    assert points.shape == (64, 96, 3) and points.dtype == np.float32
    np.testing.assert_allclose(points @ normal, 2.0, atol=1e-5)
    np.testing.assert_allclose(points, rays * z[..., None], atol=1e-5)


def test_x_is_to_the_right_and_y_down() -> None:
    points = Camera(10, 10, 15.5, 7.5, 32, 16).unproject(np.ones((16, 32)))
    assert points[0, 31, 0] > 0 > points[0, 0, 0] and points[15, 0, 1] > 0 > points[0, 0, 1]


def test_depth_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"z must be \[16,32\] as the camera is, not \[32, 16\]"):
        Camera(10, 10, 15.5, 7.5, 32, 16).unproject(np.ones((32, 16)))


@pytest.mark.parametrize("size", [(320, 240), (1280, 960), (1920, 1440), (213, 160)])
def test_a_resized_picture_sees_the_same_rays(size: tuple[int, int]) -> None:
    """Sides of pixels are at halves: an edge of the picture stays one."""
    camera = Camera(500.0, 510.0, 310.0, 250.0, 640, 480)
    resized = camera.resized(*size)
    point = (0.2, -0.1, 1.5)
    there, here = project(camera, point), project(resized, point)
    for axis in (0, 1):
        share = (there[axis] + 0.5) / (640, 480)[axis]
        assert math.isclose((here[axis] + 0.5) / size[axis], share, rel_tol=1e-12)


@pytest.mark.parametrize("size", [(480, 640), (640, 360), (480, 480)])
def test_a_cropped_or_turned_picture_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"no smaller or larger 640x480.*its own --intrinsics"):
        Camera(500, 500, 320, 240, 640, 480).resized(*size)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_turns_its_camera(tmp_path: Path, orientation: int) -> None:
    """Where a white pixel comes to lie when the file is read says where its ray has gone."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[5, 9] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = read_picture(tmp_path / "a.png")
    (y,), (x,) = np.nonzero(found.image[..., 0])
    camera = Camera(30.0, 40.0, 14.0, 13.0, 32, 24)
    turned = camera.turned(found.orientation)
    assert (turned.height, turned.width) == found.image.shape[:2]
    ray = {abs((9 - 14.0) / 30.0), abs((5 - 13.0) / 40.0)}
    assert {abs((x - turned.cx) / turned.fx), abs((y - turned.cy) / turned.fy)} == ray


def test_the_first_source_that_is_given_counts(tmp_path: Path) -> None:
    info = tmp_path / "info.yaml"
    info.write_text("width: 64\nheight: 48\nk: [7, 0, 31, 0, 7, 23, 0, 0, 1]\n")
    frame = Reading(np.zeros((48, 64, 3), np.uint8), 1, several=False, focal_35mm=18.0)

    def focal(*given: object) -> float:
        return camera_source(*given).of(frame).fx  # type: ignore[arg-type]

    assert focal("5,6,1,2", info, 90.0) == 5
    assert focal(None, info, 90.0) == 7
    assert math.isclose(focal(None, None, 90.0), 32)
    assert focal() == 32  # 64 pixels are 36 mm, 18 mm are 32


def test_the_field_of_view_is_the_width() -> None:
    camera = camera_source(fov=60.0).of(picture(640, 480))
    left, right = (-0.5 - camera.cx) / camera.fx, (639.5 - camera.cx) / camera.fx
    assert math.isclose(math.degrees(math.atan(right) - math.atan(left)), 60)
    assert camera.fx == camera.fy and camera.cy == 239.5


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_counts_along_the_longer_side(tmp_path: Path, form: str, orientation: int) -> None:
    """36 mm are 96 pixels, so 27 mm are 72, upright or not."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 27
    Image.new("RGB", (96, 64)).save(tmp_path / "a", form, exif=exif)
    found = read_picture(tmp_path / "a")
    camera = camera_source().of(found)
    upright = (96, 64) if orientation in (1, 3) else (64, 96)
    assert (camera.width, camera.height) == upright
    assert camera.fx == camera.fy == 72
    assert (camera.cx, camera.cy) == ((upright[0] - 1) / 2, (upright[1] - 1) / 2)


@pytest.mark.parametrize("value", [None, 0])
def test_without_any_source_the_options_are_named(tmp_path: Path, value: int | None) -> None:
    exif = Image.Exif()
    if value is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = value
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(ImageError) as caught:
        camera_source().of(read_picture(tmp_path / "a.jpg"))
    for option in ("--intrinsics fx,fy,cx,cy", "--camera-info FILE", "--fov DEGREES"):
        assert option in str(caught.value)


def test_a_broken_exif_costs_no_picture(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_picture(tmp_path / "a.jpg").focal_35mm is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: camera_source("500,500,320"), "--intrinsics is fx,fy,cx,cy in pixels"),
        (lambda: camera_source("500,500,320,x"), "not 500,500,320,x"),
        (lambda: camera_source("0,500,320,240"), "the focal lengths above 0; not 0,500,320,240"),
        (lambda: camera_source("nan,500,320,240"), "finite"),
        (lambda: camera_source(fov=180.0), "between 0 and 180, not 180"),
        (lambda: camera_source(fov=math.nan), "between 0 and 180, not nan"),
        (lambda: Camera(1, 1, 0, 0, 0, 4), "0x4 pixels"),
    ],
)
def test_what_is_no_camera_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()
