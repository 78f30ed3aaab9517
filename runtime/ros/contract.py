"""``contract.json`` as Python: what the node has, and what its parameters may be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from apdepth_deploy.errors import UsageError

from .anchors import parse_transform

PATH = Path(__file__).with_name("contract.json")
_TYPES: dict[str, type] = {"string": str, "integer": int, "double": float, "bool": bool}


@dataclasses.dataclass(frozen=True)
class ParameterRule:
    """One parameter. ``low``, ``high``: of numbers; ``choices``: of strings, () = any."""

    name: str
    type: str
    default: Any
    words: str
    read_only: bool
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    def checked(self, value: Any) -> Any:
        """The value, a whole number made floating-point where that is the type.

        Raises UsageError for another type, range or choice.
        """
        if self.type == "double" and type(value) is int:
            value = float(value)
        right: bool = type(value) is _TYPES[self.type]
        if not right:
            raise UsageError(f"parameter {self.name} is of type {self.type}, not {value!r}")
        if self.type in ("integer", "double") and not self.low <= value <= self.high:
            raise UsageError(
                f"parameter {self.name} is {self.low:g} to {self.high:g}, not {value:g}"
            )
        if self.choices and value not in self.choices:
            known = ", ".join(repr(choice) for choice in self.choices)
            raise UsageError(f"parameter {self.name} is one of {known}, not {value!r}")
        if self.name == "anchors_transform" and value:
            parse_transform(value)
        return value


@dataclasses.dataclass(frozen=True)
class TopicRule:
    """One topic. ``beside``: lies where this one lies, wherever it was remapped to; None = nowhere
    in particular."""

    name: str
    type: str
    direction: str
    reliability: str
    depth: int
    beside: str | None = None


def _parameter(told: dict[str, Any]) -> ParameterRule:
    plain = {key: told[key] for key in ("name", "type", "default", "words", "read_only")}
    choices = tuple(told.get("choices", ()))
    return ParameterRule(
        **plain, low=told.get("from", 0.0), high=told.get("to", 0.0), choices=choices
    )


def _topic(told: dict[str, Any]) -> TopicRule:
    return TopicRule(**{key: value for key, value in told.items() if key != "words"})


_TOLD = json.loads(PATH.read_text(encoding="utf-8"))
NODE: str = _TOLD["node"]
DIAGNOSTICS: tuple[str, ...] = tuple(_TOLD["diagnostics"])
PARAMETERS = {told["name"]: _parameter(told) for told in _TOLD["parameters"]}
TOPICS = {(told["direction"], told["name"]): _topic(told) for told in _TOLD["topics"]}
