"""The C API on real bundles: its depth is Python's, and it says what it doesn't take."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle, version
from apdepth_deploy.pictures.image import resize_image

MakeBundle = Callable[..., Path]


@pytest.fixture
def frame(photo: np.ndarray) -> np.ndarray:
    """The photo at the micro bundle's size."""
    return np.ascontiguousarray(resize_image(photo, 64, 96))


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """(status, message) of a call that must fail."""
    with pytest.raises(Exception) as caught:
        call()
    return caught.value.status, str(caught.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_depth_is_that_of_python(
    api: Any, micro_bundle: Path, frame: np.ndarray, precision: str
) -> None:
    model = api.open(micro_bundle, precision=precision)
    expected = load(micro_bundle, "onnxruntime", precision=precision)(frame)
    found = model(frame)
    model.close()
    assert expected.std() > 0.01  # not a constant that anything would match
    assert np.abs(found - expected).max() <= (1e-3 if precision == "fp32" else 2e-2)


def test_a_frame_may_have_gaps_between_its_rows(micro: Any, frame: np.ndarray) -> None:
    wide = np.full((64, 101, 3), 77, np.uint8)
    wide[:, :96] = frame
    assert (micro(wide[:, :96]) == micro(frame)).all()


def test_info_is_the_manifests(micro: Any) -> None:
    info = micro.info()
    sizes = [(axis.min, axis.opt, axis.max) for axis in (info.batch, info.height, info.width)]
    assert sizes == [(1, 1, 1), (64, 64, 64), (96, 96, 96)]
    assert (info.stride, info.random_weights, info.warning) == (8, 0, None)
    names = [info.model, info.backend, info.device, info.precision]
    assert names == [b"micro", b"openvino", b"cpu", b"fp32"]
    assert info.reason.startswith(b"openvino on cpu, fp32 fused graph computed in fp32: ")


def test_a_frame_of_another_size_is_refused(micro: Any, photo: np.ndarray) -> None:
    status, message = refused(lambda: micro(photo))
    assert status == "image"
    assert "takes frames uint8 [1, 64, 96, 3], not uint8 [1, 70, 101, 3]" in message


def test_a_graph_of_a_range_takes_each_size_of_it(api: Any, mean_bundle: MakeBundle) -> None:
    model = api.open(mean_bundle([2, 2, 4], [16, 32, 64], [16, 24, 48]))
    for height, width in ((16, 48), (64, 16), (32, 24)):
        frame = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        assert np.abs(model(frame) - frame.mean(-1) / 255).max() < 1e-5
    for height, width in ((8, 16), (16, 56), (20, 24)):
        status, message = refused(lambda h=height, w=width: model(np.zeros((h, w, 3), np.uint8)))
        assert status == "image"
        ranges = "[[2, 2, 4], [16, 32, 64], [16, 24, 48], 3] with sides in multiples of 8"
        assert f"takes frames uint8 {ranges}, not uint8 [" in message
    model.close()


def test_a_graph_of_several_frames_runs_on_copies(api: Any, mean_bundle: MakeBundle) -> None:
    model = api.open(mean_bundle(3, 16, 24))
    frame = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    assert np.abs(model(frame) - frame.mean(-1) / 255).max() < 1e-5
    model.close()


def test_threads_share_a_handle(micro: Any, frame: np.ndarray) -> None:
    frames = [np.roll(frame, 5 * i, axis=1) for i in range(8)]
    expected = [micro(one) for one in frames]
    found: list[Any] = [None] * 8

    def infer(index: int) -> None:
        for _ in range(3):
            found[index] = micro(frames[index])

    threads = [threading.Thread(target=infer, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    assert (expected[0] != expected[1]).any()


def test_a_bundle_without_a_fused_graph_is_refused(
    api: Any, micro_bundle: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(micro_bundle, tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["name"] != "fused"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    status, message = refused(lambda: api.open(bundle))
    assert status == "backend"
    assert message == (
        "the bundle has staged fp32, staged fp16; OpenVINO on cpu needs fp32 or fp16 fused: "
        "export with --precision fp32 --graph fused"
    )


@pytest.mark.parametrize("backend", ["tensorrt-rtx", "tensorrt"])
def test_without_a_gpu_tensorrt_is_refused(api: Any, micro_bundle: Path, backend: str) -> None:
    from apdepth_deploy.machine.devices import nvidia_gpus

    if nvidia_gpus():
        pytest.skip("there is a GPU")
    status, message = refused(lambda: api.open(micro_bundle, backend=backend))
    assert status == "backend"
    assert f"{backend} needs an NVIDIA GPU and its driver, and this machine has none" in message


def test_the_library_has_the_packages_version(api: Any) -> None:
    assert api.lib.apdepth_version().decode() == version("apdepth-deploy")


def test_only_the_c_api_leaves_the_library(cpp_build: Path) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    library = cpp_build / "libapdepth.so"
    listed = subprocess.run(
        [nm, "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines()}
    headers = (Path(__file__).parents[3] / "runtime/cpp/include").glob("*.h")
    text = "\n".join(header.read_text() for header in headers)
    declared = set(re.findall(r"^APDEPTH_API[^;]*?(apdepth_\w+)\(", text, re.MULTILINE))
    assert names - {"APDEPTH_0"} == declared
    assert library.resolve().name == f"libapdepth.so.{version('apdepth-deploy')}"


def test_the_bundle_of_the_cpp_tests_is_one_of_ours() -> None:
    """Its depth is the mean of the channels, as the C++ tests take for granted."""
    folder = Path(__file__).parents[3] / "runtime/cpp/tests/data/mean_bundle"
    assert Bundle.open(folder).frame_shape == (1, 16, 24)
    frame = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    assert np.abs(load(folder, "onnxruntime")(frame) - frame.mean(-1) / 255).max() < 1e-6


def test_memory_does_not_grow(cpp_build: Path, mean_bundle: MakeBundle) -> None:
    assert growth(cpp_build, mean_bundle(1, 64, 96), 2000) < 5e6


@pytest.mark.full
def test_memory_does_not_grow_over_ten_thousand_real_frames(
    cpp_build: Path, micro_bundle: Path
) -> None:
    assert growth(cpp_build, micro_bundle, 10_000) < 5e6


def growth(build: Path, bundle: Path, frames: int) -> int:
    """Bytes that resident memory rose by after a warm-up."""
    command = [build / "tests/apdepth_stress", bundle, str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)
