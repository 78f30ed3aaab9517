"""Broken bundles: the C library refuses what Python refuses, in its words, and never crashes."""

from __future__ import annotations

import copy
import json
import random
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.errors import BundleError

Edit = Callable[[Any], object]

ENGINE = {
    "graph": "fused",
    "precision": "fp32",
    "target": "tensorrt-rtx",
    "version": "1.7.1.116",
    "compute_capabilities": ["8.6", "8.9"],
    "platform": "linux-x86_64",
    "file": "engines/fused.engine",
    **dict.fromkeys(("batch", "height", "width"), 8),
    "weights": {"fp32": 2},
    **dict.fromkeys(("weights_bytes", "activation_bytes", "layers"), 3),
    "seconds": 0.5,
}
SIZES = {"parameters": {"unet": 5}, "gflop": {"unet": 0.5}}
FOLDING = {"applied": ["a fold"], "skipped": {"another": "why"}, "before": SIZES, "after": SIZES}
PARITY = {
    **dict.fromkeys(("graph", "precision", "backend", "frame", "stage"), "x"),
    **dict.fromkeys(("max_abs", "mean_abs", "psnr", "scale"), 0.25),
    "bad": 0,
    "passed": True,
}
GOLDEN = {
    "frames": [
        {
            "name": "photo",
            "file": "engines/fused.engine",
            "height": 16,
            "width": 24,
            "tensors": {"depth": {"shape": [16, 24], "scale": 1.0}},
        }
    ],
    "thresholds": {"fp32": {"max_abs": 1e-3, "mean_abs": 1e-4}, "fp16": {"mean_abs": 2e-3}},
}


@pytest.fixture
def bundle(mean_bundle: Callable[..., Path]) -> Path:
    """A small bundle with an entry of every kind."""
    folder = mean_bundle(1, 16, 24)
    (folder / "engines").mkdir()
    (folder / "engines/fused.engine").touch()

    def add(manifest: Any) -> None:
        manifest["engines"], manifest["parity"] = [ENGINE], [PARITY]
        manifest["folding"], manifest["golden"] = FOLDING, GOLDEN
        manifest["license"] = {"weights": "apache-2.0", "prior": None}
        empty = manifest["files"]["onnx/fused.fp32.data"]
        manifest["files"]["engines/fused.engine"] = empty

    edit(folder, add)
    return folder


def edit(bundle: Path, change: Edit) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def put(*keys: Any, value: Any) -> Edit:
    """An edit that sets one value deep inside."""

    def change(manifest: Any) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return change


def python_says(bundle: Path | str) -> str | None:
    """Why Python refuses a bundle, its hashes included; None where it doesn't."""
    try:
        opened = Bundle.open(bundle)
        for name in ("onnx/fused.fp32.onnx", "onnx/fused.fp32.data"):
            opened.check_hash(name)
    except BundleError as error:
        return str(error)
    return None


def same_words(api: Any, bundle: Path | str) -> str:
    expected, found = python_says(bundle), api.refusal(bundle)
    assert expected is not None and found is not None
    assert (found.status, str(found)) == ("bundle", expected)
    return expected


GRAPH = "onnx/fused.fp32.onnx"


