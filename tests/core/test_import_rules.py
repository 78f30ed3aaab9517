"""The rooms and their doors (docs: CONTRIBUTING.md): who may import whom, read off the source."""

from __future__ import annotations

import ast
import graphlib
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from apdepth_deploy.cli import VERBS

ROOT = Path(__file__).parents[2]
DRAWN = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "draw_rooms.py")))
CORE, ROOMS = DRAWN.CORE, DRAWN.ROOMS
absolute, imports_of, room_of, sources = (
    DRAWN.absolute,
    DRAWN.imports_of,
    DRAWN.room_of,
    DRAWN.sources,
)
#: Where the core may reach into a room (its ``__init__`` too), and only when a function runs.
JOINTS = (f"{CORE}.verify", f"{CORE}.cli", f"{CORE}.commands")


def breaches(module: str, source: str) -> list[str]:
    """What a module's imports break, in words."""
    own, joint = room_of(module), module == CORE or module.startswith(JOINTS)
    found = []
    for item in imports_of(ast.parse(source)):
        target = absolute(item, module)
        rooms = {room_of(name) for name in (target, *(f"{target}.{n}" for n in item.names))}
        rooms -= {None}
        if target.split(".")[0] in ROOMS:
            found.append(f"{module}: {target} is not its installed name")
        elif item.level and (own is None or rooms != {own}):
            found.append(f"{module}: a relative import, but not inside of a room")
        elif own in rooms and not item.level:
            found.append(f"{module}: its own room by an absolute name")
        elif own and rooms - {own}:
            found.append(f"{module}: another room, {target}")
        elif own is None and rooms and not (item.lazy and joint):
            found.append(f"{module}: the core reaches into {target}")
    return found


def test_every_import_keeps_to_the_rules() -> None:
    modules = sources()
    assert {room_of(module) for module in modules} >= {None, "export", "runtime"}
    assert [line for module, source in modules.items() for line in breaches(module, source)] == []


def test_no_module_needs_itself() -> None:
    modules = sources()
    graph = {
        module: DRAWN.imported(ast.parse(source), module, modules.keys(), lazy=False)
        for module, source in modules.items()
    }
    assert graph[f"{CORE}.runtime.choice"] >= {f"{CORE}.runtime.engines.chain", f"{CORE}.bundle"}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_no_two_rooms_need_each_other() -> None:
    """On use, too: what is imported lies on a floor below."""
    graph = DRAWN.arrows()
    floors = DRAWN.floors(graph)  # CycleError names the rooms
    engines = f"{CORE}.runtime.engines"
    assert floors[f"{CORE}.errors"] < floors[f"{CORE}.checkpoint"] < floors[f"{CORE}.model"]
    assert floors[engines] < floors[f"{CORE}.runtime"] < floors[f"{CORE}.runtime.infer"]
    feeds = graph[f"{CORE}.runtime.feeds"]
    assert not any(room.startswith(f"{CORE}.runtime") for room in feeds), "feeds know no engine"


def test_the_picture_of_the_rooms_is_of_this_source() -> None:
    drawn = DRAWN.draw(DRAWN.arrows()) + "\n"
    assert DRAWN.PICTURE.read_text(encoding="utf-8") == drawn, "run python docs/draw_rooms.py"


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_users_of_the_package_take_the_installed_names(folder: str) -> None:
    """``export.x`` beside ``apdepth_deploy.export.x`` would be a second copy of every class."""
    for path in (ROOT / folder).rglob("*.py"):
        for item in imports_of(ast.parse(path.read_text())):
            assert item.level or item.target.split(".")[0] not in ROOMS, path


def test_every_verb_is_where_the_table_says() -> None:
    for verb, (module, _) in VERBS.items():
        assert module in sources(), verb


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("export.a", "from apdepth_deploy.runtime import load"),
        ("export.a", "def f():\n import apdepth_deploy.runtime.infer.folder"),
        ("export.a", "from apdepth_deploy.export.b import c"),
        ("export.a", "from apdepth_deploy import export"),
        ("export.a", "from ..runtime import load"),
        ("export.a", "import runtime"),
        ("bundle", "from .errors import BundleError"),
        ("bundle", "def f():\n from apdepth_deploy.export import x"),
        ("bundle", "if TYPE_CHECKING:\n from apdepth_deploy import runtime"),
        ("verify", "from apdepth_deploy.runtime import load"),
        ("verify", "try:\n from apdepth_deploy.runtime import load\nfinally: pass"),
        ("commands.a", "from apdepth_deploy.export import x"),
    ],
)
def test_each_rule_bites(module: str, source: str) -> None:
    assert len(breaches(f"{CORE}.{module}", source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("export.a", "from .b import c\nfrom . import d\nfrom apdepth_deploy.files import x"),
        ("runtime", "from .choice import load"),
        ("verify", "def f():\n from apdepth_deploy.runtime import load"),
        ("commands.a", "if TYPE_CHECKING:\n from apdepth_deploy.export import x"),
        ("bundle", "import exporter\nfrom apdepth_deploy.exports import x"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert breaches(f"{CORE}.{module}", source) == []
