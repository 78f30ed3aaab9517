"""Run the tests that a change can reach, nearest first, for a while: ``make check``.

A change is what git says differs from HEAD; where nothing does, the last commit. A test is reached
where its file, or a module that it imports by whatever steps, has changed. Where a change touches
something else that tests read, such as C++, the tests that mirror its folder run.
"""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECONDS = 30.0
ROOMS = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))


def changed_files() -> set[str]:
    """Paths below the root."""
    different = _git("diff", "--name-only", "HEAD") | _git("ls-files", "-o", "--exclude-standard")
    return different or _git("diff", "--name-only", "HEAD~1", "HEAD")


def _git(*words: str) -> set[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def distances(changed: set[str], modules: dict[str, str]) -> dict[str, int]:
    """{module: steps of import from a changed module to it}, for those that can be reached."""
    users: dict[str, set[str]] = {module: set() for module in modules}
    for module, source in modules.items():
        for target in imported(source, module, modules):
            users[target].add(module)
    found = {module: 0 for module in modules if path_of(module) in changed}
    last = list(found)
    while last:
        near = {user for module in last for user in users[module]} - found.keys()
        found |= dict.fromkeys(near, found[last[0]] + 1)
        last = list(near)
    return found


def imported(source: str, module: str, modules: Iterable[str]) -> set[str]:
    """The modules of ours that a source imports, or names in a text (the table of verbs)."""
    known, tree = set(modules), ast.parse(source)
    named = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & known
    return named | ROOMS["imported"](tree, module, known)


def path_of(module: str) -> str:
    """A module's file, below the root."""
    parts = module.split(".")[1:] if ROOMS["room_of"](module) else module.split(".")
    return "/".join(parts) + ("/__init__.py" if ROOMS["is_package"](module) else ".py")


def reached_tests(changed: set[str]) -> list[str]:
    """Test files, nearest first."""
    modules = ROOMS["sources"]()
    steps = distances(changed, modules)
    folders = {Path(name).parent for name in changed if not name.endswith(".py")}
    near: dict[str, int] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        own = path.relative_to(ROOT)
        mirrored = any(Path("tests", *folder.parts[:2]) in own.parents for folder in folders)
        reached = imported(path.read_text(encoding="utf-8"), "tests", modules) & steps.keys()
        if str(own) in changed or mirrored:
            near[str(own)] = -1
        elif reached:
            near[str(own)] = min(steps[module] for module in reached)
    return sorted(near, key=lambda name: (near[name], name))


class Budget:
    """A plugin that skips what comes after some seconds."""

    def __init__(self) -> None:
        self.end = time.monotonic() + SECONDS

    def pytest_runtest_setup(self) -> None:
        if time.monotonic() > self.end:
            pytest.skip(f"make check runs tests for {SECONDS:.0f} seconds; make test runs them all")


def main() -> int:
    files = reached_tests(changed_files())
    words = ["-q", "-m", "not full and not slow", *files]
    return pytest.main(words, plugins=[Budget()]) if files else 0


if __name__ == "__main__":
    sys.exit(main())
