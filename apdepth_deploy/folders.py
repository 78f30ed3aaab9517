"""Looking through folders, linked ones too; names in the order that people give them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(
    root: Path,
    unreadable: Callable[[OSError], None],
    passes_over: Callable[[str], bool] = lambda name: False,
) -> Iterator[Path]:
    """All that isn't a folder below ``root``, each folder once, whatever links lead there.

    Linked folders come last: what has a name of its own keeps it.

    Args:
        unreadable: called for a folder that can't be opened.
        passes_over: whether a folder of this name is not entered.
    """
    seen, waiting = set(), [root]
    while waiting:
        for folder, folders, names in os.walk(waiting.pop(0), onerror=unreadable):
            status = os.stat(folder)  # noqa: PTH116
            identity = status.st_dev, status.st_ino
            if identity in seen:
                folders.clear()
                continue
            seen.add(identity)
            folders[:] = [name for name in folders if not passes_over(name)]
            here = Path(folder)
            waiting += [here / name for name in sorted(folders) if (here / name).is_symlink()]
            yield from (here / name for name in names)


def natural(path: Path) -> list[tuple[int, str]]:
    """To sort by: names with their numbers by value, frame_9 before frame_10."""
    words = re.split(r"([0-9]+)", str(path))
    return [(int(word) if word.isdecimal() else -1, word) for word in words]