@pytest.mark.parametrize(
    "change",
    [
        put("schema_version", value=2),
        put("schema_version", value="1"),
        put("schema_version", value={"a": [1, None, True, 2.5, "it's", 'q"']}),
        put("schema_version", value="x" * 100),
        lambda m: m.pop("created"),
        put("tools", value=["torch"]),
        put("tools", "torch", value=2),
        put("source", "kind", value="other"),
        put("source", "kind", value=["random"]),
        put("source", "seed", value=-1),
        put("source", "name", value=None),
        put("license", value="MIT"),
        put("license", "weights", value=5),
        put("folding", value=[]),
        put("folding", "applied", value="all"),
        put("folding", "skipped", value=["text"]),
        put("folding", "before", value=None),
        put("folding", "after", "parameters", "unet", value=0.5),
        put("folding", "after", "gflop", value={"unet": "many"}),
        put("files", value=[]),
        put("files", GRAPH, value=None),
        put("files", GRAPH, "size", value=True),
        put("files", GRAPH, "size", value=1.5),
        put("files", GRAPH, "size", value=271),
        put("files", GRAPH, "sha256", value=5),
        put("files", GRAPH, "sha256", value="0" * 64),
        put("files", "onnx/nowhere", value={"size": 0, "sha256": ""}),
        put("files", "../x", value={"size": 0, "sha256": ""}),
        put("files", "/etc/hostname", value={"size": 0, "sha256": ""}),
        put("files", "onnx/../../x", value={"size": 0, "sha256": ""}),
        put("files", "..\\x\n", value={"size": 0, "sha256": ""}),
        put("files", "", value={"size": 0, "sha256": ""}),
        put("files", ".", value={"size": 0, "sha256": ""}),
        put("files", "onnx", value={"size": 0, "sha256": ""}),
        put("files", "x" * 300, value={"size": 0, "sha256": ""}),
        lambda m: m["files"].pop(GRAPH),
        lambda m: m["files"].pop("engines/fused.engine"),
        put("graphs", value={}),
        put("graphs", 0, value=None),
        put("graphs", 0, "batch", value="1"),
        put("graphs", 0, "batch", value=0),
        put("graphs", 0, "height", value=64.0),
        put("graphs", 0, "height", value=[64, 32, 128]),
        put("graphs", 0, "width", value=[64, 64]),
        put("graphs", 0, "width", value=25),
        *(
            put("graphs", 0, axis, value=value)
            for axis in ("batch", "height")
            for value in (2**31 - 8, 2**31, 2**63, [8, 8, 2**31 - 8])
        ),
        put("graphs", 0, "nodes", value=2**63),
        put("graphs", 0, "gflop", value={"unet": -1.0}),
        put("graphs", 0, "gflop", value={"unet": 1e305}),
        put("source", "name", value="é" * 4097),
        put("parity", 0, "max_abs", value=-0.5),
        put("engines", 0, "height", value=2**31 - 8),
        put("files", "onnx/a\0b", value={"size": 0, "sha256": ""}),
        put("graphs", 0, "precision", value="fp8"),
        put("graphs", 0, "opset", value=-1),
        put("graphs", 0, "gflop", value={"unet": "many"}),
        put("graphs", 0, "inputs", value="image"),
        put("graphs", 0, "inputs", 0, value=[1]),
        put("graphs", 0, "inputs", 0, "name", value="ünïcode"),
        put("graphs", 0, "outputs", 0, "shape", value=["B"]),
        put("graphs", 0, "outputs", 0, "name", value="image"),
        put("graphs", 0, "outputs", 0, "name", value="other"),
        put("graphs", 0, "name", value="unet"),
        put("graphs", 0, "file", value="elsewhere"),
        lambda m: m["graphs"].append(m["graphs"][0]),
        put("engines", 0, "target", value="other"),
        put("engines", 0, "graph", value="unet"),
        put("engines", 0, "compute_capabilities", value=[8.9]),
        put("engines", 0, "verified", value="yes"),
        put("engines", 0, "verified_on", value={"device": 3}),
        put("golden", value=[]),
        put("golden", "frames", value=None),
        put("golden", "frames", 0, value="photo"),
        put("golden", "frames", 0, "name", value=3),
        put("golden", "frames", 0, "file", value="golden/it's not.npz"),
        put("golden", "frames", 0, "height", value=[16, 16, 16]),
        put("golden", "frames", 0, "width", value=2**30),
        put("golden", "frames", 0, "tensors", "depth", "shape", value=[0]),
        put("golden", "frames", 0, "tensors", "depth", "scale", value=-1),
        put("golden", "thresholds", "fp32", value=None),
        put("golden", "thresholds", "fp32", "mean_abs", value="none"),
        put("golden", "thresholds", "fp16", "max_abs", value=True),
        put("engines", 0, "weights", value={"fp32": -1}),
        put("engines", 0, "seconds", value=None),
        put("parity", 0, value=1),
        put("parity", 0, "max_abs", value="small"),
        put("parity", 0, "passed", value=1),
    ],
)
def test_a_broken_manifest_is_refused_in_pythons_words(
    api: Any, bundle: Path, change: Edit
) -> None:
    edit(bundle, change)
    same_words(api, bundle)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / GRAPH).unlink(),
        lambda folder: (folder / GRAPH).write_bytes(b""),
        lambda folder: (folder / GRAPH).write_bytes(b"x" * (folder / GRAPH).stat().st_size),
        lambda folder: ((folder / GRAPH).unlink(), (folder / GRAPH).mkdir()),
        lambda folder: ((folder / GRAPH).unlink(), (folder / GRAPH).symlink_to("/etc/hostname")),
        lambda folder: shutil.rmtree(folder / "onnx"),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: shutil.rmtree(folder),
        lambda folder: ((folder / "manifest.json").unlink(), (folder / "manifest.json").mkdir()),
    ],
)
def test_damaged_files_are_refused_in_pythons_words(
    api: Any, bundle: Path, damage: Callable[[Path], object]
) -> None:
    damage(bundle)
    same_words(api, bundle)


