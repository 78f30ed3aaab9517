"""The rooms and their doors (docs: CONTRIBUTING.md): who may import whom, read off the source."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from apdepth_deploy.cli import VERBS

ROOT = Path(__file__).parents[2]
CORE = "apdepth_deploy"
ROOMS = ("training", "export", "runtime")
#: Where the core may reach into a room (its ``__init__`` too), and only when a function runs.
JOINTS = (f"{CORE}.verify", f"{CORE}.cli", f"{CORE}.commands")


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


def room_of(module: str) -> str | None:
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


def sources() -> dict[str, str]:
    """{installed name: source} of every module."""
    found = {}
    for folder in (CORE, *ROOMS):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts if folder == CORE else (CORE, *parts)
            found[".".join(part for part in parts if part != "__init__")] = path.read_text()
    return found


def test_every_import_keeps_to_the_rules() -> None:
    modules = sources()
    assert {room_of(module) for module in modules} >= {None, "export", "runtime"}
    assert [line for module, source in modules.items() for line in breaches(module, source)] == []


def test_no_module_needs_itself() -> None:
    modules = sources()
    graph = {}
    for module, source in modules.items():
        needed = set()
        for item in imports_of(ast.parse(source)):
            target = absolute(item, module)
            below = {f"{target}.{name}" for name in item.names} & modules.keys()
            needed |= set() if item.lazy else below or {target} & modules.keys()
        graph[module] = needed
    assert graph[f"{CORE}.runtime.backends"] >= {f"{CORE}.runtime.chain", f"{CORE}.bundle"}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules


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
        ("runtime", "from .backends import load"),
        ("verify", "def f():\n from apdepth_deploy.runtime import load"),
        ("commands.a", "if TYPE_CHECKING:\n from apdepth_deploy.export import x"),
        ("bundle", "import exporter\nfrom apdepth_deploy.exports import x"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert breaches(f"{CORE}.{module}", source) == []
