"""Random changes of a bundle: of its manifest, of its graph and of the bytes beside it."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

GRAPH, DATA = "onnx/fused.fp32.onnx", "onnx/fused.fp32.data"


# --- manifests -----------------------------------------------------------------------------------


JUNK: list[Any] = [
    *(None, True, False, "", "x", "../x", "/etc/hostname", "a\0b", "\ud800", "é" * 5000, [], {}),
    *(0, -1, 1, 2, 8, 64, 96, 104, 65528, 2**31 - 8, 2**31, 2**63, -(2**63), 10**40, 10**400),
    *(0.5, -1.0, 1e308, float("nan"), float("inf"), float("-inf"), [64, 64, 128], [1, 2, 3]),
    *("fp16", "uint8", "float32", "image", "depth", "fused", "prior", GRAPH, DATA, {"a": [1]}),
]


def change(manifest: Any, rng: random.Random) -> None:
    """One value anywhere: gone, renamed, twice, or something else."""
    places = list(containers(manifest))
    place = rng.choice(places)
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    key = rng.choice(keys)
    action = rng.randrange(6)
    if action == 0:
        del place[key]
    elif action == 1 and isinstance(place, dict):
        place[rng.choice(["x", "name", "../x", "size", "a\0b"])] = place.pop(key)
    elif action == 2 and isinstance(place, list):
        place.append(copy.deepcopy(place[key]))
    elif action == 3:
        place[key] = f"nested {rng.choice([2, 65, 500, 5000])}"
    else:
        place[key] = rng.choice(JUNK)


def containers(value: Any) -> Iterator[Any]:
    """All objects and lists with something in them, the outermost first."""
    if isinstance(value, (dict, list)) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


def changed_manifest(text: str, rng: random.Random) -> bytes:
    kind = rng.randrange(8)
    if kind == 0:  # bytes
        data = bytearray(text.encode())
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    if kind == 1:
        return text.encode()[: rng.randrange(len(text))]
    if kind == 2:  # a name twice
        lines = text.splitlines(keepends=True)
        number = rng.randrange(1, len(lines) - 1)
        return "".join([*lines[:number], lines[number], *lines[number:]]).encode()
    manifest = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        change(manifest, rng)
    text = json.dumps(manifest, indent=1)
    return re.sub(r'"nested (\d+)"', lambda n: "[" * int(n[1]) + "]" * int(n[1]), text).encode()


# --- graphs --------------------------------------------------------------------------------------


NUMBERS = (0, 1, 2, 3, 5, 7, 8, 48, 64, 96, 97, 255, 2**31 - 1, 2**31, 2**62, -1, -(2**63))
TYPES = tuple(range(24))  # more than onnx.TensorProto.DataType has
OPS = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Cast",
    "Max",
    "ReduceMean",
    "ReduceMax",
    "Transpose",
    "Nope",
)
LOCATIONS = (
    *("fused.fp32.data", "fused.fp32.onnx", "../manifest.json", "../onnx/fused.fp32.data"),
    *("../../secret", "/etc/hostname", "", ".", "no such file", "a\0b", "x" * 300),
)


def change_graph(model: onnx.ModelProto, rng: random.Random) -> None:
    """One field of the model, its tensors, nodes or constants."""
    graph = model.graph
    tensor = rng.choice([*graph.input, *graph.output]).type.tensor_type
    constant, node = rng.choice(graph.initializer), rng.choice(graph.node)
    entry = rng.choice([entry for tensor in graph.initializer for entry in tensor.external_data])
    names = sorted({name for node in graph.node for name in (*node.input, *node.output)})
    number = rng.choice(NUMBERS)

    def change_axis() -> None:
        axis = rng.choice(tensor.shape.dim)
        if rng.random() < 0.3:
            axis.dim_param = "N"
        else:
            axis.dim_value = number

    def change_external() -> None:
        entry.value = rng.choice(LOCATIONS) if entry.key == "location" else str(number)

    def change_constant() -> None:
        if constant.dims and rng.random() < 0.5:
            constant.dims[0] = number
        else:
            constant.dims.append(number)

    rng.choice(
        [
            change_axis,
            lambda: tensor.shape.dim.add(dim_value=number),
            lambda: tensor.shape.dim.pop(),
            lambda: setattr(tensor, "elem_type", rng.choice(TYPES)),
            change_external,
            lambda: setattr(entry, "key", rng.choice(["x", "location", "offset", "length"])),
            change_constant,
            lambda: setattr(constant, "data_type", rng.choice(TYPES)),
            lambda: setattr(constant, "data_location", rng.choice([0, 1])),
            lambda: setattr(node, "op_type", rng.choice(OPS)),
            lambda: setattr(node, "domain", rng.choice(["", "x", "com.microsoft"])),
            lambda: node.input.__setitem__(rng.randrange(len(node.input)), rng.choice(names)),
            lambda: node.output.__setitem__(0, rng.choice(names)),
            lambda: graph.node.remove(node),
            lambda: graph.initializer.remove(constant),
            lambda: graph.node.append(node),
            lambda: setattr(model.opset_import[0], "version", number % 40),
            lambda: setattr(model, "ir_version", number % 20),
        ]
    )()


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut off, or more of them."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 4])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    end = rng.choice([len(data), len(data), rng.randrange(len(data))])
    return bytes(changed[:end]) + rng.choice([b"", b"", b"\0" * 7])


def write_changed(folder: Path, rng: random.Random) -> None:
    kind = rng.randrange(6)
    if kind == 0:
        (folder / GRAPH).write_bytes(flipped((folder / GRAPH).read_bytes(), rng))
    elif kind == 1:
        (folder / DATA).write_bytes(flipped((folder / DATA).read_bytes(), rng))
    else:
        model = onnx.load(folder / GRAPH, load_external_data=False)
        for _ in range(rng.choice([1, 1, 2])):
            change_graph(model, rng)
        (folder / GRAPH).write_bytes(model.SerializeToString())
