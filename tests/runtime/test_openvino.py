"""OpenVINO against ONNX Runtime, on the same bundles."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import load
from apdepth_deploy.errors import BackendError, BundleError
from apdepth_deploy.runtime import openvino_backend

Frame = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("graph", ["fused", "staged"])
def test_it_gives_onnxruntimes_depth(micro_bundle: Path, photo: Frame, graph: str) -> None:
    ours = load(micro_bundle, "openvino", graph=graph)
    said = f"openvino on cpu, fp32 {graph} graph computed in fp32: as asked"
    faster = "; bf16 would be faster here" if openvino_backend.has_bf16() else ""
    assert ours.reason == said + faster
    assert (ours.backend, ours.device, ours.precision) == ("openvino", "cpu", "fp32")
    theirs = load(micro_bundle, "onnxruntime", graph=graph)
    np.testing.assert_allclose(ours(photo), theirs(photo), atol=1e-4)


def test_half_precision_weights_are_computed_in_float32(micro_bundle: Path, photo: Frame) -> None:
    ours = load(micro_bundle, "openvino", precision="fp16")
    assert "fp16 fused graph computed in fp32" in ours.reason
    theirs = load(micro_bundle, "onnxruntime", precision="fp16")
    assert np.abs(ours(photo) - theirs(photo)).mean() < 2e-3


def test_bf16_is_used_where_it_is_and_refused_where_not(
    micro_bundle: Path, photo: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    if openvino_backend.has_bf16():
        ours = load(micro_bundle, "openvino", precision="bf16")
        assert ours.precision == "bf16" and "computed in bf16" in ours.reason
        difference = np.abs(ours(photo) - load(micro_bundle, "onnxruntime")(photo))
        assert 1e-5 < difference.mean() < 1.6e-2  # float32 would be nearer
    monkeypatch.setattr(openvino_backend, "has_bf16", lambda: False)
    with pytest.raises(BackendError, match="no bfloat16: use --precision fp32"):
        load(micro_bundle, "openvino", precision="bf16")


def test_threads_and_hint_are_the_engines(micro_bundle: Path, photo: Frame) -> None:
    expected = load(micro_bundle, "onnxruntime", threads=1)(photo)
    for hint, streams in (("latency", 1), ("throughput", 2)):
        ours = load(micro_bundle, "openvino", threads=2, hint=hint)
        (compiled,) = ours.chain._compiled  # type: ignore[attr-defined]
        assert compiled._model.get_property("INFERENCE_NUM_THREADS") == 2
        assert compiled._model.get_property("NUM_STREAMS") == streams
        np.testing.assert_allclose(ours(photo), expected, atol=1e-4)


def test_what_was_compiled_is_kept(micro_bundle: Path, photo: Frame, tmp_path: Path) -> None:
    first = load(micro_bundle, "openvino")(photo)
    kept = list((tmp_path / "cache" / "apdepth-deploy" / "openvino").rglob("*.blob"))
    assert kept
    np.testing.assert_array_equal(load(micro_bundle, "openvino")(photo), first)


def test_bf16_is_not_read_from_what_was_compiled_for_float32(
    micro_bundle: Path, photo: Frame, tmp_path: Path
) -> None:
    if not openvino_backend.has_bf16():
        pytest.skip("this processor has no bfloat16")
    expected = load(micro_bundle, "openvino")(photo)
    for _ in range(2):  # compiled, then kept
        ours = load(micro_bundle, "openvino", precision="bf16")(photo)
        assert np.abs(ours - expected).mean() < 1.6e-2
    kept = (tmp_path / "cache" / "apdepth-deploy" / "openvino").rglob("*.blob")
    assert {path.parent.name for path in kept} == {"fp32", "bf16"}


def test_threads_share_a_predictor(micro_bundle: Path) -> None:
    ours = load(micro_bundle, "openvino")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(4)]
    expected = [ours(frame) for frame in frames]
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = [ours(frames[number]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, depths in found.items():
        for depth in depths:
            np.testing.assert_allclose(depth, expected[number], atol=1e-6)


def test_a_damaged_graph_is_named(mean_bundle: Any) -> None:
    folder = mean_bundle(1, 64, 96)
    graph = folder / "onnx/fused.fp32.onnx"
    graph.write_bytes(b"x" * graph.stat().st_size)
    with pytest.raises(BundleError, match=r"fused\.fp32\.onnx: OpenVINO can't load it"):
        load(folder, "openvino", check_hashes=False)
