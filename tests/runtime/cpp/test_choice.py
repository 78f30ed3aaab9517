"""Which engine runs here, and its kernel cache: as in Python, on machines made up for both."""

from __future__ import annotations

import json
import os
import subprocess
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.runtime.engines.cache import cache_folder
from apdepth_deploy.runtime.engines.tensorrt import choice
from apdepth_deploy.runtime.engines.tensorrt import runtime_cache as cache
from apdepth_deploy.runtime.engines.tensorrt.choice import UnfitError, choose_engines

VERSION = "1.7.1.116"


def make_engine(precision: str, *capabilities: str, **changes: Any) -> dict[str, Any]:
    return {
        "graph": "fused",
        "precision": precision,
        "target": "tensorrt-rtx",
        "version": VERSION,
        "compute_capabilities": list(capabilities),
        "platform": "linux-x86_64",
        "file": "onnx/fused.fp32.data",
        **dict.fromkeys(("batch", "height", "width"), 16),
        "weights": {},
        **dict.fromkeys(("weights_bytes", "activation_bytes", "layers", "seconds"), 0),
        **changes,
    }


ADA = ("NVIDIA Test GPU", "8.9")
FITS = make_engine("fp32", "8.6", "8.9")
FP16 = {"precision": "fp16"}


@pytest.mark.parametrize(
    ("engines", "gpu", "version", "precision", "ordinal"),
    [
        ([FITS], ADA, VERSION, "any", 0),
        ([], ADA, VERSION, "any", 0),
        ([], None, VERSION, "any", 0),
        ([FITS], None, VERSION, "any", 0),
        ([FITS], None, "1.8.0.1", "any", 0),
        ([FITS], ADA, "1.8.0.1", "any", 0),
        ([FITS, make_engine("fp16", "8.9", version="1.6.0.2")], ADA, "1.8.0.1", "any", 0),
        ([FITS], ADA, VERSION, "fp16", 0),
        ([FITS], ADA, VERSION, "any", 3),
        ([FITS], ("Turing", "7.5"), VERSION, "any", 0),
        ([FITS], ("Hopper", "9.0"), VERSION, "any", 0),
        ([], ("Orin", "8.7"), VERSION, "any", 0),
        ([FITS], ("Spark", "12.1"), VERSION, "any", 0),
        ([FITS, make_engine("fp16", "12.0")], ("Turing", "7.5"), VERSION, "any", 0),
        ([FITS, make_engine("fp16", "8.9")], ADA, VERSION, "any", 0),
        ([make_engine("fp32", "8.9", platform="windows-x86_64")], ADA, VERSION, "any", 0),
        ([make_engine("fp32", "8.9", target="tensorrt")], ADA, VERSION, "any", 0),
    ],
)
def test_the_choice_is_pythons(
    cpp_build: Path,
    mean_bundle: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    engines: list[dict[str, Any]],
    gpu: tuple[str, str] | None,
    version: str,
    precision: str,
    ordinal: int,
) -> None:
    folder = mean_bundle(1, 16, 24)
    manifest = json.loads((folder / "manifest.json").read_text())
    graph = manifest["graphs"][0]
    manifest["graphs"].append({**graph, "precision": "fp16"})
    manifest["engines"] = engines
    (folder / "manifest.json").write_text(json.dumps(manifest))
    gpus = [] if gpu is None else [dict(zip(("name", "compute_capability"), gpu, strict=True))]
    monkeypatch.setattr(choice, "nvidia_gpus", lambda: gpus)
    monkeypatch.setattr(choice, "installed", lambda target: True)
    trt = types.SimpleNamespace(__version__=version)
    monkeypatch.setattr(choice, "load_tensorrt", lambda target: trt)
    monkeypatch.setattr(choice, "platform", lambda: "linux-x86_64")
    asked = None if precision == "any" else precision
    try:
        chosen = choose_engines(Bundle.open(folder), "tensorrt-rtx", asked, "fused", ordinal)
        expected = f"chosen: {chosen.precision}"
    except UnfitError as error:
        expected = str(error)
    command = [cpp_build / "tests/apdepth_choice", folder, version, precision, str(ordinal)]
    done = subprocess.run([*command, *(gpu or ())], capture_output=True, text=True, check=True)
    # What to do about it is said in each language's own terms.
    remedies = {"use --backend onnxruntime": "use backend openvino", "use --device": "use device"}
    for python, cpp in remedies.items():
        expected = expected.replace(python, cpp)
    assert done.stdout == expected + "\n"


