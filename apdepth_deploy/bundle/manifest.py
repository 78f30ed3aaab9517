"""What ``manifest.json`` must look like: every field that a reader uses, checked before its use.

Knows nothing about files: ``bundle`` compares the manifest with what lies beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from apdepth_deploy.errors import BundleError
from apdepth_deploy.machine.tensorrt import TARGETS

SCHEMA_VERSION = 1
#: The most values in the frames of a call: what an engine's int counts to.
MAX_VALUES = 2**31 - 1
PRECISIONS = ("fp32", "fp16", "bf16")
_MAX_DEPTH = 64

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 4096


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    """So far from a float's largest that sums stay finite."""
    return type(value) in (int, float) and abs(value) <= 1e300


def _is_amount(value: Any) -> bool:
    return _is_number(value) and bool(value >= 0)


def _is_extent(value: Any) -> bool:
    """A size, or [min, opt, max]."""
    sizes = value if isinstance(value, list) and len(value) == 3 else [value] * 3
    return all(map(_is_count, sizes)) and 1 <= sizes[0] <= sizes[1] <= sizes[2] <= MAX_VALUES


def _is_side(value: Any) -> bool:
    return type(value) is int and _is_extent(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _one_of(*choices: str) -> Check:
    return lambda value: value in choices


def _all_values(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _all_items(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


_MANIFEST: dict[str, Check] = {
    "created": _is_text,
    "tools": _all_values(_is_text),
    "source": _is_object,
    "depth": _is_text,
    "license": _optional(_all_values(_optional(_is_text))),  # an earlier bundle has none
    "spec": _is_object,
    "graphs": _is_list,
    "engines": _is_list,
    "parity": _is_list,
    "files": _is_object,
}
_SOURCE: dict[str, Check] = {
    "kind": _one_of("random", "checkpoint", "model"),
    "name": _is_text,
    "seed": _optional(_is_count),
    **dict.fromkeys(("prior", "conventions", "unet", "revision"), _optional(_is_text)),
}
_GRAPH: dict[str, Check] = {
    **dict.fromkeys(("name", "file", "data"), _is_text),
    "precision": _one_of(*PRECISIONS),
    **dict.fromkeys(("opset", "parameters", "nodes"), _is_count),
    **dict.fromkeys(("inputs", "outputs"), _is_list),
    **dict.fromkeys(("batch", "height", "width"), _is_extent),
    "gflop": _all_values(_is_amount),
}
_FOLDING: dict[str, Check] = {
    "applied": _all_items(_is_text),
    "skipped": _all_values(_is_text),
    **dict.fromkeys(("before", "after"), _is_object),
}
_SIZES: dict[str, Check] = {"parameters": _all_values(_is_count), "gflop": _all_values(_is_amount)}
_ENGINE: dict[str, Check] = {
    **dict.fromkeys(("graph", "version", "platform", "file"), _is_text),
    "precision": _one_of(*PRECISIONS),
    "target": _one_of(*TARGETS),
    "compute_capabilities": _all_items(_is_text),
    **dict.fromkeys(("batch", "height", "width"), _is_extent),
    "weights": _all_values(_is_count),
    **dict.fromkeys(("weights_bytes", "activation_bytes", "layers"), _is_count),
    "seconds": _is_amount,
    "verified": _optional(_is_flag),  # an earlier bundle has neither
    "verified_on": _optional(_all_values(_is_text)),
}
_GOLDEN: dict[str, Check] = {"frames": _is_list, "thresholds": _is_object}
_FRAME: dict[str, Check] = {
    **dict.fromkeys(("name", "file"), _is_text),
    **dict.fromkeys(("height", "width"), _is_side),
    "tensors": _is_object,
}
_RESULT: dict[str, Check] = {"shape": _all_items(_is_side), "scale": _is_amount}
_THRESHOLD: dict[str, Check] = {"max_abs": _optional(_is_amount), "mean_abs": _is_amount}
_TENSOR: dict[str, Check] = {"name": _is_text, "dtype": _is_text, "shape": _all_items(_is_extent)}
_FILE: dict[str, Check] = {"sha256": _is_text, "size": _is_count}
_PARITY: dict[str, Check] = {
    **dict.fromkeys(("graph", "precision", "backend", "frame", "stage"), _is_text),
    **dict.fromkeys(("max_abs", "mean_abs", "scale"), _optional(_is_amount)),
    "psnr": _optional(_is_number),
    "bad": _is_count,
    "passed": _is_flag,
}


def parse_manifest(text: str) -> Any:
    """The JSON of a manifest: strict, each name once, so that every reader reads the same.

    Raises ValueError for anything else; RecursionError where it is nested beyond all bounds.
    """
    data = json.loads(text, object_pairs_hook=_each_once)
    json.dumps(data, ensure_ascii=False, allow_nan=False).encode()  # NaN, Inf, half a character
    level = [data]
    for _ in range(_MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
    return data


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has two values of one name")
    return found


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def check_manifest(manifest: Any) -> None:
    """Raises BundleError naming the rule that a manifest (parsed JSON) breaks; reads no file."""
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION:
        raise BundleError(
            f"it has schema_version {str(version)[:60]!r} and this program reads {SCHEMA_VERSION}. "
            "Export the bundle again, or install the version that wrote it"
        )
    _require(manifest, _MANIFEST, "the manifest")
    _require(manifest["source"], _SOURCE, "source")
    if manifest.get("folding") is not None:  # an earlier bundle has none
        _check_folding(manifest["folding"])
    for name, entry in manifest["files"].items():
        _require_inside(name)
        _require(entry, _FILE, f"files[{name!r}]")
    for number, graph in enumerate(manifest["graphs"]):
        _check_graph(graph, f"graphs[{number}]", manifest["files"])
    for number, engine in enumerate(manifest["engines"]):
        _check_engine(engine, f"engines[{number}]", manifest)
    if manifest.get("golden") is not None:  # an earlier bundle has none, nor has --no-verify
        _check_golden(manifest["golden"], manifest["files"])
    for number, record in enumerate(manifest["parity"]):
        _require(record, _PARITY, f"parity[{number}]")
    _check_chains(manifest["graphs"])


def _require(data: Any, fields: Mapping[str, Check], where: str) -> None:
    """Every field there and well-formed; others are a later version's business."""
    if not isinstance(data, dict):
        raise BundleError(f"{where} is no JSON object. Export the bundle again")
    for name, check in fields.items():
        if not check(data.get(name)):
            found = f"is {str(data[name])[:60]!r}" if name in data else "is missing"
            raise BundleError(f"{name!r} of {where} {found}. Export the bundle again")


def _require_inside(name: str) -> None:
    """A plain relative path that stays in the bundle."""
    path = PurePosixPath(name)
    strange = "\\" in name or "\0" in name
    if path.is_absolute() or ".." in path.parts or strange or not path.parts:
        raise BundleError(f"it names {name!r}, a path that leaves the bundle")


def frame_values(batch: int, height: int, width: int) -> int:
    """Values in RGB frames of that size."""
    return 3 * batch * height * width


def _require_countable(entry: Mapping[str, Any], where: str) -> None:
    sizes = [entry[axis] for axis in ("batch", "height", "width")]
    largest = [size[2] if isinstance(size, list) else size for size in sizes]
    if frame_values(*largest) > MAX_VALUES:
        raise BundleError(
            f"{where} takes {'x'.join(map(str, largest))} frames: more than {MAX_VALUES} values. "
            "Export the bundle again"
        )


def _check_folding(folding: Any) -> None:
    _require(folding, _FOLDING, "folding")
    for when in ("before", "after"):
        _require(folding[when], _SIZES, f"folding.{when}")


def _check_graph(graph: Any, where: str, files: Mapping[str, Any]) -> None:
    _require(graph, _GRAPH, where)
    _require_countable(graph, where)
    for tensor in graph["inputs"] + graph["outputs"]:
        _require(tensor, _TENSOR, f"a tensor of {where}")
    for name in (graph["file"], graph["data"]):
        if name not in files:
            raise BundleError(f"it has no hash for {name}. Export the bundle again")


def _check_engine(engine: Any, where: str, manifest: Mapping[str, Any]) -> None:
    _require(engine, _ENGINE, where)
    _require_countable(engine, where)
    if engine["file"] not in manifest["files"]:
        raise BundleError(f"it has no hash for {engine['file']}. Build the engine again")
    built_from = (engine["graph"], engine["precision"])
    if built_from not in {(graph["name"], graph["precision"]) for graph in manifest["graphs"]}:
        raise BundleError(f"{where} was built from {'.'.join(built_from)}, which is not there")


def _check_golden(golden: Any, files: Mapping[str, Any]) -> None:
    _require(golden, _GOLDEN, "golden")
    for precision, threshold in golden["thresholds"].items():
        _require(threshold, _THRESHOLD, f"golden.thresholds[{precision!r}]")
    for number, frame in enumerate(golden["frames"]):
        where = f"golden.frames[{number}]"
        _require(frame, _FRAME, where)
        _require_countable({**frame, "batch": 1}, where)
        for name, result in frame["tensors"].items():
            _require(result, _RESULT, f"{where}.tensors[{name!r}]")
        if frame["file"] not in files:
            raise BundleError(f"it has no hash for {frame['file']}. Export the bundle again")


def _check_chains(graphs: list[dict[str, Any]]) -> None:
    """Each way from frame to depth has every graph it needs, in order and once."""
    known: dict[tuple[bool, str], set[str]] = {}
    for graph in graphs:
        made = known.setdefault((graph["name"] == "fused", graph["precision"]), {"image"})
        inputs, outputs = ({tensor["name"] for tensor in graph[k]} for k in ("inputs", "outputs"))
        if not inputs <= made or outputs & made:
            raise BundleError(
                f"graph {graph['name']}.{graph['precision']} is out of place: it takes "
                f"{sorted(inputs)}, and there is {sorted(made)}. Export the bundle again"
            )
        made |= outputs
    for (fused, precision), made in known.items():
        if "depth" not in made:
            kind = "fused" if fused else "staged"
            raise BundleError(
                f"its {kind} {precision} graphs give no depth. Export the bundle again"
            )


def finite(data: Any) -> Any:
    """The same JSON data with null for infinities and NaN, which JSON has no words for."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
