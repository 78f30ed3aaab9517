"""Protocol buffers' text format, as far as a model configuration needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_INDENT = "  "


class Word(str):
    """A name of an enumeration: written without quotes."""


def to_text(message: Mapping[str, Any]) -> str:
    """{field: value} -> text: a mapping is a message in a message, a list repeats its field."""
    return "\n".join(_lines(message)) + "\n"


def _lines(message: Mapping[str, Any]) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, list) and not any(isinstance(item, Mapping) for item in value):
            yield f"{name}: [{', '.join(map(_scalar, value))}]"
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                yield from _block(name, item)
            else:
                yield f"{name}: {_scalar(item)}"


def _block(name: str, message: Mapping[str, Any]) -> Iterator[str]:
    if not message:
        yield f"{name} {{ }}"
        return
    yield f"{name} {{"
    yield from (_INDENT + line for line in _lines(message))
    yield "}"


def _scalar(value: Any) -> str:
    if isinstance(value, Word):
        return str(value)
    return json.dumps(value)  # strings, numbers, true and false are written alike in both
