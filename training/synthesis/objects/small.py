"""What stands on tables and shelves."""

from __future__ import annotations

import numpy as np

from .looks import Build
from .textures import colour, poster
from .world import Place, World


def mug(world: World, place: Place) -> None:
    """A cup with a handle, or a can."""
    rng = world.rng
    radius, height = rng.uniform(0.03, 0.05), rng.uniform(0.07, 0.13)
    look = world.paint() if rng.random() < 0.6 else world.look()
    world.rod(place, (0, 0, 0), (0, 0, height), radius, look)
    if rng.random() < 0.5:
        world.box(place, (radius + 0.012, 0, height / 2), (0.024, 0.01, height * 0.6), look)


def bottle(world: World, place: Place) -> None:
    """A body, shoulders and a neck."""
    rng = world.rng
    radius, height, look = rng.uniform(0.03, 0.05), rng.uniform(0.15, 0.26), world.paint()
    world.rod(place, (0, 0, 0), (0, 0, height * 0.65), radius, look)
    world.ball(place, (0, 0, height * 0.65), radius, look)
    world.rod(place, (0, 0, height * 0.65), (0, 0, height), radius * 0.35, look)


def book(world: World, place: Place) -> None:
    """A book, or a pile of them."""
    rng = world.rng
    z = 0.0
    for _ in range(rng.integers(1, 5)):
        size = rng.uniform((0.12, 0.17, 0.01), (0.22, 0.3, 0.05))
        turned = place.at(0, 0, z, rng.uniform(-25, 25))
        look = world.look(colour(rng), poster) if rng.random() < 0.5 else world.paint()
        world.box(turned, (0, 0, size[2] / 2), size.tolist(), look)
        z += size[2]


def fruit(world: World, place: Place) -> None:
    """A ball, or a bowl with several."""
    rng = world.rng
    for _ in range(rng.integers(1, 5)):
        radius = rng.uniform(0.03, 0.06)
        x, y = rng.normal(0, 0.05, 2)
        world.ball(place, (x, y, radius), radius, world.paint())


def packet(world: World, place: Place) -> None:
    """A carton that stands."""
    size = world.rng.uniform((0.05, 0.03, 0.06), (0.25, 0.15, 0.3))
    world.box(place, (0, 0, size[2] / 2), size.tolist(), world.look())


def screen(world: World, place: Place) -> None:
    """A monitor on a foot, or a laptop."""
    rng = world.rng
    width = rng.uniform(0.28, 0.6)
    height, dark = width * 0.6, world.paint(np.full(3, rng.uniform(0.02, 0.3)))
    shown = world.look(colour(rng), poster)
    if rng.random() < 0.5:
        world.box(place, (0, 0.12, 0.01), (width, 0.24, 0.02), dark)
        lift = 0.02
    else:
        world.box(place, (0, 0, 0.01), (0.2, 0.16, 0.02), dark)
        world.rod(place, (0, 0, 0), (0, 0, 0.15), 0.02, dark)
        lift = rng.uniform(0.06, 0.14)
    world.box(place, (0, 0, lift + height / 2), (width, 0.02, height), dark)
    corner, inner = (-0.47 * width, 0.011, lift + 0.04 * height), 0.92
    world.sheet(place, corner, (0.94 * width, 0, 0), (0, 0, inner * height), shown)


def keyboard(world: World, place: Place) -> None:
    """A keyboard and a mouse."""
    look = world.look(np.full(3, world.rng.uniform(0.05, 0.9)))
    world.box(place, (0, 0, 0.012), (0.42, 0.14, 0.024), look)
    world.egg(place, (0.3, 0.0, 0.01), (0.03, 0.05, 0.02), world.paint())


def pot(world: World, place: Place) -> None:
    """A small plant."""
    rng = world.rng
    radius = rng.uniform(0.04, 0.09)
    world.rod(place, (0, 0, 0), (0, 0, 1.6 * radius), radius, world.paint())
    green = world.paint(np.array([0.2, 0.45, 0.12]) * rng.uniform(0.5, 1.4))
    for _ in range(rng.integers(4, 12)):
        at = rng.normal(0, radius, 3) + np.array([0, 0, 3 * radius])
        world.egg(place, at.tolist(), (rng.uniform(0.2, 0.8, 3) * radius).tolist(), green)


def desk_lamp(world: World, place: Place) -> None:
    """A foot, two arms and a head."""
    rng = world.rng
    look, elbow = world.paint(), (0.0, -0.12, rng.uniform(0.2, 0.3))
    head = (0.0, rng.uniform(0.05, 0.2), elbow[2] + rng.uniform(0.0, 0.2))
    world.rod(place, (0, 0, 0), (0, 0, 0.02), 0.09, look)
    world.rod(place, (0, 0, 0), elbow, 0.01, look)
    world.rod(place, elbow, head, 0.01, look)
    world.egg(place, head, (0.07, 0.07, 0.05), look)


SMALL: tuple[Build, ...] = (
    mug,
    mug,
    bottle,
    book,
    book,
    fruit,
    packet,
    packet,
    screen,
    keyboard,
    pot,
    desk_lamp,
)


def scatter(world: World, place: Place, width: float, depth: float, count: int) -> None:
    """Small things on a surface, on cells of a grid so that they keep apart."""
    rng = world.rng
    columns, rows = max(1, int(width / 0.26)), max(1, int(depth / 0.26))
    for cell in rng.permutation(columns * rows)[:count]:
        x = ((cell % columns + 0.5) / columns - 0.5) * width + rng.uniform(-0.04, 0.04)
        y = ((cell // columns + 0.5) / rows - 0.5) * depth + rng.uniform(-0.04, 0.04)
        SMALL[rng.integers(len(SMALL))](world, place.at(x, y, 0, rng.uniform(0, 360)))
