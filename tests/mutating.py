"""A manifest changed at random, for the tests of Python's reader and of C's."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any


def mutate(manifest: Any, rng: random.Random, junk: Sequence[Any]) -> None:
    """One random change at a random depth."""
    while True:
        keys = list(manifest) if isinstance(manifest, dict) else list(range(len(manifest)))
        key = rng.choice(keys)
        child = manifest[key]
        if isinstance(child, (dict, list)) and child and rng.random() < 0.8:
            manifest = child
            continue
        break
    action = rng.randrange(4)
    if action == 0:
        del manifest[key]
    elif action == 1 and isinstance(manifest, dict):
        manifest[rng.choice(["x", "name", "../x", "size"])] = manifest.pop(key)
    elif action == 2 and isinstance(manifest, list):
        manifest.append(copy.deepcopy(child))
    else:
        manifest[key] = rng.choice(junk)
