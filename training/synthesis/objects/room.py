"""Furniture, and who else is in a room."""

from __future__ import annotations

import numpy as np

from .looks import Build, cloth, surface, wood
from .small import scatter
from .textures import shade
from .world import Place, World


def table(world: World, place: Place) -> None:
    """A table with things on it: dining table, desk or coffee table."""
    rng = world.rng
    length, depth = rng.uniform(0.7, 1.8), rng.uniform(0.5, 0.95)
    height = rng.uniform(0.38, 0.5) if rng.random() < 0.25 else rng.uniform(0.68, 0.8)
    top, legs, look = rng.uniform(0.02, 0.06), rng.uniform(0.03, 0.08), surface(world)
    world.box(place, (0, 0, height - top / 2), (length, depth, top), look)
    for x in (-1, 1):
        for y in (-1, 1):
            corner = (x * (length / 2 - legs), y * (depth / 2 - legs), height / 2)
            world.box(place, corner, (legs, legs, height - top), look)
    scatter(world, place.at(0, 0, height), length * 0.85, depth * 0.8, int(rng.integers(0, 7)))


def chair(world: World, place: Place) -> None:
    """Four legs, a seat, a back; or an office chair on one foot."""
    rng = world.rng
    look, width = surface(world), rng.uniform(0.38, 0.52)
    seat, back = rng.uniform(0.42, 0.5), rng.uniform(0.35, 0.6)
    thick = rng.uniform(0.03, 0.09)
    world.box(place, (0, 0, seat), (width, width, thick), look)
    world.box(place, (0, -width / 2, seat + back / 2), (width, thick, back), look)
    if rng.random() < 0.3:
        dark = world.paint(np.full(3, rng.uniform(0.03, 0.15)))
        world.rod(place, (0, 0, 0.05), (0, 0, seat), 0.03, dark)
        world.box(place, (0, 0, 0.05), (0.55, 0.06, 0.05), dark)
        world.box(place, (0, 0, 0.05), (0.06, 0.55, 0.05), dark)
        return
    for x in (-1, 1):
        for y in (-1, 1):
            at = x * (width / 2 - 0.02), y * (width / 2 - 0.02)
            world.rod(place, (*at, 0), (*at, seat), 0.018, look)


def shelf(world: World, place: Place) -> None:
    """Boards between two sides, with books and boxes."""
    rng = world.rng
    width, depth, height = rng.uniform(0.6, 1.6), rng.uniform(0.25, 0.4), rng.uniform(0.7, 2.2)
    look, board = surface(world), 0.025
    for x in (-1, 1):
        world.box(place, (x * width / 2, 0, height / 2), (board, depth, height), look)
    world.box(place, (0, -depth / 2, height / 2), (width, 0.01, height), look)
    rows = int(rng.integers(2, 6))
    for row in range(rows + 1):
        world.box(place, (0, 0, row * height / rows), (width, depth, board), look)
    for row in range(rows):
        if rng.random() < 0.8:
            _books(world, place.at(0, 0, row * height / rows + board), width, depth, height / rows)


def _books(world: World, place: Place, width: float, depth: float, room: float) -> None:
    rng = world.rng
    x, end = -width / 2 + 0.03, width / 2 - 0.05
    looks = [world.paint() for _ in range(4)]
    while x < end:
        thick, high = rng.uniform(0.02, 0.12), rng.uniform(0.5, 0.88) * room
        deep = rng.uniform(0.5, 0.9) * depth
        if rng.random() < 0.85:
            centre = (x + thick / 2, -depth / 2 + deep / 2 + 0.01, high / 2)
            world.box(place, centre, (thick * 0.95, deep, high), looks[rng.integers(4)])
        x += thick


def cabinet(world: World, place: Place) -> None:
    """A closed body with doors: wardrobe, sideboard, fridge, kitchen unit."""
    rng = world.rng
    width, depth = rng.uniform(0.4, 1.6), rng.uniform(0.35, 0.65)
    height = rng.uniform(1.5, 2.2) if rng.random() < 0.4 else rng.uniform(0.5, 1.0)
    look = surface(world)
    world.box(place, (0, 0, height / 2), (width, depth, height), look)
    doors = int(rng.integers(1, 4))
    front = surface(world) if rng.random() < 0.5 else look
    for i in range(doors):
        x = (i + 0.5) * width / doors - width / 2
        door = (width / doors * 0.94, 0.02, height * 0.94)
        world.box(place, (x, depth / 2, height / 2), door, front)
        world.box(place, (x, depth / 2 + 0.02, height / 2), (0.02, 0.03, 0.12), world.paint())
    if height < 1.1:
        scatter(world, place.at(0, 0, height), width * 0.8, depth * 0.7, int(rng.integers(0, 5)))


def sofa(world: World, place: Place) -> None:
    """A couch or an armchair, with cushions."""
    rng = world.rng
    width, depth = rng.uniform(0.8, 2.3), rng.uniform(0.75, 1.0)
    seat, back, arm = rng.uniform(0.36, 0.46), rng.uniform(0.7, 0.95), rng.uniform(0.1, 0.22)
    look = cloth(world)
    world.box(place, (0, 0, seat / 2), (width, depth, seat), look)
    world.box(place, (0, -depth / 2 + 0.1, back / 2), (width, 0.2, back), look)
    for x in (-1, 1):
        centre = (x * (width - arm) / 2, 0.0, (seat + 0.2) / 2)
        world.box(place, centre, (arm, depth, seat + 0.2), look)
    for _ in range(rng.integers(0, 4)):
        centre = (rng.uniform(-0.35, 0.35) * width, -depth / 2 + 0.27, seat + 0.18)
        world.egg(place, centre, (0.22, 0.09, 0.2), cloth(world))


