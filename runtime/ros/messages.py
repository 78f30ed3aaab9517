"""Arrays to messages of sensor_msgs and diagnostic_msgs."""

from __future__ import annotations

import array
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField

from ..metric.points import Cloud

#: rgb is what PCL and RViz read: 0x00RRGGBB in the place of a float.
_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "<u4")])


def depth_image(depth: NDArray[np.float32], header: Any) -> Any:
    """float32 [H,W] as 32FC1, with a header."""
    return _image(depth.astype("<f4", copy=False), "32FC1", header)


def millimetres_image(metres: NDArray[np.float32], header: Any) -> Any:
    """float32 metres [H,W] as 16UC1, 0 = not known or above 65.535 m, with a header."""
    known = metres < 65.5355
    rounded = np.where(known, metres, 0) * 1000 + 0.5
    return _image(rounded.astype("<u2"), "16UC1", header)


def _image(pixels: NDArray[Any], encoding: str, header: Any) -> Any:
    height, width = pixels.shape
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = width * pixels.itemsize
    message.data = _bytes(pixels)
    return message


def point_cloud(cloud: Cloud, header: Any) -> Any:
    """An unordered PointCloud2: x y z in metres, and rgb."""
    count = len(cloud.xyz)
    packed = np.zeros(count, _POINT)
    packed["xyz"] = cloud.xyz
    packed["rgb"] = cloud.rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    message = PointCloud2(header=header, height=1, width=count, is_dense=True)
    message.fields = [
        PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
        for place, name in enumerate(("x", "y", "z", "rgb"))
    ]
    message.point_step, message.row_step = _POINT.itemsize, _POINT.itemsize * count
    message.data = _bytes(packed)
    return message


def _bytes(values: NDArray[Any]) -> array.array[int]:
    """What a message takes without looking at each byte."""
    found = array.array("B")
    found.frombytes(values.tobytes())
    return found


def status(name: str, hardware: str, level: str, message: str, values: Mapping[str, Any]) -> Any:
    """A DiagnosticStatus; ``level``: OK, WARN or ERROR; of numbers what isn't one is left empty."""
    pairs = [KeyValue(key=key, value=_word(value)) for key, value in values.items()]
    return DiagnosticStatus(
        level=getattr(DiagnosticStatus, level),
        name=name,
        hardware_id=hardware,
        message=message,
        values=pairs,
    )


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)
