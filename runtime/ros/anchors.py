"""What else a robot sees, as anchors: pixels whose distance along the optical axis is known."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError, UsageError

from ..metric.camera import Camera
from .pixels import rows_of

Numbers = NDArray[np.float64]
#: More tell no more; they are then taken evenly.
MOST = 10_000
#: PointField's FLOAT32 and FLOAT64.
_FLOATS = {7: "f4", 8: "f8"}
_DEPTHS = {"16UC1": ("u2", 1e-3), "32FC1": ("f4", 1.0)}
#: Points nearer than this tell nothing of a picture, in metres.
_NEAREST = 0.01


class Transform(NamedTuple):
    """p -> ``rotation`` p + ``translation``: [3,3], and [3] in metres."""

    rotation: Numbers
    translation: Numbers

    def __call__(self, points: Numbers) -> Numbers:
        """[N,3] -> [N,3]."""
        moved: Numbers = points @ self.rotation.T + self.translation
        return moved


def make_transform(numbers: Any) -> Transform:
    """From x, y, z and a quaternion x, y, z, w. Raises UsageError where that has no length."""
    x, y, z, *quaternion = (float(number) for number in numbers)
    length = float(np.linalg.norm(quaternion))
    if not (np.isfinite([x, y, z, length]).all() and length > 1e-6):
        raise UsageError(f"no transform: {' '.join(str(number) for number in numbers)}")
    i, j, k, w = (part / length for part in quaternion)
    rotation = [
        [1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)],
        [2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)],
        [2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)],
    ]
    return Transform(np.array(rotation), np.array([x, y, z]))


def parse_transform(text: str) -> Transform:
    """Of the parameter ``anchors_transform``. Raises UsageError."""
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 7:
        raise UsageError(f"anchors_transform is x y z qx qy qz qw, seven numbers, not {text!r}")
    return make_transform(numbers)


def anchors_of_depth(message: Any, shape: tuple[int, int]) -> Numbers:
    """x, y, z of a depth image's known pixels, float64 [N,3], N up to ``MOST``.

    Args:
        message: sensor_msgs/Image, 16UC1 millimetres or 32FC1 metres, over the same picture.
        shape: [H,W] of that picture; a depth image of another size is taken to cover it all.

    Raises ImageError for another encoding, or a damaged message.
    """
    if message.encoding not in _DEPTHS:
        raise ImageError(f"anchors/depth is 16UC1 or 32FC1, not {message.encoding!r}")
    kind, unit = _DEPTHS[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    if not message.height or not message.width:
        raise ImageError("anchors/depth has no pixels")
    packed = rows_of(message, message.width * dtype.itemsize)
    z = np.ascontiguousarray(packed).view(dtype)
    row, column = np.nonzero(np.isfinite(z) & (z > 0))
    keep = _evenly(len(row))
    row, column = row[keep], column[keep]
    x = (column + 0.5) * (shape[1] / message.width) - 0.5
    y = (row + 0.5) * (shape[0] / message.height) - 0.5
    return np.stack([x, y, z[row, column].astype(np.float64) * unit], axis=1)


def anchors_of_points(points: Numbers, camera: Camera) -> Numbers:
    """x, y, z of points [N,3] of the optical frame, where the picture shows them: [M,3].

    Nothing is known of what hides what: the fit is robust to some that shine through.
    """
    points = points[points[:, 2] > _NEAREST]
    z = points[:, 2]
    x = camera.fx * points[:, 0] / z + camera.cx
    y = camera.fy * points[:, 1] / z + camera.cy
    seen = (x >= -0.5) & (x < camera.width - 0.5) & (y >= -0.5) & (y < camera.height - 0.5)
    found = np.stack([x[seen], y[seen], z[seen]], axis=1)
    spread: Numbers = found[_evenly(len(found))]
    return spread


def points_of(message: Any) -> Numbers:
    """A PointCloud2's finite x, y, z, float64 [N,3].

    Raises ImageError where it has no such fields, or is shorter than it says.
    """
    fields = {field.name: field for field in message.fields}
    if not all(axis in fields and fields[axis].datatype in _FLOATS for axis in "xyz"):
        raise ImageError("anchors/points needs x, y and z as FLOAT32 or FLOAT64")
    order = ">" if message.is_bigendian else "<"
    axes = [fields[axis] for axis in "xyz"]
    formats = [order + _FLOATS[axis.datatype] for axis in axes]
    try:
        dtype = np.dtype(
            {
                "names": list("xyz"),
                "formats": formats,
                "offsets": [axis.offset for axis in axes],
                "itemsize": message.point_step,
            }
        )
        shape, strides = (message.height, message.width), (message.row_step, message.point_step)
        packed = np.ndarray(shape, dtype, bytes(message.data), strides=strides)
    except (ValueError, TypeError) as error:
        raise ImageError(f"anchors/points says more than it holds: {error}") from error
    points = np.stack([packed[axis].ravel().astype(np.float64) for axis in "xyz"], axis=1)
    return points[np.isfinite(points).all(axis=1)]


def _evenly(count: int) -> Any:
    """Indices of ``MOST`` of so many at most."""
    return slice(None) if count <= MOST else np.linspace(0, count - 1, MOST).astype(np.intp)