def bed(world: World, place: Place) -> None:
    """A frame, a mattress, a blanket, pillows."""
    rng = world.rng
    width, length = rng.uniform(0.9, 1.9), rng.uniform(1.9, 2.15)
    base = rng.uniform(0.25, 0.4)
    look = surface(world)
    world.box(place, (0, 0, base / 2), (width, length, base), look)
    world.box(place, (0, -length / 2, base), (width, 0.06, base * 2 + 0.3), look)
    world.box(place, (0, 0, base + 0.09), (width * 0.97, length * 0.97, 0.18), world.paint())
    world.box(place, (0, 0.25, base + 0.16), (width * 1.01, length * 0.7, 0.1), cloth(world))
    for x in (-0.25, 0.25):
        radii = (width * 0.2, 0.2, 0.09)
        world.egg(place, (x * width, -length / 2 + 0.35, base + 0.24), radii, cloth(world))


def crate(world: World, place: Place) -> None:
    """One box or a stack of them."""
    rng = world.rng
    z = 0.0
    for _ in range(rng.integers(1, 4)):
        size = rng.uniform(0.15, 0.6, 3)
        turned = place.at(0, 0, z, rng.uniform(-20, 20))
        world.box(turned, (0, 0, size[2] / 2), size.tolist(), surface(world))
        z += size[2]


def plant(world: World, place: Place) -> None:
    """A pot, a stem, leaves."""
    rng = world.rng
    pot, height = rng.uniform(0.08, 0.22), rng.uniform(0.3, 1.6)
    world.rod(place, (0, 0, 0), (0, 0, 2 * pot), pot, world.paint())
    world.rod(place, (0, 0, 0), (0, 0, height), 0.015, wood(world))
    green = np.array([0.2, 0.45, 0.12]) * rng.uniform(0.5, 1.4)
    looks = [world.paint(shade(green, rng)) for _ in range(3)]
    for _ in range(rng.integers(6, 22)):
        at = rng.normal(0, 0.35 * height + 0.05, 3) * (0.5, 0.5, 0.4) + np.array([0, 0, height])
        leaf = rng.uniform(0.03, 0.16) * np.array([1.0, rng.uniform(0.3, 1), rng.uniform(0.1, 1)])
        turned = place.at(0, 0, 0, rng.uniform(0, 360))
        world.egg(turned, at.tolist(), leaf.tolist(), looks[rng.integers(3)])


def floor_lamp(world: World, place: Place) -> None:
    """A foot, a pole, a shade that may shine."""
    rng = world.rng
    height = rng.uniform(1.2, 1.8)
    world.rod(place, (0, 0, 0), (0, 0, 0.03), 0.15, world.paint())
    world.rod(place, (0, 0, 0), (0, 0, height), 0.015, world.paint())
    if rng.random() < 0.5:
        world.lamp(place, (0, 0, height), rng.uniform(0.08, 0.16), [12.0, 10.0, 7.0])
    else:
        world.rod(place, (0, 0, height - 0.1), (0, 0, height + 0.2), 0.18, world.paint())


def person(world: World, place: Place) -> None:
    """Somebody who stands: legs, body, arms, head."""
    rng = world.rng
    s = rng.uniform(0.85, 1.12)
    trousers, shirt = world.paint(), cloth(world)
    skin = world.paint(np.array([0.8, 0.6, 0.45]) * rng.uniform(0.35, 1.1))
    step = rng.uniform(-0.25, 0.25)
    for x in (-1, 1):
        hip, shoulder = (0.1 * s * x, 0, 0.88 * s), (0.22 * s * x, 0, 1.4 * s)
        world.rod(place, (0.11 * s * x, step * x, 0), hip, 0.075 * s, trousers)
        hand = (0.3 * s * x, rng.uniform(-0.1, 0.35) * s, rng.uniform(0.8, 1.15) * s)
        world.rod(place, shoulder, hand, 0.05 * s, shirt)
        world.ball(place, hand, 0.055 * s, skin)
    world.egg(place, (0, 0, 1.15 * s), (0.2 * s, 0.13 * s, 0.36 * s), shirt)
    world.rod(place, (0, 0, 1.4 * s), (0, 0, 1.55 * s), 0.055 * s, skin)
    world.egg(place, (0, 0, 1.63 * s), (0.085 * s, 0.1 * s, 0.12 * s), skin)
    world.egg(place, (0, -0.02, 1.67 * s), (0.092 * s, 0.1 * s, 0.11 * s), world.paint())


#: Room furniture, and how much ground each takes: a radius in metres.
ROOM: tuple[tuple[Build, float], ...] = (
    (table, 0.9),
    (chair, 0.35),
    (chair, 0.35),
    (shelf, 0.75),
    (cabinet, 0.75),
    (sofa, 1.1),
    (bed, 1.3),
    (crate, 0.4),
    (plant, 0.4),
    (floor_lamp, 0.25),
    (person, 0.35),
)
