"""Things that stand about, each built of a few boxes, rods and balls around its place.

``y`` is an object's front. Every function draws its own proportions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..textures import colour, facade, mottled, planks, poster, shade, stripes
from ..world import Look, Place, World

Build = Callable[[World, Place], None]


def wood(world: World) -> Look:
    """A wooden look, from pale to dark."""
    tone = np.array([0.75, 0.5, 0.3]) * world.rng.uniform(0.3, 1.2) + world.rng.uniform(0, 0.1, 3)
    return world.look(np.clip(tone, 0, 1), planks)


def surface(world: World) -> Look:
    """Furniture's look: wood, paint or a pattern."""
    kind = world.rng.random()
    return wood(world) if kind < 0.4 else world.paint() if kind < 0.75 else world.look()


def cloth(world: World) -> Look:
    """Upholstery."""
    cover = (mottled, mottled, stripes)[world.rng.integers(3)]
    return world.look(colour(world.rng), cover, repeat=world.rng.uniform(1, 4))


# --- rooms ----------------------------------------------------------------------------------------


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


# --- on a table -----------------------------------------------------------------------------------


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


# --- out of doors ---------------------------------------------------------------------------------


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
