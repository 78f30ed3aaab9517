"""ONNX Runtime first, OpenVINO after some frames: one depth, the truth about it, a clean end."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import Predictor, load
from apdepth_deploy.bundle import file_entry
from apdepth_deploy.runtime.engines import relay
from apdepth_deploy.runtime.engines.relay import PATIENCE

MakeBundle = Callable[..., Path]
Frame = NDArray[np.uint8]
FRAME = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
MEAN = FRAME.astype(np.float64).mean(axis=-1) / 255


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def until(predictor: Predictor, backend: str, image: Frame, seconds: float = 120) -> None:
    """Frames until that backend runs."""
    end = time.monotonic() + seconds
    while predictor.backend != backend:
        assert time.monotonic() < end, predictor.reason
        predictor(image)
        time.sleep(0.01)


def test_the_first_frames_are_onnxruntimes_and_the_later_ones_openvinos(
    micro_bundle: Path, photo: Frame
) -> None:
    predictor = load(micro_bundle)
    expected = load(micro_bundle, "onnxruntime")(photo)
    assert predictor.reason.startswith(
        "onnxruntime on cpu, fp32, fused graph: the faster start; openvino takes over after"
    )
    for _ in range(PATIENCE - 1):
        np.testing.assert_array_equal(predictor(photo), expected)
        assert predictor.chain._steps.gi_frame.f_lasti < 1  # type: ignore[attr-defined] # not begun
    until(predictor, "openvino", photo)
    assert predictor.reason.startswith("openvino on cpu, fp32 fused graph computed in fp32: the f")
    assert (predictor.device, predictor.precision) == ("cpu", "fp32")
    np.testing.assert_array_equal(predictor(photo), load(micro_bundle, "openvino")(photo))
    np.testing.assert_allclose(predictor(photo), expected, atol=1e-4)


def test_staged_graphs_are_handed_over_together(micro_bundle: Path, photo: Frame) -> None:
    theirs = load(micro_bundle, "openvino", graph="staged")  # compiles, and keeps it
    predictor = load(micro_bundle, graph="staged")
    expected = predictor(photo)
    predictor.settle()
    assert predictor.reason.startswith("openvino on cpu, fp32 staged graph")
    assert predictor.chain.graphs == ("prior", "encoder", "unet", "decoder")
    np.testing.assert_array_equal(predictor(photo), theirs(photo))
    np.testing.assert_allclose(predictor(photo), expected, atol=1e-4)


def test_settled_it_is_what_openvino_gives_and_the_first_engine_is_gone(
    mean_bundle: MakeBundle,
) -> None:
    predictor: Any = load(mean_bundle(1, 64, 96))
    first = predictor.chain._runner._sessions[0]
    before = sys.getrefcount(first)
    predictor.settle()
    assert predictor.backend == "openvino" and sys.getrefcount(first) < before
    np.testing.assert_allclose(predictor(FRAME), MEAN, atol=1e-6)
    reason = predictor.reason
    predictor.settle()
    assert predictor.reason == reason


def test_threads_share_it_while_it_changes(mean_bundle: MakeBundle) -> None:
    predictor = load(mean_bundle(1, 64, 96))
    wrong: list[str] = []

    def work() -> None:
        while predictor.backend == "onnxruntime":
            if not np.allclose(predictor(FRAME), MEAN, atol=1e-6):
                wrong.append(predictor.backend)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert predictor.backend == "openvino" and not wrong


def test_what_is_asked_for_stays_what_runs(mean_bundle: MakeBundle) -> None:
    folder = mean_bundle(1, 64, 96)
    for options, backend in (
        ({"backend": "onnxruntime"}, "onnxruntime"),
        ({"backend": "openvino"}, "openvino"),
        ({"hint": "throughput"}, "openvino"),
    ):
        predictor = load(folder, **options)  # type: ignore[arg-type]
        predictor.settle()
        assert predictor.backend == backend and "takes over" not in predictor.reason


def test_big_graphs_and_programs_that_are_no_python_start_on_openvino(
    mean_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mean_bundle(1, 64, 96)
    with monkeypatch.context() as patch:
        patch.setattr(relay, "MOST_BYTES", -1)  # both engines would stand in memory
        assert load(folder).backend == "openvino"
    for executable in ("", "/usr/bin/robot"):
        monkeypatch.setattr(sys, "executable", executable)
        assert load(folder).backend == "openvino"


def test_a_bundle_replaced_meanwhile_is_not_what_takes_over(mean_bundle: MakeBundle) -> None:
    folder, other = mean_bundle(1, 64, 96), mean_bundle(1, 64, 96, 300.0)
    date = (folder / "onnx/fused.fp32.onnx").stat().st_mtime
    predictor = load(folder)
    np.testing.assert_allclose(predictor(FRAME), MEAN, atol=1e-6)
    shutil.copytree(other, folder, dirs_exist_ok=True)
    os.utime(folder / "onnx/fused.fp32.onnx", (date, date))
    predictor.settle()
    assert predictor.backend == "onnxruntime"
    assert "openvino could not take over: " in predictor.reason
    assert "changed while it was opened: load the bundle again" in predictor.reason
    np.testing.assert_allclose(predictor(FRAME), MEAN, atol=1e-6)


def test_what_openvino_cant_compile_stays_where_it_is(
    mean_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load(mean_bundle(1, 64, 96))
    monkeypatch.setattr(relay, "_FILL", "import sys; sys.exit('no such instruction')")
    predictor.settle()
    assert predictor.reason.endswith("; openvino could not take over: no such instruction")
    np.testing.assert_allclose(predictor(FRAME), MEAN, atol=1e-6)


def test_without_a_place_to_keep_it_openvino_takes_over_all_the_same(
    mean_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    predictor = load(mean_bundle(1, 64, 96))
    (warning,) = predictor.warnings
    assert warning.startswith("what OpenVINO compiles can't be kept for the next start: /proc/now")
    predictor.settle()
    assert predictor.backend == "openvino"
    np.testing.assert_allclose(predictor(FRAME), MEAN, atol=1e-6)


LEAVES = """
import os, signal, sys, time
from apdepth_deploy import load
from apdepth_deploy.cli import _terminate
from apdepth_deploy.runtime.engines import relay
signal.signal(signal.SIGTERM, _terminate)
relay._FILL = "import time; time.sleep(600)"
import numpy as np
predictor = load(sys.argv[1])
for _ in range(relay.PATIENCE + 1):
    predictor(np.zeros((64, 96, 3), np.uint8))
