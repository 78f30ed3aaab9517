"""A pinhole camera, and where a picture's comes from.

Pixel centres lie at whole numbers, x to the right and y down. The optical frame (REP 103) has x to
the right, y down and z forward.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.pictures.image import Reading

#: Millimetres across the longer side of 35 mm film.
_FILM_WIDTH = 36.0


@dataclasses.dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels, of pictures of ``width`` x ``height``.

    A point (X, Y, Z) of the optical frame is seen at x = fx X/Z + cx, y = fy Y/Z + cy. UsageError
    where the focal lengths aren't positive, or a number isn't finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if not all(map(math.isfinite, numbers)) or min(self.fx, self.fy) <= 0:
            raise UsageError(
                "intrinsics are fx,fy,cx,cy in pixels, finite, the focal lengths above 0; not "
                + ",".join(f"{number:g}" for number in numbers)
            )
        if min(self.width, self.height) < 1:
            raise UsageError(f"a camera's pictures can't be of {self.width}x{self.height} pixels")

    def turned(self, orientation: int) -> Camera:
        """The camera of its pictures turned upright, ``orientation`` being EXIF's, 1 to 8."""
        fx, fy, cx, cy = self.fx, self.fy, self.cx, self.cy
        width, height = self.width, self.height
        if orientation >= 5:
            fx, fy, cx, cy, width, height = fy, fx, cy, cx, height, width
        if orientation in (2, 3, 6, 7):
            cx = width - 1 - cx
        if orientation in (3, 4, 7, 8):
            cy = height - 1 - cy
        return Camera(fx, fy, cx, cy, width, height)

    def resized(self, width: int, height: int) -> Camera:
        """The camera of its pictures resized to ``width`` x ``height``.

        Raises ImageError where the sides' ratio is another, but for a pixel of rounding.
        """
        rounding = abs(width * self.height - height * self.width)
        if rounding > max(self.width, self.height):
            raise ImageError(
                f"{width}x{height} is no smaller or larger {self.width}x{self.height}, which the "
                "calibration is for: if it was cropped, give its own --intrinsics"
            )
        x, y = width / self.width, height / self.height
        cx, cy = (self.cx + 0.5) * x - 0.5, (self.cy + 0.5) * y - 0.5
        return Camera(self.fx * x, self.fy * y, cx, cy, width, height)

    def lift(self, x: NDArray[Any], y: NDArray[Any], z: NDArray[Any]) -> NDArray[np.float32]:
        """Pixels and their z, of shapes that broadcast to [...] -> float32 [...,3], in z's unit."""
        points = np.empty((*np.broadcast_shapes(x.shape, y.shape, z.shape), 3), dtype=np.float32)
        points[..., 0] = ((x - self.cx) / self.fx).astype(np.float32) * z
        points[..., 1] = ((y - self.cy) / self.fy).astype(np.float32) * z
        points[..., 2] = z
        return points

    def unproject(self, z: NDArray[Any]) -> NDArray[np.float32]:
        """z along the optical axis, [H,W] -> points in the optical frame, float32 [H,W,3].

        Raises UsageError where [H,W] isn't this camera's size.
        """
        if z.shape != (self.height, self.width):
            raise UsageError(
                f"z must be [{self.height},{self.width}] as the camera is, not {list(z.shape)}"
            )
        return self.lift(np.arange(self.width), np.arange(self.height)[:, None], z)


@dataclasses.dataclass(frozen=True)
class CameraSource:
    """``of``: a picture's camera (ImageError where it has none); ``note``: where from, in words."""

    of: Callable[[Reading], Camera]
    note: str


def camera_source(
    intrinsics: str | None = None, camera_info: Path | None = None, fov: float | None = None
) -> CameraSource:
    """The first that is given; else each picture's own EXIF.

    Args:
        intrinsics: "fx,fy,cx,cy" in pixels of the pictures as they are read, upright.
        camera_info: a ROS camera_info file; scaled and turned as the pictures are.
        fov: degrees that the pictures' width spans.

    Raises UsageError for what isn't of this form.
    """
    if intrinsics is not None:
        numbers = _four(intrinsics)
        Camera(*numbers, 1, 1)  # what is wrong with them is said before any picture
        return CameraSource(lambda picture: Camera(*numbers, *_size(picture)), "--intrinsics")
    if camera_info is not None:
        from .camera_info import read_camera_info

        info = read_camera_info(camera_info)
        note = f"{camera_info}, {info.camera.width}x{info.camera.height}"
        if info.distorted:
            note += "; the lens distorts: pictures are taken as rectified (image_rect)"
        return CameraSource(
            lambda picture: info.camera.turned(picture.orientation).resized(*_size(picture)), note
        )
    if fov is not None:
        slope = _half_width(fov)
        return CameraSource(
            lambda picture: _centred(picture, _size(picture)[0] / 2 / slope), f"--fov {fov:g}"
        )
    return CameraSource(_from_exif, "EXIF's focal length for 35 mm film, of each picture")


def _size(picture: Reading) -> tuple[int, int]:
    height, width = picture.image.shape[:2]
    return width, height


def _four(intrinsics: str) -> tuple[float, float, float, float]:
    try:
        fx, fy, cx, cy = map(float, intrinsics.split(","))
    except ValueError:
        raise UsageError(
            f"--intrinsics is fx,fy,cx,cy in pixels, such as 525,525,319.5,239.5; not {intrinsics}"
        ) from None
    return fx, fy, cx, cy


def _half_width(fov: float) -> float:
    """Of the picture, at distance 1."""
    if not 0 < fov < 180:
        raise UsageError(f"--fov is the width's angle in degrees, between 0 and 180, not {fov:g}")
    return math.tan(math.radians(fov / 2))


def _centred(picture: Reading, focal: float) -> Camera:
    width, height = _size(picture)
    return Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def _from_exif(picture: Reading) -> Camera:
    """The longer side is the film's width, however the camera was held."""
    if picture.focal_35mm is None:
        raise ImageError(
            "its EXIF has no FocalLengthIn35mmFilm: give the camera with --intrinsics fx,fy,cx,cy, "
            "--camera-info FILE or --fov DEGREES"
        )
    return _centred(picture, picture.focal_35mm / _FILM_WIDTH * max(_size(picture)))
