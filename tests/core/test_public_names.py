"""What users may build on, as one text that is read when it changes: docs/public_names.txt.

python tests/core/test_public_names.py      # write it anew; then read the difference
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from apdepth_deploy.bundle import manifest
from apdepth_deploy.cli import VERBS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "public_names.txt"
#: What a program may import; modules without ``__all__`` show what they define.
MODULES = (
    "apdepth_deploy",
    "apdepth_deploy.errors",
    "apdepth_deploy.export",
    "apdepth_deploy.model",
    "apdepth_deploy.runtime",
    "apdepth_deploy.training",
    "apdepth_deploy.training.losses",
    "apdepth_deploy.training.metrics",
)


def public_names() -> str:
    """The whole page."""
    parts = [
        ("Python: what a program may import", python_names()),
        ("Command line: verbs, arguments and options", command_line()),
        *(
            (f"C: include/{name}", c_names((ROOT / "runtime/cpp/include" / name).read_text()))
            for name in ("apdepth.h", "apdepth_metric.h")
        ),
        ("Bundle: fields of manifest.json that readers check", manifest_fields()),
    ]
    return "\n".join(
        f"== {title}\n" + "".join(f"{line}\n" for line in lines) for title, lines in parts
    )


def python_names() -> Iterator[str]:
    for name in MODULES:
        module = importlib.import_module(name)
        yield f"{name}"
        for public in sorted(getattr(module, "__all__", None) or own_names(module)):
            yield from described(public, getattr(module, public))


def own_names(module: Any) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def described(name: str, value: Any) -> Iterator[str]:
    """A name with its parameters; a class with its public methods."""
    if inspect.isclass(value) and issubclass(value, Exception):
        yield f"    {name}: exit code {value.exit_code}"
    elif inspect.isclass(value):
        yield f"    {name}"
        for method, function in vars(value).items():
            function = getattr(function, "__func__", function)
            if inspect.isfunction(function) and not method.startswith("_"):
                yield f"        {method}{parameters(function)}"
            elif isinstance(function, property) and not method.startswith("_"):
                yield f"        {method}"
    else:
        yield f"    {name}{parameters(value) if callable(value) else ''}"


def parameters(function: Any) -> str:
    """(a, *, b=1) without the types, which a checker guards."""
    signature = inspect.signature(function)
    bare = [
        p.replace(annotation=p.empty, default=... if callable(p.default) else p.default)
        if p.default is not p.empty
        else p.replace(annotation=p.empty)
        for p in signature.parameters.values()
    ]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def command_line() -> Iterator[str]:
    for verb, (module, _) in VERBS.items():
        command = typer.main.get_command(importlib.import_module(module).app)
        yield from commands(verb, command)


def commands(words: str, command: Any) -> Iterator[str]:
    for name, sub in getattr(command, "commands", {}).items():
        yield from commands(f"{words} {name}", sub)
    if not getattr(command, "commands", None):
        yield words
        for parameter in command.params:
            names = [*parameter.opts, *parameter.secondary_opts]
            if "--help" not in names:
                argument = parameter.param_type_name == "argument"
                yield f"    {parameter.name.upper() if argument else ' '.join(names)}"


def c_names(header: str) -> Iterator[str]:
    """Functions, enumerators, and the structs' fields in their order, which is the ABI."""
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    for match in re.finditer(r"typedef (?:enum|struct) \w+ \{(.*?)\} (\w+);", code, flags=re.S):
        yield match[2]
        yield from (
            f"    {' '.join(item.split())}"
            for item in re.split(r"[;,]\s*\n", match[1] + "\n")
            if item.strip()
        )
    for match in re.finditer(r"APDEPTH_(?:API|INLINE) ([^;{]*\))(?:;| \{)", code):
        yield " ".join(match[1].split())


def manifest_fields() -> Iterator[str]:
    yield f"schema_version {manifest.SCHEMA_VERSION}"
    for name, fields in sorted(vars(manifest).items()):
        if re.fullmatch(r"_[A-Z]+", name) and isinstance(fields, dict):
            yield f"{name[1:].lower()}: {', '.join(sorted(fields))}"


def test_no_public_name_comes_or_goes_unnoticed() -> None:
    found, reviewed = public_names().splitlines(), PAGE.read_text(encoding="utf-8").splitlines()
    changes = "\n".join(
        difflib.unified_diff(reviewed, found, "reviewed", "found", lineterm="", n=0)
    )
    assert found == reviewed, (
        f"{PAGE.name} is not what is public now: if that is meant, run this file\n{changes}"
    )


if __name__ == "__main__":
    PAGE.write_text(public_names(), encoding="utf-8")
