"""Where a sensor stands: by tf2 where this machine has it, else by the parameter."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from apdepth_deploy.errors import ImageError

from .anchors import Transform, make_transform, parse_transform


class Transforms:
    """(frame of the images, points' header) -> points to the camera's optical frame."""

    def __init__(self, node: Node, settings: Mapping[str, Any]) -> None:
        self._node, self._settings = node, settings
        self._buffer: Any = None

    def listen(self) -> None:
        """From now on, where there is tf2: it is not listened to before there are points."""
        if self._buffer is not None or self._settings["anchors_transform"]:
            return
        try:
            tf2 = importlib.import_module("tf2_ros")
        except ModuleNotFoundError:
            return
        self._buffer = tf2.Buffer()
        self._listener = tf2.TransformListener(self._buffer, self._node)

    def __call__(self, target: str, header: Any) -> Transform:
        """Raises ImageError where it isn't known."""
        told = self._settings["anchors_transform"]
        if told:
            return parse_transform(told)
        if target == header.frame_id:
            return make_transform((0, 0, 0, 0, 0, 0, 1))
        between = f"anchors/points are in {header.frame_id!r}, images in {target!r}"
        if self._buffer is None:
            raise ImageError(f"{between}: there is no tf2 here, give anchors_transform")
        try:
            found = self._buffer.lookup_transform(
                target, header.frame_id, Time.from_msg(header.stamp)
            )
        except Exception as error:  # tf2 has a tree of its own
            raise ImageError(f"{between}: {error}") from error
        place, turn = found.transform.translation, found.transform.rotation
        return make_transform((place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w))