@pytest.mark.parametrize(
    "place", ["", "//onnx/.", "/manifest.json", "/../mean_bundle/x", "/" + "x" * 300]
)
def test_places_that_are_no_bundle_are_named_as_python_does(
    api: Any, bundle: Path, place: str
) -> None:
    (bundle / "manifest.json").rename(bundle / "elsewhere.json")
    (bundle / "manifest.json").mkdir()
    same_words(api, f"{bundle}{place}")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[" * 100_000, "\0", "{'a': 1}", "[NaN]", "[1e999]", '["\\ud800"]'),
        *('{"a": 1, "a": 1}', '[{"a": {}, "b": [{"c": 1, "c": 1}]}]', "[" * 65 + "1" + "]" * 65),
    ],
)
def test_what_is_no_json_is_refused_alike(api: Any, bundle: Path, text: str) -> None:
    """Only the parsers' own reasons differ."""
    (bundle / "manifest.json").write_text(text)
    found, expected = api.refusal(bundle), python_says(bundle)
    start, end = f"{bundle}/manifest.json can't be read: ", ". Export the bundle again"
    assert expected is not None and expected.startswith(start) and expected.endswith(end)
    assert str(found).startswith(start) and str(found).endswith(end)


JUNK = [None, True, -1, 0, 3, 1e308, 0.1, "", "x", "../x", "it's\n", [], {}, [1, 2, 3], {"a": 1}]
mutate = runpy.run_path(str(Path(__file__).parents[2] / "mutating.py"))["mutate"]


#: Opens the bundle with each of the manifests; a crash ends this process, not the tests.
OPEN_EACH = """
import ctypes, json, sys
library, bundle, mutants = sys.argv[1:]
lib = ctypes.CDLL(library)
lib.apdepth_last_error.restype = ctypes.c_char_p
lib.apdepth_close.argtypes = [ctypes.c_void_p]
for text in open(mutants):
    with open(bundle + "/manifest.json", "w") as file:
        file.write(text)
    handle = ctypes.c_void_p()
    status = lib.apdepth_open(bundle.encode(), None, ctypes.byref(handle))
    assert (status == 0) == bool(handle)
    print(json.dumps([status, lib.apdepth_last_error().decode() if status else None]))
    lib.apdepth_close(handle)
"""


def test_a_thousand_mutated_manifests_are_judged_as_python_does(
    api: Any, bundle: Path, tmp_path: Path
) -> None:
    rng = random.Random(0)
    whole = json.loads((bundle / "manifest.json").read_text())
    del whole["spec"]["unet"], whole["spec"]["prior"]  # its rules are Python's alone
    whole["spec"]["unet"], whole["spec"]["prior"] = {"in_channels": 4}, None
    texts = []
    for _ in range(1000):
        manifest = copy.deepcopy(whole)
        for _ in range(rng.randint(1, 2)):
            mutate(manifest, rng, JUNK)
        texts.append(json.dumps(manifest))
    mutants = tmp_path / "mutants"
    mutants.write_text("\n".join(texts))
    command = [sys.executable, "-c", OPEN_EACH, api.lib._name, bundle, mutants]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 1000
    opened = 0
    for text, (status, message) in zip(texts, found, strict=True):
        (bundle / "manifest.json").write_text(text)
        expected = python_says(bundle)
        if expected is None:
            # The graph that lies there may still not be the one that the manifest tells of.
            assert status == 0 or "manifest.json: " not in message, message
            opened += status == 0
        elif "its spec is not one of ours" not in expected:
            assert (status, message) == (3, expected)
    assert 50 < opened < 700
