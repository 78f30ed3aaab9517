"""runtime/cpp, built once, and its C API through ctypes.

Skipped, with the reason, where CMake, a compiler, OpenVINO or a header is missing.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "runtime" / "cpp"
#: Kept from run to run: only what changed is compiled again. ``.ci/cpp`` uses it, too.
BUILD = ROOT / "out" / "cpp"
INSTALL = "apt-get install cmake g++ ninja-build pkg-config nlohmann-json3-dev libstb-dev"
STATUS = ("ok", "usage", "image", "bundle", "backend", "memory", "internal")


class Range(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("min", "opt", "max")]


class Options(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_char_p) for name in ("backend", "precision", "device")],
        *[(name, ctypes.c_int) for name in ("skip_hashes", "threads", "lanes")],
        ("hint", ctypes.c_char_p),
        ("log", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)),
        ("log_data", ctypes.c_void_p),
    ]


class Info(ctypes.Structure):
    _fields_ = [
        *[(name, Range) for name in ("batch", "height", "width")],
        ("stride", ctypes.c_int),
        ("random_weights", ctypes.c_int),
        *[
            (name, ctypes.c_char_p)
            for name in ("model", "backend", "device", "precision", "reason", "warning")
        ],
    ]


class Image(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        *[(name, ctypes.c_int) for name in ("height", "width")],
        ("stride", ctypes.c_ssize_t),
        ("format", ctypes.c_int),
        ("chroma", ctypes.c_void_p),
        ("chroma_stride", ctypes.c_ssize_t),
    ]


#: Of ``Image``, in their order.
FORMATS = ("rgb", "bgr", "rgba", "bgra", "grey", "nv12", "yuyv", "uyvy")


class ApiError(Exception):
    """A call that failed; ``status`` is one of ``STATUS``."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """apdepth.h, as far as the tests call it."""

    def __init__(self, library: Path) -> None:
        self.lib = ctypes.CDLL(str(library))
        for name in ("apdepth_last_error", "apdepth_version"):
            getattr(self.lib, name).restype = ctypes.c_char_p
        self.lib.apdepth_close.restype = None

    def check(self, status: int) -> None:
        if status:
            raise ApiError(STATUS[status], self.lib.apdepth_last_error().decode())

    def open(self, bundle: Path | str, **options: Any) -> Model:
        chosen = Options()
        for name, value in options.items():
            setattr(chosen, name, value.encode() if isinstance(value, str) else value)
        handle = ctypes.c_void_p()
        path = os.fsencode(bundle)
        size = ctypes.c_size_t(ctypes.sizeof(chosen))
        call = self.lib.apdepth_open_sized
        self.check(call(path, ctypes.byref(chosen), size, ctypes.byref(handle)))
        return Model(self, handle)

    def refusal(self, bundle: Path | str, **options: Any) -> ApiError | None:
        """Why a bundle doesn't open; None where it does."""
        try:
            self.open(bundle, **options).close()
        except ApiError as error:
            return error
        return None


@dataclasses.dataclass
class Model:
    """An opened handle."""

    api: Api
    handle: ctypes.c_void_p

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H,W,3], rows with or without gaps -> float32 [H,W]."""
        height, width, _ = image.shape
        depth = np.full((height, width), np.nan, np.float32)
        rgb, out = ctypes.c_void_p(image.ctypes.data), ctypes.c_void_p(depth.ctypes.data)
        stride = ctypes.c_size_t(image.strides[0])
        self.api.check(self.api.lib.apdepth_infer(self.handle, rgb, height, width, stride, out))
        return depth

    def images(self, *images: Image) -> list[np.ndarray]:
        """Depth of each, float32 of its own size."""
        found = [np.full((max(i.height, 1), max(i.width, 1)), np.nan, np.float32) for i in images]
        depths = (ctypes.c_void_p * len(images))(*[depth.ctypes.data for depth in found])
        given = (Image * len(images))(*images)
        call = self.api.lib.apdepth_infer_images
        self.api.check(call(self.handle, given, len(images), depths))
        return found

    def info(self) -> Info:
        info = Info()
        size = ctypes.c_size_t(ctypes.sizeof(info))
        self.api.check(self.api.lib.apdepth_info_sized(self.handle, ctypes.byref(info), size))
        return info

    def close(self) -> None:
        self.api.lib.apdepth_close(self.handle)


def _openvino_cmake() -> Path | None:
    spec = importlib.util.find_spec("openvino")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "cmake"


def _build() -> str | None:
    """Configure and build; a reason where a tool or a library isn't there."""
    cmake, openvino = shutil.which("cmake"), _openvino_cmake()
    if cmake is None:
        return "cmake is not installed"
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        return "no C++ compiler"
    if openvino is None or not openvino.is_dir():
        return "openvino is not installed: pip install 'apdepth-deploy[openvino]'"
    command = [cmake, "-S", str(SOURCE), "-B", str(BUILD), f"-DOpenVINO_DIR={openvino}"]
    if shutil.which("ninja") and not (BUILD / "CMakeCache.txt").exists():
        command += ["-G", "Ninja"]
    configured = subprocess.run(command, capture_output=True, text=True, check=False)
    for missing in ("nlohmann_json", "STB_INCLUDE_DIR"):
        if configured.returncode and missing in configured.stderr:
            return f"{missing} is not found"
    assert configured.returncode == 0, configured.stderr
    built = subprocess.run(
        [cmake, "--build", str(BUILD), "--parallel", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return None


@pytest.fixture(scope="session")
def cpp_build() -> Path:
    """The build folder: the library, ``programs/`` and ``tests/``."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with FileLock(BUILD.with_suffix(".lock")):
        reason = _build()
    if reason:
        pytest.skip(f"runtime/cpp can't be built here: {reason}. On Debian: {INSTALL}")
    return BUILD


@pytest.fixture(scope="session")
def api(cpp_build: Path) -> Api:
    return Api(cpp_build / "libapdepth.so")


@pytest.fixture(scope="module")
def micro(api: Api, micro_bundle: Path) -> Iterator[Model]:
    """The micro model in fp32."""
    model = api.open(micro_bundle, precision="fp32")
    yield model
    model.close()
