"""Bundles with anything changed in them: an error of ours, or the depth of what lies there.

APDEPTH_FUZZ=2000 tries so many of each kind instead of the usual few.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx.external_data_helper import set_external_data
from onnx.reference import ReferenceEvaluator

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle, file_entry
from apdepth_deploy.cli import main
from apdepth_deploy.errors import ApDepthError, BundleError

CASES = int(os.environ.get("APDEPTH_FUZZ", "50"))
GRAPH, DATA = "onnx/fused.fp32.onnx", "onnx/fused.fp32.data"
SIZE = (64, 96)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def whole(mean_bundle: Callable[..., Path]) -> Path:
    """Depth is the mean of red, green and blue; two of its constants lie in the data file."""
    folder = mean_bundle(1, *SIZE)
    model = onnx.load(folder / GRAPH)
    data = b""
    for tensor in model.graph.initializer:
        raw = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
        tensor.CopyFrom(raw)
        if tensor.name != "axis":  # ONNX Runtime wants to know the shapes before it reads data
            place = {"offset": len(data), "length": len(raw.raw_data)}
            set_external_data(tensor, Path(DATA).name, **place)
            data += raw.raw_data
            tensor.ClearField("raw_data")
    (folder / GRAPH).write_bytes(model.SerializeToString())
    (folder / DATA).write_bytes(data)
    refresh(folder)
    return folder


@pytest.fixture(scope="module", params=["mean", "micro"])
def original(request: pytest.FixtureRequest) -> Original:
    if request.param == "mean":
        return Original(request.getfixturevalue("whole"), ("onnxruntime", "openvino"), CASES)
    return Original(request.getfixturevalue("micro_bundle"), ("onnxruntime",), CASES // 10)


@dataclasses.dataclass(frozen=True)
class Original:
    """What is changed, what opens it, and how often."""

    folder: Path
    backends: tuple[str, ...]
    cases: int

    def try_changes(
        self, place: Path, change: Callable[[Path, random.Random], None]
    ) -> Callable[[Callable[[Path], None]], None]:
        """Calls the decorated function with ``cases`` changed copies, one after the other."""

        def decorate(look: Callable[[Path], None]) -> None:
            numbers = itertools.count()

            @settings(
                max_examples=self.cases,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(rng=st.randoms(use_true_random=False))
            def run(rng: random.Random) -> None:
                folder = place / str(next(numbers))  # OpenVINO keeps what it compiled by the path
                shutil.copytree(self.folder, folder)
                change(folder, rng)
                look(folder)
                shutil.rmtree(folder)

            run()

        return decorate


def refresh(folder: Path) -> None:
    """The manifest's hashes and sizes, as of a bundle that was made like this."""
    bundle = Bundle(folder, json.loads((folder / "manifest.json").read_text()))
    for name in (GRAPH, DATA):
        bundle.manifest["files"][name] = file_entry(folder / name)
    bundle.write_manifest()


def depth_of(folder: Path, picture: np.ndarray, backend: str, **options: Any) -> np.ndarray | None:
    """None where it is refused by an error of ours; any other exception fails the test."""
    try:
        with load(folder, backend, **options) as predictor:
            return predictor(picture)
    except ApDepthError as error:
        assert str(error)
        return None


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


def test_a_changed_manifest_gives_this_bundles_depth_or_an_error(
    original: Original, picture: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = plain_depth(original.folder, picture)
    assert expected is not None
    opened = []

    def change(folder: Path, rng: random.Random) -> None:
        path = folder / "manifest.json"
        path.write_bytes(changed_manifest(path.read_text(), rng))

    @original.try_changes(tmp_path, change)
    def look(folder: Path) -> None:
        assert main(["inspect", str(folder)]) in (0, 2)
        assert "defect" not in capsys.readouterr().err
        for backend in original.backends:
            for check_hashes in (True, False):
                depth = depth_of(folder, picture, backend, check_hashes=check_hashes)
                opened.append(depth is not None)
                if depth is not None:  # perhaps of the same model's float16 graphs
                    np.testing.assert_allclose(depth, expected, rtol=0, atol=5e-3)

    assert original.cases < 50 or 0.05 < np.mean(opened) < 0.8


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


def plain_depth(folder: Path, picture: np.ndarray) -> np.ndarray | None:
    """What the file itself means, by ONNX Runtime or ONNX's own evaluator, which takes more.

    None where neither can tell, or it isn't of these frames.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for open_graph in (
        lambda path: onnxruntime.InferenceSession(path, options),
        ReferenceEvaluator,
    ):
        try:
            with np.errstate(all="ignore"):
                (depth,) = open_graph(str(folder / GRAPH)).run(["depth"], {"image": picture[None]})
        except Exception:  # noqa: BLE001 - their errors share no public base class
            continue
        fits = depth.dtype == np.float32 and depth.shape == (1, *SIZE)
        return depth[0] if fits else None
    return None


def test_a_changed_graph_gives_its_own_depth_or_an_error(
    original: Original, picture: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    before = plain_depth(original.folder, picture)
    opened = []

    def change(folder: Path, rng: random.Random) -> None:
        write_changed(folder, rng)
        refresh(folder)

    @original.try_changes(tmp_path, change)
    def look(folder: Path) -> None:
        # OpenVINO passes over faults in what it doesn't use: then nothing has changed.
        expected = plain_depth(folder, picture)
        expected = before if expected is None else expected
        for backend in original.backends:
            depth = depth_of(folder, picture, backend)
            opened.append(depth is not None)
            if depth is not None:
                known = np.isfinite(expected)  # a division by 0 is each engine's own
                np.testing.assert_allclose(depth[known], expected[known], rtol=1e-5, atol=1e-5)

    assert original.cases < 50 or 0.05 < np.mean(opened) < 0.8


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("location", "../secret"),
        ("location", "/etc/hostname"),
        ("location", "fused.fp32.onnx"),
        ("offset", "8"),
        ("offset", "-4"),
        ("length", "3"),
        ("length", "0"),
        ("length", str(2**63)),
    ],
)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_weights_are_the_bytes_that_the_manifest_has_a_hash_of(
    whole: Path, tmp_path: Path, picture: np.ndarray, backend: str, key: str, value: str
) -> None:
    """OpenVINO would read a value of 4 bytes from 3, and whatever follows them in memory."""
    folder = Path(shutil.copytree(whole, tmp_path / "bundle"))
    (folder / "secret").write_bytes(np.float32([2, 2]).tobytes())
    model = onnx.load(folder / GRAPH, load_external_data=False)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "divisor")
    next(entry for entry in tensor.external_data if entry.key == key).value = value
    (folder / GRAPH).write_bytes(model.SerializeToString())
    refresh(folder)
    with pytest.raises(
        BundleError, match=r"fused\.fp32\.onnx has weights (in|at) .*Export the bun"
    ):
        load(folder, backend)
