"""What a kind of scene is: how it is built, looked at and lit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..objects.world import World


@dataclasses.dataclass(frozen=True)
class View:
    """A camera: where it is, what it looks at, how far it leans, and its horizontal angle."""

    origin: tuple[float, float, float]
    target: tuple[float, float, float]
    roll: float
    fov: float

    def pose(self) -> NDArray[np.float64]:
        """4x4, camera to world, metres: the camera's axes x right, y down, z forward."""
        roll = np.radians(self.roll)
        origin, target = np.array(self.origin), np.array(self.target)
        axis = (target - origin) / np.linalg.norm(target - origin)
        side = np.cross(axis, [0, 0, 1])
        side /= np.linalg.norm(side)
        up = np.cos(roll) * np.cross(side, axis) + np.sin(roll) * side
        pose = np.eye(4)
        pose[:3] = np.stack([np.cross(axis, up), -up, axis, origin], axis=1)
        return pose


#: Draws one more view of a scene; some look into a wall, and are passed over.
Views = Callable[[np.random.Generator], View]


@dataclasses.dataclass(frozen=True)
class Design:
    """A kind of scene.

    Attributes:
        build: adds its shapes to a world.
        share: of all scenes.
        near: metres; a view with something nearer is blocked.
        far: metres; what is farther counts as sky.
        max_depth: of light's paths: 2 is what lamps and sky light, 3 also what that lights.
    """

    name: str
    build: Callable[[World], Views]
    share: float
    near: float
    far: float
    max_depth: int
