"""Depth and its picture -> coloured points, without those that hang in the air behind edges."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import atomic_file
from apdepth_deploy.pictures.image import ImageArray, check_image

from .camera import Camera

#: How far on both sides, in spacings, to look for the surfaces that an edge is smeared between.
_REACH = (1, 2, 4, 8)
_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


class Cloud(NamedTuple):
    """Points of one picture: ``xyz`` float32 [N,3] in the optical frame (x right, y down, z
    forward), in the unit of z; ``rgb`` uint8 [N,3]."""

    xyz: NDArray[np.float32]
    rgb: NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Relief:
    """Relative depth 0..1 as z = near + (far - near) depth: a form to look at, without a unit.

    UsageError where not 0 < near < far.
    """

    near: float = 1.0
    far: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.near < self.far < math.inf:
            raise UsageError(
                "a relief goes from --near to --far, 0 < near < far: not "
                f"{self.near:g}, {self.far:g}"
            )

    def __str__(self) -> str:
        return f"a relief of relative depth, z {self.near:g} to {self.far:g}, not metres"

    def z(self, depth: NDArray[Any]) -> NDArray[np.float32]:
        """[H,W] -> float32 [H,W]."""
        return (self.near + (self.far - self.near) * depth).astype(np.float32)


def cloud(
    z: NDArray[Any],
    image: ImageArray,
    camera: Camera,
    ratio: float = 0.04,
    spacing: int = 1,
    every: int = 1,
) -> Cloud:
    """The points of one picture.

    Args:
        z: [H,W] along the optical axis; where it is NaN, infinite or not above 0 there is no point.
        image: uint8 [H,W,3], the points' colours.
        camera: of this picture, H x W.
        ratio, spacing: see ``flying_pixels``; these are left out.
        every: take each so many-th pixel of each so many-th row.

    Raises UsageError where sizes differ or an option can't work, ImageError for another image.
    """
    if check_image(image).shape[:2] != z.shape or z.shape != (camera.height, camera.width):
        raise UsageError(
            f"z, picture and camera must have one size, not {list(z.shape)}, "
            f"{list(image.shape[:2])} and [{camera.height},{camera.width}]"
        )
    if every < 1:
        raise UsageError(f"every is a number of pixels, 1 or more, not {every}")
    keep = _is_known(z) & ~flying_pixels(z, ratio, spacing)
    y, x = np.nonzero(keep[::every, ::every])
    y, x = y * every, x * every
    return Cloud(camera.lift(x, y, z[y, x]), image[y, x])


def flying_pixels(z: NDArray[Any], ratio: float = 0.04, spacing: int = 1) -> NDArray[np.bool_]:
    """Which pixels hang between a near and a far surface and belong to neither: bool [H,W].

    On a plane 1/z is linear in x and y, whatever its slope. So along a row or a column a pixel
    belongs to the surface on one side where 1/z continued from there meets it. It is flying where
    it differs from both neighbours by more than ``ratio`` of its own 1/z and, seen from 1, 2, 4 or
    8 spacings away, lies farther than that beyond what one side continues to, and farther than
    that before what the other does.

    Args:
        z: [H,W]; where it is NaN, infinite or not above 0 nothing is known, and nothing flies.
        ratio: the least step of an edge, as a part.
        spacing: pixels from neighbour to neighbour: as many as z was enlarged by, for an edge is
            smeared over more pixels then.

    Raises UsageError where ``ratio`` isn't above 0 or ``spacing`` not 1 or more.
    """
    if not ratio > 0:
        raise UsageError(f"the ratio of an edge is a part of z, such as 0.04, not {ratio:g}")
    if spacing < 1:
        raise UsageError(f"spacing is a number of pixels, 1 or more, not {spacing}")
    inverse = np.full(z.shape, np.nan, dtype=np.float32)
    np.divide(1, z, out=inverse, where=_is_known(z), casting="same_kind")
    flying = np.zeros(z.shape, dtype=np.bool_)
    _mark_along_rows(inverse, ratio, spacing, flying)
    _mark_along_rows(inverse.T, ratio, spacing, flying.T)
    return flying


def _is_known(z: NDArray[Any]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = np.isfinite(z) & (z > 0)
    return known


def _mark_along_rows(
    inverse: NDArray[np.float32], ratio: float, spacing: int, flying: NDArray[np.bool_]
) -> None:
    """NaN compares as False: a pixel beside the unknown is not flying."""
    last = inverse.shape[1] - 1
    if last < 2 * spacing:
        return
    step = np.abs(inverse[:, spacing:] - inverse[:, :-spacing])
    least = np.minimum(step[:, :-spacing], step[:, spacing:])
    y, x = np.nonzero(least > ratio * inverse[:, spacing:-spacing])  # few: the rest is for these
    x += spacing
    here = inverse[y, x]
    low, high = here * (1 - ratio), here * (1 + ratio)
    between = np.zeros(x.shape, dtype=np.bool_)
    for reach in _REACH:
        near, beyond = reach * spacing, 2 * reach * spacing
        left = _continued(inverse, y, np.maximum(x - near, 0), np.maximum(x - beyond, 0))
        right = _continued(inverse, y, np.minimum(x + near, last), np.minimum(x + beyond, last))
        between |= (np.minimum(left, right) < low) & (high < np.maximum(left, right))
    flying[y[between], x[between]] = True


def _continued(
    inverse: NDArray[np.float32], y: NDArray[np.intp], x: NDArray[np.intp], beyond: NDArray[np.intp]
) -> NDArray[np.float32]:
    return 2 * inverse[y, x] - inverse[y, beyond]


def write_ply(path: Path, points: Cloud, comment: str) -> None:
    """A binary little-endian PLY: float x y z, uchar red green blue; whole or not at all.

    ``comment``: what a reader should know of the numbers, one line of ASCII.

    Raises OutputError where it can't be written.
    """
    vertices = np.empty(len(points.xyz), dtype=_VERTEX)
    vertices["xyz"], vertices["rgb"] = points.xyz, points.rgb
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {comment}",
        f"element vertex {len(vertices)}",
        *properties,
        "end_header\n",
    ]
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(vertices.data.cast("B") if len(vertices) else b"")
