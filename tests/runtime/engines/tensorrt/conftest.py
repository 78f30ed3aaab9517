"""A GPU where there is none: the driver's calls on host memory, and plans that are ONNX graphs.

The fake driver is lazy: what is queued on a stream runs only when somebody waits for it, so that a
missing wait shows as a wrong depth. Fresh and freed memory holds garbage. The fake TensorRT runs a
plan's ONNX graph with ONNX Runtime on whatever its addresses point to; everything else of it is the
real ``tensorrt_rtx``. ``test_tensorrt_real.py`` holds both against the real libraries.
"""

from __future__ import annotations

import dataclasses
import json
import runpy
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx as real_trt
from numpy.typing import NDArray

from apdepth_deploy.bundle import Bundle, Engine, file_entry
from apdepth_deploy.machine.tensorrt import platform

VERSION = real_trt.__version__
GPU = {"name": "NVIDIA Test GPU", "compute_capability": "8.9"}
FakeDriver = runpy.run_path(str(Path(__file__).with_name("fake_driver.py")))["FakeDriver"]
FakeTensorRT = runpy.run_path(str(Path(__file__).with_name("fake_tensorrt.py")))["FakeTensorRT"]


@dataclasses.dataclass
class Gpu:
    """What a test does to the machine's GPU."""

    driver: FakeDriver
    trt: FakeTensorRT
    gpus: list[dict[str, str]]

    def read(self, result: Any) -> NDArray[np.float32]:
        """What is in a float32 array's memory at this moment, whatever is still queued."""
        raw = self.driver._at(result.pointer, result.nbytes)
        return raw.view(np.float32).reshape(result.shape).copy()

    def array(self, values: NDArray[Any], offset: int = 0) -> DeviceValues:
        """A copy on the device, ``offset`` bytes after an aligned address."""
        _, pointer = self.driver.cuMemAlloc(values.nbytes + offset)
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.driver._at(pointer + offset, values.nbytes)[:] = raw
        return DeviceValues(pointer + offset, values.shape, values.dtype)


class DeviceValues:
    """Another library's array by ``__cuda_array_interface__``; ``changes`` alters what it says."""

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.pointer, self.shape, self.dtype = pointer, shape, dtype
        self.changes: dict[str, Any] = {}

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            **self.changes,
        }

    def numpy(self) -> NDArray[Any]:
        nbytes = int(np.prod(self.shape)) * self.dtype.itemsize
        return FakeDriver._at(self.pointer, nbytes).view(self.dtype).reshape(self.shape).copy()


def _install(monkeypatch: pytest.MonkeyPatch, rtx: bool) -> Gpu:
    driver = FakeDriver()
    gpu = Gpu(driver, FakeTensorRT(driver, rtx), [GPU])
    for module in ("engines.tensorrt.choice", "choice"):
        monkeypatch.setattr(f"apdepth_deploy.runtime.{module}.nvidia_gpus", lambda: gpu.gpus)
    monkeypatch.setattr("apdepth_deploy.runtime.engines.cuda.load_driver", lambda: driver)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx" if rtx else "tensorrt", gpu.trt)
    return gpu


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's runtime caches go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "apdepth-deploy"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """One GPU with TensorRT for RTX."""
    return _install(monkeypatch, rtx=True)


@pytest.fixture
def standard_gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """One GPU with the standard TensorRT."""
    return _install(monkeypatch, rtx=False)


@pytest.fixture
def add_engines() -> Callable[..., Path]:
    """(bundle folder, kind, precision, target, **changes of each Engine) -> the folder."""

    def add(
        folder: Path,
        kind: str = "fused",
        precision: str = "fp32",
        target: str = "tensorrt-rtx",
        plan: Any = None,
        **changes: Any,
    ) -> Path:
        bundle = Bundle.open(folder)
        (folder / "engines").mkdir(exist_ok=True)
        for graph in bundle.chain_graphs(kind, precision):
            file = f"engines/{graph.label}.{len(bundle.engines)}.engine"
            ends = {t.name: ends_of(t.shape) for t in graph.inputs}
            content = {"onnx": str(bundle.path(graph.file)), "ranges": ends, **(plan or {})}
            bundle.path(file).write_text(json.dumps(content))
            engine = Engine(
                graph.name, precision, target, VERSION, ("8.9",), platform(), file,
                graph.batch, graph.height, graph.width, {precision: 2}, 8, 100, 3, 1.0,
            )  # fmt: skip
            entry = dataclasses.asdict(dataclasses.replace(engine, **changes))
            bundle.manifest["engines"].append(entry)
            bundle.manifest["files"][file] = file_entry(bundle.path(file))
        bundle.write_manifest()
        return folder

    def ends_of(shape: Iterable[Any]) -> list[list[int]]:
        axes = [[axis] * 3 if isinstance(axis, int) else list(axis) for axis in shape]
        return [list(end) for end in zip(*axes, strict=True)]

    return add


@pytest.fixture
def micro(tmp_path: Path, micro_bundle: Path) -> Path:
    """A micro bundle of the test's own."""
    return Path(shutil.copytree(micro_bundle, tmp_path / "micro"))
