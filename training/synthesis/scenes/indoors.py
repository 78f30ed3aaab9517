"""A room, and a table-top in one."""

from __future__ import annotations

import numpy as np

from ..objects.looks import cloth, surface, wood
from ..objects.room import ROOM, chair
from ..objects.small import scatter
from ..objects.textures import COVERS, colour, mottled, planks, poster, shade, tiles
from ..objects.world import Place, World
from .design import View, Views


def room(world: World) -> Views:
    """Four walls with windows, doors and pictures; furniture; lamps."""
    rng = world.rng
    width, length = rng.uniform(2.6, 7.0), rng.uniform(3.0, 9.0)
    height = rng.uniform(2.3, 3.4)
    _shell(world, width, length, height)
    taken: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(3, 16)):
        build, radius = ROOM[rng.integers(len(ROOM))]
        spot = _free_spot(rng, width, length, radius, taken)
        if spot is not None:
            build(world, spot)
            taken.append((spot.x, spot.y, radius))

    def view(rng: np.random.Generator) -> View:
        x, y = rng.uniform(-0.47, 0.47) * width, rng.uniform(-0.47, 0.47) * length
        z = min(rng.choice([rng.uniform(0.4, 1.0), rng.uniform(1.0, 1.9)]), height - 0.3)
        # Mostly along the longer way, towards the middle or past it.
        aim = rng.uniform(-0.5, 0.5, 2) * (width, length) * rng.uniform(0.2, 1.0)
        distance = max(float(np.hypot(aim[0] - x, aim[1] - y)), 0.5)
        pitch = np.radians(rng.normal(-9, 13))
        target = (aim[0], aim[1], z + distance * np.tan(np.clip(pitch, -0.9, 0.4)))
        return View((x, y, z), target, rng.normal(0, 3), rng.uniform(45, 88))

    return view


def _shell(world: World, width: float, length: float, height: float) -> None:
    rng = world.rng
    w, n = width / 2, length / 2
    middle = Place()
    floor_cover = (planks, tiles, mottled, *COVERS)[rng.integers(3 + len(COVERS))]
    floor = world.look(cover=floor_cover, repeat=rng.uniform(1, 5))
    world.sheet(middle, (-w, -n, 0), (width, 0, 0), (0, length, 0), floor)
    white = np.full(3, rng.uniform(0.6, 0.95))
    world.sheet(middle, (-w, -n, height), (width, 0, 0), (0, length, 0), world.paint(white))
    base = colour(rng, 0.6) if rng.random() < 0.6 else white
    walls = (
        world.paint(base),
        world.look(base, mottled, 2.0),
        world.look(repeat=rng.uniform(1, 4)),
    )
    common = walls[rng.integers(3)]
    for turn, half, across in ((0, n, width), (90, w, length), (180, n, width), (270, w, length)):
        look = common if rng.random() < 0.75 else walls[rng.integers(3)]
        wall = middle.at(0, 0, 0, turn).at(0, -half)  # its y points into the room
        world.sheet(wall, (-across / 2, 0, 0), (across, 0, 0), (0, 0, height), look)
        if rng.random() < 0.6:
            world.box(wall, (0, 0.01, 0.05), (across, 0.02, 0.1), world.paint(shade(base, rng)))
        for x in np.arange(-across / 2 + 0.8, across / 2 - 0.6, 1.5):
            _on_wall(world, wall.at(x, 0), height)
    _lights(world, width, length, height)


def _on_wall(world: World, place: Place, height: float) -> None:
    """A window, a door, a picture, a board, or nothing."""
    rng = world.rng
    kind = rng.random()
    if kind < 0.14:
        size, low = rng.uniform((0.7, 0.9), (1.3, 1.5)), rng.uniform(0.6, 0.95)
        day = rng.uniform(1.0, 6.0) * np.array([0.9, 1.0, 1.15])
        # (across x up) points out of the wall's front: -x first.
        corner, across = (size[0] / 2, 0.015, low), (-size[0], 0, 0)
        world.panel(place, corner, across, (0, 0, size[1]), day.tolist())
        frame = world.paint(np.full(3, rng.uniform(0.3, 0.95)))
        for x in (-0.5, 0.0, 0.5):
            at = (x * size[0], 0.03, low + size[1] / 2)
            world.box(place, at, (0.06, 0.06, size[1] + 0.06), frame)
        for z in (0.0, 1.0):
            world.box(place, (0, 0.03, low + z * size[1]), (size[0], 0.06, 0.06), frame)
        if rng.random() < 0.5:
            for x in (-0.75, 0.75):
                curtain = (0.35 * size[0], 0.08, height * 0.9)
                world.box(place, (x * size[0], 0.08, height * 0.47), curtain, cloth(world))
    elif kind < 0.24:
        look = surface(world)
        world.box(place, (0, 0.02, 1.0), (0.85, 0.04, 2.0), look)
        world.box(place, (0, 0.01, 1.03), (1.0, 0.03, 2.08), world.paint())
        world.ball(place, (0.35, 0.07, 1.0), 0.035, world.paint())
    elif kind < 0.45:
        size = rng.uniform((0.3, 0.25), (1.0, 0.9))
        low, thick = rng.uniform(1.1, 1.5), rng.uniform(0.02, 0.06)
        at = (0, thick / 2, low + size[1] / 2)
        world.box(place, at, (size[0], thick, size[1]), world.paint())
        inner = size * 0.88
        corner = (-inner[0] / 2, thick + 0.002, low + 0.06 * size[1])
        look = world.look(colour(rng, 1.5), poster)
        world.sheet(place, corner, (inner[0], 0, 0), (0, 0, inner[1]), look)
    elif kind < 0.55:
        z, reach = rng.uniform(1.0, 1.8), rng.uniform(0.15, 0.3)
        world.box(place, (0, reach / 2, z), (0.9, reach, 0.03), wood(world))
        scatter(world, place.at(0, reach / 2, z + 0.015), 0.8, 0.2, int(rng.integers(0, 4)))


