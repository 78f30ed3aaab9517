"""OpenVINO against ONNX Runtime, on the same bundles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import load
from apdepth_deploy.errors import BackendError, BundleError
from apdepth_deploy.runtime.engines import cache, openvino_backend

Frame = NDArray[np.uint8]
FRAME = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
MEAN = FRAME.astype(np.float64).mean(axis=-1) / 255


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


def entries(tmp_path: Path) -> list[Path]:
    """What was compiled and kept, each a folder."""
    return list((tmp_path / "cache" / "apdepth-deploy" / "openvino").iterdir())


def was_kept(predictor: Any) -> bool:
    """Whether OpenVINO took over what an earlier one had compiled."""
    return all(one._model.get_property("LOADED_FROM_CACHE") for one in predictor.chain._compiled)


def test_what_was_compiled_is_kept(micro_bundle: Path, photo: Frame, tmp_path: Path) -> None:
    first = load(micro_bundle, "openvino")
    assert not was_kept(first) and len(entries(tmp_path)) == 1
    again = load(micro_bundle, "openvino")
    assert was_kept(again) and not again.warnings
    np.testing.assert_array_equal(again(photo), first(photo))


@pytest.mark.parametrize("checked", [True, False])
def test_a_bundle_in_anothers_place_is_not_taken_for_it(
    mean_bundle: Any, tmp_path: Path, checked: bool
) -> None:
    """Reproducible images give all files one date, and two graphs may have one size."""
    for divisor in (255.0, 300.0):
        shutil.rmtree(tmp_path / "robot", ignore_errors=True)
        shutil.copytree(mean_bundle(1, 64, 96, divisor), tmp_path / "robot")
        for path in (tmp_path / "robot").rglob("*"):
            os.utime(path, (1301961600, 1301961600))
        for _ in range(2):  # compiled, then kept
            ours = load(tmp_path / "robot", "openvino", check_hashes=checked)
            np.testing.assert_allclose(ours(FRAME), MEAN * 255 / divisor, atol=1e-6)
        assert was_kept(ours)


def test_unchecked_the_graph_that_is_there_is_what_runs(mean_bundle: Any) -> None:
    folder = mean_bundle(1, 64, 96)
    graph = folder / "onnx/fused.fp32.onnx"
    date = graph.stat().st_mtime
    load(folder, "openvino")
    graph.write_bytes((mean_bundle(1, 64, 96, 300.0) / "onnx/fused.fp32.onnx").read_bytes())
    os.utime(graph, (date, date))
    ours = load(folder, "openvino", check_hashes=False)
    np.testing.assert_allclose(ours(FRAME), MEAN * 255 / 300, atol=1e-6)


@pytest.mark.parametrize("damage", ["empty", "cut", "flip", "other", "more", "seal", "folder"])
def test_what_was_kept_and_is_damaged_is_compiled_again(
    mean_bundle: Any, tmp_path: Path, damage: str
) -> None:
    folder = mean_bundle(1, 64, 96)
    load(folder, "openvino")
    (entry,) = entries(tmp_path)
    (blob,) = entry.glob("*.blob")
    data = bytearray(blob.read_bytes())
    if damage == "other":  # whole, and of another graph
        load(mean_bundle(1, 64, 96, 300.0), "openvino")
        (other,) = set(entries(tmp_path)) - {entry}
        data[:] = next(other.glob("*.blob")).read_bytes()
    elif damage in ("empty", "cut"):
        del data[len(data) // 2 if damage == "cut" else 0 :]
    elif damage == "flip":
        data[-20] ^= 1
    elif damage == "more":
        (entry / "1.blob").write_bytes(data)
    elif damage == "seal":
        (entry / "sha256.json").write_text("[1]")
    blob.write_bytes(data)
    if damage == "folder":
        blob.unlink()
        blob.mkdir()
    ours = load(folder, "openvino")
    assert not was_kept(ours)
    np.testing.assert_allclose(ours(FRAME), MEAN, atol=1e-6)
    assert was_kept(load(folder, "openvino"))


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # as on a full disk
from apdepth_deploy import load
import numpy as np
predictor = load(sys.argv[1], "openvino")
assert abs(predictor(np.full((64, 96, 3), 51, np.uint8)) - 0.2).max() < 1e-6
print(*predictor.warnings)
"""


