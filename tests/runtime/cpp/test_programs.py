"""apdepth_run and apdepth_bench, and what is installed, as a user meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.bundle import to_json
from apdepth_deploy.depth import to_uint16
from apdepth_deploy.runtime.profiling.measure.profile import profile_bundle
from apdepth_deploy.runtime.profiling.measure.results import Plan

ROOT = Path(__file__).parents[3]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def program(cpp_build: Path) -> Run:
    def run(name: str, *words: object) -> subprocess.CompletedProcess[str]:
        command = [str(cpp_build / "programs" / name), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def picture(tmp_path: Path, photo: np.ndarray) -> np.ndarray:
    """The micro bundle's size, as picture.png and picture.ppm."""
    pixels = np.asarray(Image.fromarray(photo).resize((96, 64)))
    for name in ("picture.png", "picture.ppm"):
        Image.fromarray(pixels).save(tmp_path / name)
    return pixels


@pytest.mark.parametrize("name", ["picture.png", "picture.ppm"])
def test_run_writes_the_depth_that_python_gives(
    program: Run, micro_bundle: Path, picture: np.ndarray, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "depth.pgm"
    done = program("apdepth_run", micro_bundle, tmp_path / name, "-o", output)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("openvino on cpu, fp32, fused graph")
    expected = to_uint16(load(micro_bundle, "onnxruntime", precision="fp32")(picture))
    found = np.asarray(Image.open(output)).astype(int)
    assert np.abs(found - expected).max() <= 66  # 1e-3
    assert sorted(path.name for path in tmp_path.glob("depth*")) == ["depth.pgm"]


def test_random_weights_are_told(program: Run, cpp_build: Path, tmp_path: Path) -> None:
    bundle = ROOT / "runtime/cpp/tests/data/mean_bundle"
    Image.new("RGB", (24, 16)).save(tmp_path / "black.png")
    done = program("apdepth_run", bundle, tmp_path / "black.png", "-o", tmp_path / "depth.pgm")
    assert done.stderr.startswith("warning: random weights: this depth means nothing\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("BUNDLE", "picture.png"), "a bundle, an image and -o are needed"),
        (("BUNDLE", "picture.png", "-o"), "-o needs a value"),
        (("BUNDLE", "picture.png", "--best", "1"), "unknown option --best"),
        (("nowhere", "picture.png", "-o", "depth.pgm"), "nowhere is no bundle"),
        (("BUNDLE", "nowhere.png", "-o", "depth.pgm"), "nowhere.png: not a PNG, PPM or PGM"),
        (("BUNDLE", "text.png", "-o", "depth.pgm"), "text.png: not a PNG, PPM or PGM"),
        (("BUNDLE", "large.png", "-o", "depth.pgm"), "not uint8 [1, 80, 120, 3]"),
        (("BUNDLE", "picture.png", "-o", "no/folder/depth.pgm"), "can't write no/folder"),
        (("BUNDLE", "picture.png", "-o", "depth.pgm", "--backend", "x"), "unknown backend 'x'"),
    ],
)
def test_wrong_use_is_said_in_a_line(
    program: Run,
    micro_bundle: Path,
    picture: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    why: str,
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (120, 80)).save(tmp_path / "large.png")
    (tmp_path / "depth.pgm").write_text("before")
    monkeypatch.chdir(tmp_path)
    done = program("apdepth_run", *[str(micro_bundle) if w == "BUNDLE" else w for w in words])
    assert done.returncode == 2
    assert why in done.stderr.splitlines()[0]
    assert (tmp_path / "depth.pgm").read_text() == "before"


def shape_of(value: Any) -> Any:
    """The keys of JSON data, at every depth."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in value.items()}
    return [shape_of(value[0])] if isinstance(value, list) and value else None


def test_bench_prints_the_fields_of_profile(
    program: Run, micro_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = program("apdepth_bench", micro_bundle, "--runs", 12, "--warm-up", 2)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    plan = Plan(backends=("onnxruntime",), precisions=("fp32",), runs=1, warm_up=1)
    expected = json.loads(to_json(profile_bundle(micro_bundle, plan, lambda line: None)))
    for report in (found, expected):
        result = report["backends"][0]
        result["stages"] = result["roofline"] = None  # Python's alone
        report["versions"] = None
    assert shape_of(found) == shape_of(expected)
    assert found["bundle"]["graphs"] == expected["bundle"]["graphs"]
    result, timing = found["backends"][0], found["backends"][0]["host"]
    assert result["memory"]["weights"] == expected["backends"][0]["memory"]["weights"]
    ms = np.array(timing["samples_ms"])
    latency = timing["latency"]
    assert len(ms) == 12 and found["runs"] == 12
    assert np.allclose([latency[p] for p in ("p50", "p90", "p99")], np.percentile(ms, (50, 90, 99)))
    assert np.allclose([latency["mean"], latency["stddev"]], [ms.mean(), ms.std(ddof=1)])
    assert np.isclose(timing["throughput"], 12e3 / ms.sum())


def test_bench_takes_no_nonsense(program: Run, micro_bundle: Path) -> None:
    for words in ((), ("--runs",), ("--runs", "0"), ("--runs", "3x")):
        bundle = (micro_bundle,) if words else ()
        assert program("apdepth_bench", *bundle, *words).returncode == 2


def test_the_overhead_program_gives_both_sides(cpp_build: Path) -> None:
    bundle = ROOT / "runtime/cpp/tests/data/mean_bundle"
    command = [cpp_build / "tests/apdepth_overhead", bundle, "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {name: len(ms) for name, ms in json.loads(done.stdout).items()} == {
        "bare_ms": 10,
        "api_ms": 10,
    }


def test_the_example_builds_on_the_installed_tree(cpp_build: Path, tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    assert cmake is not None
    prefix, build = tmp_path / "installed", tmp_path / "build"
    example = ROOT / "runtime/cpp/example"
    for words in (
        ["--install", cpp_build, "--prefix", prefix],
        ["-S", example, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}"],
        ["--build", build],
    ):
        subprocess.run([cmake, *words], check=True, capture_output=True)
    bundle = ROOT / "runtime/cpp/tests/data/mean_bundle"
    done = subprocess.run(
        [build / "apdepth_example", bundle], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("depth of 24x16 from 0.502 to 0.502\n")
    installed = {path.name for path in prefix.rglob("*") if path.is_file() or path.is_symlink()}
    assert {"apdepth.h", "apdepth.hpp", "apdepthConfig.cmake", "apdepth.pc", "libapdepth.so",
            "libapdepth.so.0.1", "apdepth_run", "apdepth_bench"} <= installed  # fmt: skip
