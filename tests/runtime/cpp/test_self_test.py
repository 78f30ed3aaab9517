"""apdepth_run --self-test: the golden frames in C++, with Python's numbers and exit codes."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from apdepth_deploy.bundle import file_entry
from apdepth_deploy.cli import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]
tamper = runpy.run_path(str(Path(__file__).parents[2] / "mutating.py"))["tamper"]


@pytest.fixture
def self_test(cpp_build: Path) -> Run:
    def run(bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(cpp_build / "programs/apdepth_run"), str(bundle), "--self-test", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def copied(tmp_path: Path, micro_bundle: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_healthy_bundle_passes_with_pythons_numbers(
    self_test: Run,
    micro_bundle: Path,
    precision: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = ["verify", str(micro_bundle), "--backend", "openvino", "--precision", precision]
    assert main([*words, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    expected = [r for r in records if r["graph"] == "fused"]
    done = self_test(micro_bundle, "--precision", precision)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"openvino on cpu, {precision} fused graph")
    number = r"(\d\.\de-\d\d)"
    line = rf"(\w+): depth max abs {number}, mean abs {number}, 0 NaN/Inf: ok"
    found = [re.fullmatch(line, said) for said in done.stdout.splitlines()]
    assert [match and match[1] for match in found] == ["photo", "random"]
    for match, record in zip(found, expected, strict=True):
        assert match is not None
        measured = [float(match[2]), float(match[3])]
        assert measured == pytest.approx([record["max_abs"], record["mean_abs"]], rel=0.2)


def test_a_damaged_weight_is_a_miss_in_pythons_words(
    self_test: Run,
    copied: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tamper(copied, "fused.fp32", "model.unet.conv_in.weight", 100.0)
    done = self_test(copied)
    assert done.returncode == 1
    assert "photo: depth" in done.stdout and done.stdout.count("STRAYS") == 2
    assert main(["verify", str(copied), "--backend", "openvino", "--precision", "fp32"]) == 1
    python = capsys.readouterr().err.splitlines()[-1]
    numbers = r"\d\.\d\de-\d\d"
    assert re.sub(numbers, "N", done.stderr.strip()) == re.sub(numbers, "N", python)
    assert python.startswith("error: fused.fp32 strays from PyTorch, first in stage 'depth' (pho")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def without_depth(path: Path) -> None:
    with np.load(path) as arrays:
        np.savez_compressed(path, image=arrays["image"])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "mended", "says"),
    [
        (cut, True, "golden/photo.npz holds no golden frame: no whole .npz"),
        (lambda path: path.write_bytes(b""), True, "holds no golden frame: no whole .npz"),
        (without_depth, True, "holds no golden frame: its depth has another shape"),
        (flipped, False, "golden/photo.npz is damaged: its SHA-256 is not the manifest's"),
    ],
)
def test_a_damaged_frame_is_refused(
    self_test: Run, copied: Path, damage: Callable[[Path], None], mended: bool, says: str
) -> None:
    path = copied / "golden/photo.npz"
    damage(path)
    manifest = json.loads((copied / "manifest.json").read_text())
    if mended:
        manifest["files"]["golden/photo.npz"] = file_entry(path)
    (copied / "manifest.json").write_text(json.dumps(manifest))
    done = self_test(copied)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and line.endswith(says)


def test_frames_that_arent_there_and_words_too_many_are_refused(
    self_test: Run, copied: Path
) -> None:
    done = self_test(copied, "picture.png")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "error: --self-test takes a bundle alone",
    )
    manifest = json.loads((copied / "manifest.json").read_text())
    del manifest["golden"]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    done = self_test(copied)
    assert done.returncode == 2
    assert "has no golden frames: export it again, without --no-verify" in done.stderr
