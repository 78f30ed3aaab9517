"""What is installed, and the library as a part of a larger project."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "runtime/cpp"
MEAN = SOURCE / "tests/data/mean_bundle"


def run(*words: object, **environment: str) -> str:
    """Output and errors of a command that must succeed."""
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def openvino_libs(build: Path) -> Path:
    """Where the build found OpenVINO's libraries."""
    cache = (build / "CMakeCache.txt").read_text()
    (folder,) = [line for line in cache.splitlines() if line.startswith("OpenVINO_DIR:")]
    return Path(folder.partition("=")[2]).parent / "libs"


@pytest.fixture(scope="module")
def installed(cpp_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", cpp_build, "--prefix", prefix)
    return prefix


def test_the_example_builds_on_the_installed_tree(installed: Path, tmp_path: Path) -> None:
    run("cmake", "-S", SOURCE / "example", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", tmp_path)
    said = run(tmp_path / "apdepth_example", MEAN)
    assert said.endswith("depth of 24x16 from 0.502 to 0.502\n")
    names = {path.name for path in installed.rglob("*") if path.is_file() or path.is_symlink()}
    headers = {"apdepth.h", "apdepth_metric.h", "apdepth.hpp"}
    assert {*headers, "apdepthConfig.cmake", "apdepth.pc", "libapdepth.so", "libapdepth.so.0.2",
            "apdepth_run", "apdepth_bench"} <= names  # fmt: skip


#: docs/cpp.md names them.
OPENVINO = (
    "libopenvino.so.*",
    "libopenvino_onnx_frontend.so.*",
    "libopenvino_*_cpu_plugin.so",
    "libtbb.so.*",
)


def test_an_installed_library_takes_the_openvino_beside_it(
    cpp_build: Path, installed: Path, tmp_path: Path
) -> None:
    """Nothing comes from where it was linked."""
    moved = shutil.copytree(installed, tmp_path / "moved", symlinks=True)
    (library,) = moved.rglob("libapdepth.so")
    origin = openvino_libs(cpp_build)
    beside = {Path(shutil.copy(*origin.glob(name), library.parent)) for name in OPENVINO}
    said = run(moved / "bin/apdepth_bench", MEAN, "--runs", 1, LD_DEBUG="files")
    loaded = {
        Path(line.split()[-1]).resolve() for line in said.splitlines() if "calling init: " in line
    }
    assert {path for path in loaded if path.name.startswith(("libopenvino", "libtbb"))} == beside


PARENT = """
cmake_minimum_required(VERSION 3.22)
project(robot LANGUAGES C CXX)
add_subdirectory({source} depth)
file(WRITE ${{CMAKE_BINARY_DIR}}/main.cpp
  "#include <apdepth.hpp>\nint main() {{ return apdepth_version() == nullptr; }}")
add_executable(robot ${{CMAKE_BINARY_DIR}}/main.cpp)
target_link_libraries(robot PRIVATE apdepth::apdepth)
install(TARGETS robot)
"""


def test_a_parent_project_stays_as_it_is(cpp_build: Path, tmp_path: Path) -> None:
    """Its type of build, its tests and what it installs are its own; nothing is compiled here."""
    (tmp_path / "CMakeLists.txt").write_text(PARENT.format(source=SOURCE))
    build = tmp_path / "build"
    openvino = openvino_libs(cpp_build).parent / "cmake"
    run("cmake", "-S", tmp_path, "-B", build, f"-DOpenVINO_DIR={openvino}")
    cache = (build / "CMakeCache.txt").read_text()
    assert "CMAKE_BUILD_TYPE:STRING=\n" in cache
    targets = run("cmake", "--build", build, "--target", "help").replace(":", " ").split()
    assert "apdepth" in targets and not {"apdepth_run", "test_api", "test"} & set(targets)
    rules = "".join(path.read_text() for path in (build / "depth").rglob("cmake_install.cmake"))
    assert "file(INSTALL" not in rules
