"""Looks that several kinds of things share, and what builds a thing.

``y`` is an object's front. Every function draws its own proportions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .textures import colour, mottled, planks, stripes
from .world import Look, Place, World

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