DRIVER = """
#include <stdio.h>
#include <stdlib.h>
int cuInit(unsigned flags) {
    fclose(fopen(getenv("STARTED"), "w"));
    return 100;  /* CUDA_ERROR_NO_DEVICE */
}
"""
NO_GPU = "needs an NVIDIA GPU and its driver, and this machine has none"


@pytest.fixture(scope="module")
def driver(cpp_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libcuda.so.1 that tells of its start."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER)
    library = folder / "libcuda.so.1"
    command = ["cc", "-shared", "-fPIC", "-o", library, folder / "driver.c"]
    subprocess.run(command, check=True)
    return folder


@pytest.mark.parametrize("engines", [[], [FITS]])
@pytest.mark.parametrize(
    ("words", "starts", "says"),
    [
        ([], False, None),
        (["--backend", "openvino"], False, "computed in fp32: as asked"),
        (["--device", "cpu"], False, "computed in fp32: as asked"),
        (["--device", "cuda"], True, f"error: cuda {NO_GPU}: use device cpu"),
        (
            ["--backend", "tensorrt"],
            True,
            f"error: tensorrt {NO_GPU}: use backend openvino, or auto",
        ),
    ],
)
def test_the_driver_is_started_only_where_a_gpu_could_be_used(
    cpp_build: Path,
    mean_bundle: Callable[..., Path],
    driver: Path,
    tmp_path: Path,
    engines: list[dict[str, Any]],
    words: list[str],
    starts: bool,
    says: str | None,
) -> None:
    folder = mean_bundle(1, 16, 24)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["engines"] = engines
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "black.pgm").write_bytes(b"P5 24 16 255 " + bytes(24 * 16))
    started = tmp_path / "started"
    done = subprocess.run(
        [cpp_build / "programs/apdepth_run", folder, tmp_path / "black.pgm",
         "-o", tmp_path / "depth.pgm", *words],
        capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(driver), "STARTED": str(started)},
    )  # fmt: skip
    if says is None:
        missing = "tensorrt-rtx is not in this build of libapdepth"
        says = missing if engines else "the bundle has no TensorRT engine"
        says = f"openvino on cpu, fp32 fused graph computed in fp32: {says}"
    assert done.stderr.splitlines()[-1].partition("; bf16")[0].endswith(says)
    assert (started.exists(), done.returncode) == (starts, 2 if starts else 0)


class FakeKernels:
    """TensorRT's IRuntimeCache: bytes in, bytes out."""

    def __init__(self, kernels: bytes = b"") -> None:
        self.kernels = kernels

    def serialize(self) -> bytes:
        return self.kernels

    def deserialize(self, kernels: bytes) -> bool:
        self.kernels = kernels
        return True


def test_either_finds_the_kernels_that_the_other_kept(
    cpp_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gpu = {"name": "NVIDIA GeForce RTX 5090 (D)", "compute_capability": "12.0"}
    plan = "0123456789abcdef" * 4
    folder = cache_folder()
    assert folder is not None
    path = folder / cache.cache_name(gpu, "13000", VERSION, plan)
    command = [cpp_build / "tests/apdepth_cache", *gpu.values(), "13000", VERSION, plan]

    def cpp(*words: str) -> list[str]:
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    assert cpp() == [str(path), ""]
    cache.RuntimeCache(FakeKernels(b"by python"), path).save()
    assert cpp() == [str(path), "by python"]
    assert cpp("by cpp") == [str(path), "by cpp"]
    kernels = FakeKernels()
    assert cache.RuntimeCache(kernels, path).loaded and kernels.kernels == b"by cpp"
    path.write_bytes(path.read_bytes()[:-1])
    assert cpp() == [str(path), ""]
