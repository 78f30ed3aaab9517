"""Where a graph's weights lie, read from its ONNX file without onnx.

What is compared with the manifest has to be what an engine reads: engines follow any path, and
OpenVINO reads past the end of what is cut short. Knows protobuf's wire format
(https://protobuf.dev/programming-guides/encoding) and the numbers of onnx.proto3's fields.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apdepth_deploy.errors import BundleError

_GRAPH, _OPSET_IMPORT = 7, 8
#: Message -> number of a field -> message in it: every way from a model to a tensor.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {_GRAPH: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
#: TensorProto.DataType -> bytes of a value, for what graphs hold in files.
_ITEM_SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}


def check_weights(graph: Path, data: Path) -> None:
    """Raises BundleError unless a graph is a whole message, and its weights are ``data``'s bytes.

    They may lie in the graph itself, or in ``data``, each tensor's to the last byte.
    """
    size = data.stat().st_size
    try:
        model = graph.read_bytes()
        numbers = Counter(number for number, _ in _fields(model))
        if numbers[_GRAPH] != 1 or not numbers[_OPSET_IMPORT]:
            raise ValueError("another message")
        for tensor in _tensors("model", model):
            fault = _fault(tensor, data.name, size)
            if fault:
                raise BundleError(f"{graph} has weights {fault}. Export the bundle again")
    except (ValueError, TypeError, AttributeError) as error:  # a field of another kind
        raise BundleError(f"{graph} is no whole ONNX graph. Export the bundle again") from error


def _fault(tensor: bytes, name: str, size: int) -> str:
    """What is wrong with a tensor's place in the file, or ""."""
    dims: list[int] = []
    kind, place = 0, {}
    for number, value in _fields(tensor):
        if number == 1:
            dims += [value] if isinstance(value, int) else _varints(value)
        elif number == 2:
            kind = value
        elif number == 13:
            entry = dict(_fields(value))
            place[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
    if not place:
        return ""
    if place.get("location") != name:
        return f"in {place.get('location')!r:.60}, not in {name}"
    needed = math.prod(dims) * _ITEM_SIZES.get(kind, 0)
    start, length = int(place.get("offset", 0)), int(place.get("length", needed))
    if kind in _ITEM_SIZES and length == needed and 0 <= start <= start + length <= size:
        return ""
    return f"at {start} to {start + length} of {name}: it has {size} bytes, and they are {needed}"


def _tensors(kind: str, message: bytes) -> Iterator[bytes]:
    """Every tensor with data elsewhere."""
    for number, value in _fields(message):
        inner = _INSIDE[kind].get(number)
        if inner is None or b"location" not in value:
            continue
        if inner == "tensor":
            yield value
        else:
            yield from _tensors(inner, value)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: a number, or bytes. Raises ValueError where one is cut off."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind, size = key & 7, 0
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(message):
            raise ValueError("cut off")
        yield key >> 3, message[at : at + size]
        at += size


def _varints(packed: bytes) -> list[int]:
    at, found = 0, []
    while at < len(packed):
        value, at = _varint(packed, at)
        found.append(value)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """(number, where the next thing starts)."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
