"""A street, and an open place."""

from __future__ import annotations

import mitsuba as mi
import numpy as np

from ..objects.street import GARDEN, PAVEMENT, bench, car, house, van
from ..objects.textures import mottled, tiles
from ..objects.world import Place, Vector, World
from .design import View, Views


def street(world: World) -> Views:
    """A road between pavements and house fronts, with cars, people, trees and posts."""
    rng = world.rng
    road, path, reach = rng.uniform(5, 14), rng.uniform(1.5, 4.5), 75.0
    middle = Place()
    asphalt = world.look(np.full(3, rng.uniform(0.15, 0.45)), mottled, 30.0)
    world.sheet(middle, (-90, -20, 0), (180, 0, 0), (0, 180, 0), asphalt)
    if rng.random() < 0.7:
        line = world.paint(np.full(3, 0.85))
        for y in np.arange(-8, reach, 6.0):
            world.box(middle, (0, y, 0.0), (0.14, 2.5, 0.02), line)
    for side in (-1, 1):
        kerb = world.look(cover=tiles, base=np.full(3, rng.uniform(0.3, 0.7)), repeat=25.0)
        x = side * (road + path) / 2
        world.box(middle, (x, reach / 2 - 5, 0.06), (path, reach + 20, 0.12), kerb)
        _fronts(world, side, road / 2 + path, reach)
        for y in np.arange(rng.uniform(1, 6), reach * 0.7, rng.uniform(4, 11)):
            build = PAVEMENT[rng.integers(len(PAVEMENT))]
            spot = side * (road / 2 + rng.uniform(0.3, 0.9) * path)
            build(world, Place(spot, y, 0.12, rng.uniform(0, 360)))
        for y in np.arange(rng.uniform(2, 12), reach, rng.uniform(6, 20)):
            if rng.random() < 0.75:
                build = van if rng.random() < 0.15 else car
                lane = side * (
                    road / 2 - (1.1 if rng.random() < 0.6 else rng.uniform(1.1, road / 2))
                )
                build(world, Place(lane, y, 0, rng.normal(0, 4) + (180 if side < 0 else 0)))
    _daylight(world)

    def view(rng: np.random.Generator) -> View:
        x, y = rng.uniform(-0.5, 0.5) * (road + path), rng.uniform(-6, 25)
        turn = np.radians(rng.normal(0, 25))
        return _outdoor_view(rng, x, y, turn)

    return view


def _fronts(world: World, side: int, x: float, reach: float) -> None:
    rng = world.rng
    y = -12.0
    while y < reach:
        width, height = rng.uniform(5, 18), rng.uniform(3.5, 18)
        if rng.random() < 0.8:
            setback = rng.uniform(0, 3) if rng.random() < 0.4 else 0.0
            spot = Place(side * (x + setback), y + width / 2, 0, 90.0 * side)
            house(world, spot, width * 0.98, rng.uniform(6, 12), height)
        else:
            for _ in range(3):
                build = GARDEN[rng.integers(4)]
                build(world, Place(side * (x + rng.uniform(1, 8)), y + rng.uniform(0, width)))
        y += width


def open_place(world: World) -> Views:
    """A square, a park or a yard: ground with things spread over it, houses far off."""
    rng = world.rng
    middle = Place()
    green = np.array([0.25, 0.4, 0.15]) * rng.uniform(0.5, 1.4)
    ground = (
        world.look(green, mottled, 40.0)
        if rng.random() < 0.5
        else world.look(np.full(3, rng.uniform(0.3, 0.7)), tiles, rng.uniform(20, 60))
    )
    world.sheet(middle, (-90, -90, 0), (180, 0, 0), (0, 180, 0), ground)
    for _ in range(rng.integers(10, 45)):
        radius, turn = 1.5 + 30 * rng.random() ** 1.3, rng.uniform(0, 2 * np.pi)
        spot = Place(radius * np.cos(turn), radius * np.sin(turn), 0, rng.uniform(0, 360))
        GARDEN[rng.integers(len(GARDEN))](world, spot)
    for _ in range(rng.integers(2, 12)):
        radius, turn = rng.uniform(14, 50), rng.uniform(0, 360)
        spot = Place(0, 0, 0, turn).at(0, -radius)
        house(world, spot, rng.uniform(5, 16), rng.uniform(5, 10), rng.uniform(3, 14))
    if rng.random() < 0.4:
        bench(world, Place(rng.uniform(-1, 1), rng.uniform(1.5, 4), 0, rng.uniform(0, 360)))
    _daylight(world)

    def view(rng: np.random.Generator) -> View:
        x, y = rng.normal(0, 3, 2)
        return _outdoor_view(rng, x, y, rng.uniform(0, 2 * np.pi))

    return view


def _outdoor_view(rng: np.random.Generator, x: float, y: float, turn: float) -> View:
    """From a height of a robot to a lorry's, mostly level."""
    z = rng.choice([rng.uniform(0.4, 1.2), rng.uniform(1.2, 2.4)])
    pitch = np.clip(np.radians(rng.normal(-4, 8)), -0.6, 0.3)
    target = (x + np.sin(turn), y + np.cos(turn), z + np.tan(pitch))
    return View((x, y, z), target, rng.normal(0, 2), rng.uniform(45, 90))


def _daylight(world: World) -> None:
    """A sky from horizon to zenith, clear or clouded, and the sun with its share."""
    rng = world.rng
    cover = rng.random()
    rows = np.linspace(1, -1, 32)[:, None, None].clip(0, 1) ** 0.6
    horizon = np.array([0.85, 0.92, 1.0]) * rng.uniform(0.4, 0.9)
    zenith = np.array([0.15, 0.35, 0.8]) * (1 - cover) + cover * np.array([0.6, 0.62, 0.65])
    sky = np.broadcast_to(horizon + (zenith - horizon) * rows, (32, 64, 3)).astype(np.float32)
    upright = mi.ScalarTransform4f().rotate([1, 0, 0], 90)
    bitmap = mi.Bitmap(np.ascontiguousarray(sky))
    world.light({"type": "envmap", "bitmap": bitmap, "to_world": upright})
    if cover < 0.75:
        turn, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(15, 70))
        down: Vector = (
            np.cos(turn) * np.cos(height),
            np.sin(turn) * np.cos(height),
            -np.sin(height),
        )
        power = (1 - cover) * rng.uniform(3, 9) * np.array([1.0, 0.92, 0.8])
        irradiance = {"type": "rgb", "value": power.tolist()}
        world.light({"type": "directional", "direction": list(down), "irradiance": irradiance})