def test_without_room_or_a_place_work_goes_on_and_says_so(
    mean_bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mean_bundle(1, 64, 96)
    command = [sys.executable, "-c", FULL, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = "OpenVINO compiles again at every start, for nothing can be kept: "
    assert done.stdout.startswith(said) and done.stdout.count("\n") == 1
    assert entries(tmp_path) == []
    (tmp_path / "file").touch()
    for place in ("/proc/nowhere", str(tmp_path / "file")):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        ours = load(folder, "openvino")
        np.testing.assert_allclose(ours(FRAME), MEAN, atol=1e-6)
        (warning,) = ours.warnings
        assert warning.startswith(said + place) and "\n" not in warning


SIGNALLED = """
import os, signal, sys
from apdepth_deploy import load
first = load(sys.argv[1], "openvino")
second = load(sys.argv[1], "openvino")
del first
del second
signal.signal(signal.SIGUSR1, lambda *arguments: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_heard_after_two_predictors(mean_bundle: Any) -> None:
    """Each core of OpenVINO changes the stack that signals are handled on: there must be one."""
    command = [sys.executable, "-c", SIGNALLED, str(mean_bundle(1, 64, 96))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_two_processes_compile_at_once(mean_bundle: Any, tmp_path: Path) -> None:
    script = FULL[FULL.index("from") :].replace("import numpy", "import sys, numpy")
    command = [sys.executable, "-c", "import sys\n" + script, str(mean_bundle(1, 64, 96))]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[0] for process in running] == [b"\n"] * 3
    assert [path.name.startswith(".") for path in entries(tmp_path)] == [False]


def test_the_longest_unused_is_removed(
    mean_bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [mean_bundle(1, 64, 96, divisor) for divisor in (1.0, 2.0, 3.0)]
    load(bundles[0], "openvino")
    (first,) = entries(tmp_path)
    load(bundles[1], "openvino")
    (second,) = set(entries(tmp_path)) - {first}
    for number, entry in enumerate((first, second)):
        os.utime(entry, (1000 + number, 1000 + number))
    load(bundles[0], "openvino")  # used, and so the younger one
    size = sum(file.stat().st_size for file in first.iterdir()) + first.stat().st_size
    monkeypatch.setattr(cache, "LIMIT", int(2.5 * size))
    load(bundles[2], "openvino")
    left = entries(tmp_path)
    assert len(left) == 2 and first in left and second not in left
    monkeypatch.setattr(cache, "LIMIT", 0)
    load(bundles[1], "openvino")
    assert len(entries(tmp_path)) == 1  # the newest stays


def test_where_sizes_vary_openvino_keeps_fewer_kernels(mean_bundle: Any) -> None:
    """Its own number of them took 660 MB after 60 sizes; OpenVINO refuses a setting it lacks."""
    fixed: Any = load(mean_bundle(1, 64, 96), "openvino").chain
    free: Any = load(mean_bundle(1, [64, 72, 128], [64, 96, 160]), "openvino").chain
    settings = [chain._steps[0][1].settings for chain in (fixed, free)]
    assert "CPU_RUNTIME_CACHE_CAPACITY" not in settings[0]
    assert settings[1]["CPU_RUNTIME_CACHE_CAPACITY"] == 300


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
    assert len({path.parent for path in kept}) == 2


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
    with pytest.raises(BundleError, match=r"fused\.fp32\.onnx is no whole ONNX graph"):
        load(folder, "openvino", check_hashes=False)