children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
print(predictor.backend, *children, flush=True)
if sys.argv[2] == "close":
    predictor.close()
    assert not os.path.exists(f"/proc/{children[0]}")
elif sys.argv[2] == "terminate":
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", ["exit", "close", "terminate"])
def test_the_end_waits_for_no_compilation_and_leaves_nothing(
    mean_bundle: MakeBundle, tmp_path: Path, end: str
) -> None:
    command = [sys.executable, "-c", LEAVES, str(mean_bundle(1, 64, 96)), end]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        backend, child = process.stdout.readline().split()
        assert backend == "onnxruntime"
        if end == "terminate":
            process.terminate()
        assert process.wait(60) == (143 if end == "terminate" else 0)
    assert not Path(f"/proc/{child}").exists()
    left = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == []


def test_a_forked_process_goes_on_with_what_it_has(mean_bundle: MakeBundle) -> None:
    predictor = load(mean_bundle(1, 64, 96))
    predictor(FRAME)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that threads and forks don't mix is what is tried
        pid = os.fork()
    if pid == 0:
        good = all(np.allclose(predictor(FRAME), MEAN, atol=1e-6) for _ in range(PATIENCE + 2))
        os._exit(0 if good and predictor.backend == "onnxruntime" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_pickled_predictor_is_opened_again(mean_bundle: MakeBundle) -> None:
    folder = mean_bundle(1, 64, 96)
    for backend in ("auto", "openvino"):
        again = pickle.loads(pickle.dumps(load(folder, backend, threads=1)))
        np.testing.assert_allclose(again(FRAME), MEAN, atol=1e-6)
        assert again.backend == load(folder, backend).backend
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["onnx/fused.fp32.onnx"] == file_entry(folder / "onnx/fused.fp32.onnx")
