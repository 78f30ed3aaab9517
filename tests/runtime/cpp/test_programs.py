"""apdepth_run and apdepth_bench, and what is installed, as a user meets them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.bundle import to_json, version
from apdepth_deploy.pictures.depth import to_uint16
from apdepth_deploy.runtime.profiling.measure.profile import profile_bundle
from apdepth_deploy.runtime.profiling.measure.results import Plan

ROOT = Path(__file__).parents[3]
#: Its depth is the mean of the channels.
MEAN = ROOT / "runtime/cpp/tests/data/mean_bundle"

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
    assert done.stderr.startswith("openvino on cpu, fp32 fused graph computed in fp32")
    expected = to_uint16(load(micro_bundle, "onnxruntime", precision="fp32")(picture))
    found = np.asarray(Image.open(output)).astype(int)
    assert np.abs(found - expected).max() <= 66  # 1e-3
    assert sorted(path.name for path in tmp_path.glob("depth*")) == ["depth.pgm"]


def test_random_weights_are_told(program: Run, cpp_build: Path, tmp_path: Path) -> None:
    Image.new("RGB", (24, 16)).save(tmp_path / "black.png")
    done = program("apdepth_run", MEAN, tmp_path / "black.png", "-o", tmp_path / "depth.pgm")
    assert done.stderr.startswith("warning: random weights: this depth means nothing\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("BUNDLE", "picture.png"), "a bundle, an image and -o are needed"),
        (("BUNDLE", "picture.png", "-o"), "-o needs a value"),
        (("BUNDLE", "picture.png", "--best", "1"), "unknown option --best"),
        (("nowhere", "picture.png", "-o", "depth.pgm"), "nowhere is no bundle"),
        (("BUNDLE", "nowhere.png", "-o", "depth.pgm"), "nowhere.png: can't be read: No such file"),
        (("BUNDLE", ".", "-o", "depth.pgm"), ".: can't be read: Is a directory"),
        (("BUNDLE", "picture.png", "-o", "depth.png"), "depth.png: depth is written as 16-bit PGM"),
        (("BUNDLE", "picture.png", "-o", ".pgm"), "can't write .pgm: it is there, and no file"),
        (("BUNDLE", "text.png", "-o", "depth.pgm"), "text.png: not a PNG, PPM or PGM"),
        (("BUNDLE", "large.png", "-o", "depth.pgm"), "not uint8 [1, 80, 120, 3]"),
        (("BUNDLE", "picture.png", "-o", "no/folder/depth.pgm"), "can't write no/folder"),
        (("BUNDLE", "picture.png", "-o", "depth.pgm", "--backend", "x"), "unknown backend 'x'"),
    ],
)
def test_wrong_use_is_said_in_a_line(
    program: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    why: str,
) -> None:
    Image.new("RGB", (24, 16)).save(tmp_path / "picture.png")
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (120, 80)).save(tmp_path / "large.png")
    (tmp_path / "depth.pgm").write_text("before")
    (tmp_path / ".pgm").mkdir()
    monkeypatch.chdir(tmp_path)
    done = program("apdepth_run", *[str(MEAN) if w == "BUNDLE" else w for w in words])
    assert done.returncode == 2
    assert [why in line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        True
    ]
    assert (tmp_path / "depth.pgm").read_text() == "before"
    assert not (tmp_path / "depth.png").exists()


@pytest.mark.parametrize("name", ["apdepth_run", "apdepth_bench"])
def test_questions_are_answered(program: Run, name: str) -> None:
    for words in (("--help",), ("-h",), ("BUNDLE", "--backend", "openvino", "--help")):
        done = program(name, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: {name} BUNDLE ")
    done = program(name, "--version")
    assert (done.returncode, done.stdout) == (0, version("apdepth-deploy") + "\n")


def test_grey_of_ten_bits_keeps_its_scale(program: Run, tmp_path: Path) -> None:
    """0..1023, as infrared cameras give: depth of the mean bundle is value / 1023."""
    values = 2 * np.arange(16 * 24).reshape(16, 24)
    (tmp_path / "grey.pgm").write_bytes(b"P5\n24 16\n1023\n" + values.astype(">u2").tobytes())
    output = tmp_path / "depth.pgm"
    assert program("apdepth_run", MEAN, tmp_path / "grey.pgm", "-o", output).returncode == 0
    depth = np.asarray(Image.open(output)) / 65535
    assert np.abs(depth - values / 1023).max() <= 1 / 255
    again = program("apdepth_run", MEAN, output, "-o", tmp_path / "again.pgm")
    assert again.returncode == 0, again.stderr
    assert np.abs(np.asarray(Image.open(tmp_path / "again.pgm")) / 65535 - depth).max() <= 1 / 255


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


def test_bench_tells_of_a_graph_for_several_frames(
    program: Run, mean_bundle: Callable[..., Path]
) -> None:
    for batch in (1, 4):
        done = program("apdepth_bench", mean_bundle(batch, 16, 24), "--runs", 3)
        report = json.loads(done.stdout)
        notes = " ".join(report["backends"][0]["notes"])
        assert report["frame"]["batch"] == 1
        assert ("computes 4 frames for each one" in notes) == (batch == 4)


def test_bench_takes_no_nonsense(program: Run) -> None:
    for words in ((), ("--runs",), ("--runs", "0"), ("--runs", "3x")):
        bundle = (MEAN,) if words else ()
        assert program("apdepth_bench", *bundle, *words).returncode == 2


def test_the_overhead_program_gives_both_sides(cpp_build: Path) -> None:
    command = [cpp_build / "tests/apdepth_overhead", MEAN, "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {name: len(ms) for name, ms in json.loads(done.stdout).items()} == {
        "bare_ms": 10,
        "api_ms": 10,
    }