def _lights(world: World, width: float, length: float, height: float) -> None:
    rng = world.rng
    middle, warm = Place(), np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.55, 1.0)])
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(-0.35, 0.35, 2) * (width, length)
        size = rng.uniform(0.3, 1.4, 2)
        corner = (x - size[0] / 2, y + size[1] / 2, height - 0.02)
        power = warm * rng.uniform(3, 12) / size.prod() ** 0.5
        world.panel(middle, corner, (size[0], 0, 0), (0, -size[1], 0), power.tolist())
    if rng.random() < 0.3:
        x, y, drop = *rng.uniform(-0.2, 0.2, 2) * (width, length), rng.uniform(0.3, 0.8)
        world.rod(middle, (x, y, height - drop), (x, y, height), 0.01, world.paint())
        world.lamp(middle, (x, y, height - drop), rng.uniform(0.08, 0.2), (warm * 10).tolist())


def _free_spot(
    rng: np.random.Generator,
    width: float,
    length: float,
    radius: float,
    taken: list[tuple[float, float, float]],
) -> Place | None:
    """A place for something of that radius, rather by a wall and facing the room; None = full."""
    w, n = width / 2 - radius * 0.7, length / 2 - radius * 0.7
    if min(w, n) <= 0:
        return None
    for _ in range(12):
        x, y, turn = rng.uniform(-w, w), rng.uniform(-n, n), rng.uniform(0, 360)
        if rng.random() < 0.6:
            side = rng.integers(4)
            x, y = ((x, -n), (w, y), (x, n), (-w, y))[side]
            turn = side * 90.0 + rng.normal(0, 4)
        if all(np.hypot(x - a, y - b) > 0.8 * (radius + r) for a, b, r in taken):
            return Place(x, y, 0, turn)
    return None


def table_top(world: World) -> Views:
    """A table or a floor with things on it, seen from near; a wall and some furniture behind."""
    rng = world.rng
    width, depth = rng.uniform(0.8, 2.0), rng.uniform(0.5, 1.1)
    back = rng.uniform(0.4, 3.0)
    room_width, height = rng.uniform(3, 6), rng.uniform(2.4, 3.0)
    middle = Place(0, 0, 0, 180)  # the shell's far wall is at y = -back in the table's axes
    length = back * 2 + depth
    _shell(world, room_width, length, height)
    z = rng.uniform(0.65, 0.8)
    world.box(middle, (0, 0, z - 0.02), (width, depth, 0.04), surface(world))
    for x in (-0.45, 0.45):
        for y in (-0.45, 0.45):
            leg = (x * width, y * depth, z / 2 - 0.02)
            world.box(middle, leg, (0.06, 0.06, z - 0.04), wood(world))
    scatter(world, middle.at(0, 0, z), width, depth, int(rng.integers(3, 14)))
    if rng.random() < 0.6:
        chair(world, middle.at(rng.uniform(-0.5, 0.5) * width, -depth / 2 - 0.3, 0, 180))
    for _ in range(rng.integers(0, 4)):
        build, radius = ROOM[rng.integers(len(ROOM))]
        side = rng.choice([-1, 1])
        x = side * (width / 2 + radius + rng.uniform(0, 0.5))
        if abs(x) + radius * 0.6 < room_width / 2:
            build(world, middle.at(x, rng.uniform(-1, 0) * back, 0, rng.uniform(0, 360)))

    def view(rng: np.random.Generator) -> View:
        distance, turn = rng.uniform(0.5, 1.6), np.radians(rng.normal(0, 30))
        lift = np.radians(rng.uniform(5, 55))
        aim = np.array([rng.uniform(-0.3, 0.3) * width, rng.uniform(-0.4, 0.2) * depth, z + 0.08])
        away = np.array([np.sin(turn) * np.cos(lift), -np.cos(turn) * np.cos(lift), np.sin(lift)])
        origin = aim + distance * away
        origin[1] = max(origin[1], -length / 2 + 0.1)
        return View(tuple(origin), tuple(aim), rng.normal(0, 4), rng.uniform(42, 75))

    return view
