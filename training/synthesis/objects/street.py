"""What stands out of doors."""

from __future__ import annotations

import numpy as np

from .looks import Build, surface, wood
from .room import crate, person
from .textures import colour, facade, mottled, poster, shade
from .world import Place, World


def car(world: World, place: Place) -> None:
    """A body, a cabin with dark glass, four wheels; y is the way it goes."""
    rng = world.rng
    length, width, height = rng.uniform(3.6, 5.0), rng.uniform(1.65, 1.95), rng.uniform(1.35, 1.9)
    body, glass = world.paint(), world.paint(np.full(3, 0.05))
    belt = rng.uniform(0.5, 0.6) * height
    world.box(place, (0, 0, (belt + 0.25) / 2), (width, length, belt - 0.25), body)
    cabin, shift = length * rng.uniform(0.45, 0.8), rng.uniform(-0.1, 0.05) * length
    world.box(place, (0, shift, (belt + height) / 2), (width * 0.9, cabin, height - belt), glass)
    world.box(place, (0, shift, height), (width * 0.88, cabin * 0.9, 0.06), body)
    for x in (-1, 1):
        for y in (-1, 1):
            wheel = (x * width * 0.43, y * length * 0.31, 0.32)
            outer = (wheel[0] + 0.12 * x, wheel[1], wheel[2])
            world.rod(place, wheel, outer, 0.32, world.paint(np.full(3, 0.04)))


def van(world: World, place: Place) -> None:
    """A tall box on wheels: van, lorry or bus."""
    rng = world.rng
    length, width, height = rng.uniform(5, 10), rng.uniform(1.9, 2.5), rng.uniform(2.1, 3.2)
    look = world.look() if rng.random() < 0.5 else world.paint()
    world.box(place, (0, 0, height / 2 + 0.3), (width, length, height), look)
    for x in (-1, 1):
        for y in (-0.32, 0.3):
            wheel = (x * width * 0.42, y * length, 0.45)
            outer = (x * width * 0.5, y * length, 0.45)
            world.rod(place, wheel, outer, 0.45, world.paint(np.full(3, 0.04)))


def tree(world: World, place: Place) -> None:
    """A trunk and a crown of balls, or a fir of stacked ones."""
    rng = world.rng
    height, trunk = rng.uniform(2.5, 9.0), rng.uniform(0.08, 0.3)
    world.rod(place, (0, 0, 0), (0, 0, height * 0.7), trunk, wood(world))
    green = np.array([0.2, 0.4, 0.1]) * rng.uniform(0.4, 1.5) + rng.uniform(0, 0.08, 3)
    looks = [world.look(shade(green, rng), mottled, 2.0) for _ in range(2)]
    for _ in range(rng.integers(8, 24)):
        at = rng.normal(0, 0.14 * height, 3) + np.array([0, 0, 0.75 * height])
        radii = rng.uniform(0.06, 0.16, 3) * height
        world.egg(place, at.tolist(), radii.tolist(), looks[rng.integers(2)])


def bush(world: World, place: Place) -> None:
    """A heap of green balls."""
    rng = world.rng
    look = world.look(np.array([0.2, 0.4, 0.12]) * rng.uniform(0.5, 1.5), mottled, 2.0)
    size = rng.uniform(0.3, 1.0)
    for _ in range(rng.integers(4, 12)):
        at = np.abs(rng.normal(0, size / 2, 3)) * (rng.choice([-1, 1]), rng.choice([-1, 1]), 1)
        world.ball(place, at.tolist(), (rng.uniform(0.3, 0.8) * size), look)


def post(world: World, place: Place) -> None:
    """A street lamp, a sign or a bollard."""
    rng = world.rng
    height, look = rng.choice([1.0, 2.6, 5.5]) * rng.uniform(0.8, 1.2), world.paint()
    world.rod(place, (0, 0, 0), (0, 0, height), rng.uniform(0.03, 0.1), look)
    if height > 4:
        world.rod(place, (0, 0, height), (0, 1.2, height + 0.2), 0.05, look)
        world.box(place, (0, 1.3, height + 0.2), (0.25, 0.6, 0.12), look)
    elif height > 1.5:
        size = rng.uniform(0.3, 0.8)
        world.box(place, (0, 0.05, height), (size, 0.03, size), world.look(colour(rng, 2), poster))


def bin_(world: World, place: Place) -> None:
    """A dustbin, a mailbox or an electricity box."""
    size = world.rng.uniform((0.35, 0.35, 0.7), (1.2, 0.6, 1.5))
    world.box(place, (0, 0, size[2] / 2), size.tolist(), world.paint())


def bench(world: World, place: Place) -> None:
    """A seat with a back."""
    look = wood(world)
    world.box(place, (0, 0, 0.45), (1.6, 0.45, 0.06), look)
    world.box(place, (0, -0.22, 0.75), (1.6, 0.05, 0.35), look)
    for x in (-0.65, 0.65):
        world.box(place, (x, 0, 0.22), (0.06, 0.4, 0.44), look)


def fence(world: World, place: Place) -> None:
    """Some metres of posts and rails, or of a low wall; along y."""
    rng = world.rng
    length, height, look = rng.uniform(3, 10), rng.uniform(0.6, 1.8), surface(world)
    if rng.random() < 0.4:
        world.box(place, (0, 0, height / 2), (0.2, length, height), world.look())
        return
    for y in np.arange(-length / 2, length / 2, rng.uniform(0.3, 1.5)):
        world.box(place, (0, y, height / 2), (0.07, 0.07, height), look)
    for z in (0.35, 0.9):
        world.box(place, (0, 0, z * height), (0.04, length, 0.08), look)


def house(world: World, place: Place, width: float, depth: float, height: float) -> None:
    """A block with windows, its front towards y; now and then with balconies or a roof."""
    rng = world.rng
    look = world.look(colour(rng, 0.6), facade)
    world.box(place, (0, -depth / 2, height / 2), (width, depth, height), look)
    world.box(place, (0, 0.02, 1.1), (1.0, 0.08, 2.2), surface(world))
    if rng.random() < 0.4:
        for z in np.arange(3.0, height, 3.0):
            for x in (-0.25, 0.25):
                at = (x * width, 0.5, z)
                world.box(place, at, (0.22 * width, 1.0, 0.9), world.paint())
    if rng.random() < 0.5:
        world.box(
            place, (0, -depth / 2, height + 0.2), (width * 1.05, depth * 1.1, 0.4), surface(world)
        )


PAVEMENT: tuple[Build, ...] = (person, person, tree, post, post, bin_, bench, bush, crate)
GARDEN: tuple[Build, ...] = (tree, tree, bush, bush, person, fence, bench, crate, car, post)
