"""Bundles with anything changed in them: an error of ours, or the depth of what lies there.

APDEPTH_FUZZ=2000 tries so many of each kind instead of the usual few.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
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

CHANGES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fuzzing.py"))))
GRAPH, DATA = CHANGES.GRAPH, CHANGES.DATA
changed_manifest, write_changed = CHANGES.changed_manifest, CHANGES.write_changed

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
