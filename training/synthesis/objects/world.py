"""A scene under construction: shapes and lights as Mitsuba takes them; metres, z upwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import mitsuba as mi
import numpy as np

from .textures import COVERS, Colour, Field, colour, texture

mi.set_variant("scalar_rgb")

Plugin = dict[str, Any]
Vector = Sequence[float]
#: A material, loaded once for all the shapes that have it.
Look = mi.BSDF


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an object stands: its origin on the ground, and its turn about z in degrees."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    turn: float = 0.0

    def transform(self) -> mi.ScalarTransform4f:
        turned = mi.ScalarTransform4f().rotate([0, 0, 1], self.turn)
        placed: mi.ScalarTransform4f = (
            mi.ScalarTransform4f().translate([self.x, self.y, self.z]) @ turned
        )
        return placed

    def at(self, x: float, y: float, z: float = 0.0, turn: float = 0.0) -> Place:
        """A place given in this one's axes."""
        cos, sin = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        return Place(
            self.x + cos * x - sin * y, self.y + sin * x + cos * y, self.z + z, self.turn + turn
        )


class World:
    """Everything of one scene, added piece by piece. ``rng`` draws all of it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.plugins: list[Plugin] = []

    def scene(self) -> mi.Scene:
        """The scene, loaded."""
        named = {f"part{i:04d}": plugin for i, plugin in enumerate(self.plugins)}
        # Else lamps come in the order of their addresses, and other draws pick them each time.
        scene: mi.Scene = mi.load_dict({"type": "scene", **named}, parallel=False, optimize=False)
        return scene

    # --- looks -----------------------------------------------------------------------------------

    def look(
        self,
        base: Colour | None = None,
        cover: Callable[[np.random.Generator, Colour], Field] | None = None,
        repeat: float = 1.0,
    ) -> Look:
        """A material: mostly matt and patterned, now and then shiny or metal."""
        rng = self.rng
        base = colour(rng) if base is None else base
        if cover is None:
            cover = COVERS[rng.integers(len(COVERS))]
        reflectance = {
            "type": "bitmap",
            "bitmap": mi.Bitmap(texture(rng, cover, base)),
            "to_uv": mi.ScalarTransform4f().scale([repeat, repeat, 1]),
        }
        return self._finish(reflectance, base)

    def paint(self, base: Colour | None = None) -> Look:
        """A material of one colour."""
        base = colour(self.rng) if base is None else base
        return self._finish({"type": "rgb", "value": base.tolist()}, base)

    def _finish(self, reflectance: Plugin, base: Colour) -> Look:
        kind = self.rng.random()
        if kind < 0.82:
            bsdf: Plugin = {"type": "diffuse", "reflectance": reflectance}
        elif kind < 0.97:
            roughness = self.rng.uniform(0.15, 0.5)
            bsdf = {"type": "principled", "base_color": reflectance, "roughness": roughness}
        else:
            tint = {"type": "rgb", "value": np.clip(base + 0.2, 0, 1).tolist()}
            alpha = self.rng.uniform(0.15, 0.4)
            bsdf = {"type": "roughconductor", "specular_reflectance": tint, "alpha": alpha}
        look: Look = mi.load_dict({"type": "twosided", "front": bsdf})
        return look

    # --- shapes ----------------------------------------------------------------------------------

    def box(self, place: Place, centre: Vector, size: Vector, look: Look) -> None:
        """A box of full ``size`` about ``centre``, both in the place's axes."""
        half = [max(s, 1e-4) / 2 for s in size]
        shape = mi.ScalarTransform4f().translate(list(centre)).scale(half)
        self._add("cube", place, shape, look)

    def ball(self, place: Place, centre: Vector, radius: float, look: Look) -> None:
        """A sphere."""
        middle = place.at(*centre)
        shape = {"center": [middle.x, middle.y, middle.z], "radius": radius}
        self.plugins.append({"type": "sphere", **shape, "bsdf": look})

    def egg(self, place: Place, centre: Vector, radii: Vector, look: Look) -> None:
        """An ellipsoid, in the first colour of its look."""
        middle = place.at(*centre)
        half = np.radians(middle.turn) / 2
        turn = [0.0, 0.0, np.sin(half), np.cos(half)]
        shape = {
            "centers": _row([middle.x, middle.y, middle.z]),
            "scales": _row(radii),
            "quaternions": _row(turn),
            "extent": 1.0,
        }
        self.plugins.append({"type": "ellipsoids", **shape, "bsdf": look})

    def rod(self, place: Place, start: Vector, end: Vector, radius: float, look: Look) -> None:
        """A closed cylinder from ``start`` to ``end``."""
        axis = np.subtract(end, start).astype(float)
        length = float(np.linalg.norm(axis))
        side = [1.0, 0.0, 0.0] if abs(axis[2]) > 0.9 * length else [0.0, 0.0, 1.0]
        frame = mi.ScalarTransform4f().look_at(list(start), list(end), side)
        for z in (0.0, length):
            cap = frame.translate([0, 0, z]).scale([radius, radius, 1])
            self._add("disk", place, cap, look)
        self._add("cylinder", place, frame.scale([radius, radius, length]), look)

    def sheet(self, place: Place, corner: Vector, across: Vector, up: Vector, look: Look) -> None:
        """A rectangle: from ``corner`` along ``across`` and ``up``."""
        self.plugins.append(
            {"type": "rectangle", "to_world": _span(place, corner, across, up), "bsdf": look}
        )

    def panel(
        self, place: Place, corner: Vector, across: Vector, up: Vector, radiance: Vector
    ) -> None:
        """A rectangle that shines to the side of ``across`` x ``up``."""
        emitter = {"type": "area", "radiance": {"type": "rgb", "value": list(radiance)}}
        shape = _span(place, corner, across, up)
        self.plugins.append({"type": "rectangle", "to_world": shape, "emitter": emitter})

    def lamp(self, place: Place, centre: Vector, radius: float, radiance: Vector) -> None:
        """A ball that shines."""
        middle = place.at(*centre)
        emitter = {"type": "area", "radiance": {"type": "rgb", "value": list(radiance)}}
        shape = {"center": [middle.x, middle.y, middle.z], "radius": radius}
        self.plugins.append({"type": "sphere", **shape, "emitter": emitter})

    def light(self, plugin: Plugin) -> None:
        """An emitter without a shape: sky or sun."""
        self.plugins.append(plugin)

    def _add(self, kind: str, place: Place, shape: mi.ScalarTransform4f, look: Look) -> None:
        self.plugins.append({"type": kind, "to_world": place.transform() @ shape, "bsdf": look})


def _row(values: Vector) -> mi.TensorXf:
    """[1, N], as plugins of many take what is one of theirs."""
    return mi.TensorXf(np.asarray(values, dtype=np.float32)[None])


def _span(place: Place, corner: Vector, across: Vector, up: Vector) -> mi.ScalarTransform4f:
    """Takes Mitsuba's rectangle, [-1, 1]^2 towards +z, to where it belongs."""
    a, b = np.asarray(across, dtype=float) / 2, np.asarray(up, dtype=float) / 2
    normal = np.cross(a, b)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 3] = a, b, np.asarray(corner, dtype=float) + a + b
    matrix[:3, 2] = normal / np.linalg.norm(normal)
    return place.transform() @ mi.ScalarTransform4f(matrix.tolist())
