"""Draws docs/images/rooms.svg from the imports in the source: run it after a change of rooms.

    python docs/draw_rooms.py

A room is a folder, or a module of the core. An arrow says who imports whom, on use too; those that
follow from others are left out. A test compares the picture with the source.
"""

from __future__ import annotations

import ast
import graphlib
import html
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CORE = "apdepth_deploy"
ROOMS = ("training", "export", "runtime")
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
#: Where everything is joined by name: an arrow from here to everybody says nothing.
JOINT = f"{CORE}.cli"


class Import(NamedTuple):
    target: str
    names: tuple[str, ...]
    level: int
    lazy: bool


def imports_of(tree: ast.AST, lazy: bool = False) -> Iterator[Import]:
    """Every import below ``tree``; ``lazy`` where importing the module doesn't run it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), 0, lazy)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.module or "", names, node.level, lazy)
        else:
            later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from imports_of(node, lazy or later or typing)


def sources() -> dict[str, str]:
    """{installed name: source} of every module."""
    found = {}
    for folder in (CORE, *ROOMS):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts if folder == CORE else (CORE, *parts)
            name = ".".join(part for part in parts if part != "__init__")
            found[name] = path.read_text(encoding="utf-8")
    return found


def room_of(module: str) -> str | None:
    """Which of the three rooms beside the core a module is in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == CORE and parts[1] in ROOMS else None


def is_package(module: str) -> bool:
    parts = module.split(".")[1:] if room_of(module) else module.split(".")
    return (ROOT.joinpath(*parts) / "__init__.py").is_file()


def absolute(item: Import, module: str) -> str:
    """The target's full name, for an import in ``module``."""
    if not item.level:
        return item.target
    parts = module.split(".") if is_package(module) else module.split(".")[:-1]
    base = parts[: len(parts) - item.level + 1]
    return ".".join([*base, item.target] if item.target else base)


def imported(tree: ast.AST, module: str, known: Set[str], lazy: bool = True) -> set[str]:
    """Which of the ``known`` modules a module imports; without ``lazy``, when it is imported."""
    found = set()
    for item in imports_of(tree):
        if lazy or not item.lazy:
            target = absolute(item, module)
            found |= {f"{target}.{name}" for name in item.names} & known or {target} & known
    return found


def place_of(module: str) -> str:
    """The folder that a module is in; in the core, the module itself or its folder."""
    if is_package(module) and module != CORE:
        return module
    folder = module.rpartition(".")[0]
    return module if folder in ("", CORE) else folder


def arrows() -> dict[str, set[str]]:
    """{room: the rooms that it imports}."""
    modules = sources()
    graph: dict[str, set[str]] = {place_of(module): set() for module in modules}
    for module, source in modules.items():
        if module not in (CORE, JOINT):
            found = imported(ast.parse(source), module, modules.keys()) - {CORE}
            graph[place_of(module)] |= set(map(place_of, found)) - {place_of(module)}
    return graph


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Each room's floor: above all that it imports. CycleError where rooms import in a circle."""
    found: dict[str, int] = {}
    for room in graphlib.TopologicalSorter(graph).static_order():
        found[room] = max((found[below] + 1 for below in graph[room]), default=0)
    return found


def direct(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that no path of others stands for."""
    below: dict[str, set[str]] = {}
    for room in graphlib.TopologicalSorter(graph).static_order():
        below[room] = graph[room].union(*(below[other] for other in graph[room]), set())
    return {
        room: {one for one in near if not any(one in below[other] for other in near)}
        for room, near in graph.items()
    }


# --- the picture ----------------------------------------------------------------------------------

WIDTH, BOX, ROW = 1280, 26, 64
COLOURS = {None: "#dfe7f3", "runtime": "#d8efdf", "export": "#fbe6cf", "training": "#efdcf2"}


def draw(graph: dict[str, set[str]]) -> str:
    """The rooms as SVG, the highest floor on top."""
    level = floors(graph)
    shown = [room for room in graph if room not in (CORE, JOINT, f"{CORE}.__main__")]
    top = max(level[room] for room in shown)
    places: dict[str, tuple[float, float, float]] = {}
    for floor in range(top + 1):
        row = sorted((r for r in shown if level[r] == floor), key=lambda r: (room_of(r) or "", r))
        widths = [9 + 6.6 * len(label(room)) for room in row]
        gap = (WIDTH - sum(widths)) / (len(row) + 1)
        x = gap
        for room, width in zip(row, widths, strict=True):
            places[room] = (x, (top - floor) * ROW + 10, width)
            x += width + gap
    lines = [
        line(places[room], places[below])
        for room, near in sorted(direct(graph).items())
        for below in sorted(near)
        if room in places and below in places
    ]
    boxes = [box(room, *place) for room, place in places.items()]
    height = (top + 1) * ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    return "\n".join([head, "<title>Rooms and who imports whom</title>", *lines, *boxes, "</svg>"])


def label(room: str) -> str:
    return room.removeprefix(f"{CORE}.").replace(".", "/")


def line(upper: tuple[float, float, float], lower: tuple[float, float, float]) -> str:
    x1, y1 = upper[0] + upper[2] / 2, upper[1] + BOX
    x2, y2 = lower[0] + lower[2] / 2, lower[1]
    return f'<path d="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}" stroke="#8a94a6" stroke-width="1"/>'


def box(room: str, x: float, y: float, width: float) -> str:
    fill = COLOURS[room_of(room)]
    shape = (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX}" rx="5" fill="{fill}"/>'
    )
    style = 'font-family="monospace" font-size="11" text-anchor="middle" fill="#1d2433"'
    text = (
        f'<text x="{x + width / 2:.0f}" y="{y + 17:.0f}" {style}>{html.escape(label(room))}</text>'
    )
    return shape + text


if __name__ == "__main__":
    PICTURE.write_text(draw(arrows()) + "\n", encoding="utf-8")
