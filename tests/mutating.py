"""Bundles changed so that something must notice: a manifest at random, a weight on purpose."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from apdepth_deploy.bundle import file_entry


def mutate(manifest: Any, rng: random.Random, junk: Sequence[Any]) -> None:
    """One random change at a random depth."""
    while True:
        keys = list(manifest) if isinstance(manifest, dict) else list(range(len(manifest)))
        key = rng.choice(keys)
        child = manifest[key]
        if isinstance(child, (dict, list)) and child and rng.random() < 0.8:
            manifest = child
            continue
        break
    action = rng.randrange(4)
    if action == 0:
        del manifest[key]
    elif action == 1 and isinstance(manifest, dict):
        manifest[rng.choice(["x", "name", "../x", "size"])] = manifest.pop(key)
    elif action == 2 and isinstance(manifest, list):
        manifest.append(copy.deepcopy(child))
    else:
        manifest[key] = rng.choice(junk)


def tamper(bundle: Path, name: str, weight: str | None, value: float) -> None:
    """Set one value of a graph's weight (None: of its first) and make the manifest's hash fit."""
    _rewrite(bundle, name, weight, lambda values: np.append(values.dtype.type(value), values[1:]))


def scale(bundle: Path, name: str, weight: str, factor: float) -> None:
    """Multiply all values of a graph's weight, and make the manifest's hash fit."""
    _rewrite(bundle, name, weight, lambda values: (values * factor).astype(values.dtype))


def _rewrite(bundle: Path, name: str, weight: str | None, change: Callable[[Any], Any]) -> None:
    model = onnx.load(bundle / f"onnx/{name}.onnx", load_external_data=False)
    tensor = next(
        t for t in model.graph.initializer if t.external_data and weight in (None, t.name)
    )
    where = {entry.key: entry.value for entry in tensor.external_data}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    path = bundle / f"onnx/{name}.data"
    with path.open("r+b") as file:
        file.seek(int(where["offset"]))
        values = np.frombuffer(file.read(int(where["length"])), dtype)
        file.seek(int(where["offset"]))
        file.write(change(values).tobytes())
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][f"onnx/{name}.data"] = file_entry(path)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
