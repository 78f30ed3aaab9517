"""``profile``: what it prints, what it writes, and how it is used wrongly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.cli import main
from apdepth_deploy.errors import UsageError
from apdepth_deploy.runtime.profiling.measure import profile
from apdepth_deploy.runtime.profiling.measure.results import Plan

MakeBundle = Callable[..., Path]
Text = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("known_peak")


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_json_is_strict_and_whole(micro_bundle: Path, capsys: Text) -> None:
    assert main(["profile", str(micro_bundle), "--runs", "2", "--warm-up", "1", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out, parse_constant=refuse)
    assert found["schema_version"] == 1 and found["bundle"]["spec"] == "micro"
    assert set(found["machine"]) == {"os", "cpu", "cores", "memory_bytes"}
    assert found["machine"]["cores"] >= 1 and found["machine"]["cpu"]
    assert {"python", "numpy", "openvino"} <= set(found["versions"])
    [result] = found["backends"]
    assert result["device_only"] is None and result["layers"] is None
    assert math.isfinite(result["host"]["latency"]["p99"])
    assert "loading and warming up auto" in said.err
    documented = (Path(__file__).parents[3] / "docs/profiling.md").read_text(encoding="utf-8")
    assert all(f"`{field}`" in documented for field in (*result, *found))


def test_the_table_says_what_was_measured_and_the_page_is_written(
    micro_bundle: Path, micro_checkpoint: Path, tmp_path: Path, capsys: Text
) -> None:
    page = tmp_path / "new" / "report.html"
    options = ["--backend", "onnxruntime", "--backend", "torch", "--runs", "2", "--warm-up", "1"]
    options += ["--checkpoint", str(micro_checkpoint), "--layers", "--html", str(page)]
    assert main(["profile", str(micro_bundle), *options]) == 0
    said = capsys.readouterr().out
    for words in (
        "1 frame of 64x96 (the photo in the package), 2 runs after 1 to warm up",
        "p50 / onnxruntime fp32",
        "1.00 x",
        "stages of onnxruntime fp32",
        "operations of onnxruntime fp32",
        "memory, MB",
        "peak of a CPU: 100.0 GFLOP/s, 10.0 GB/s (made up)",
        "note: torch fp32, layers: this engine can't tell them apart",
    ):
        assert words in said
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--backend", "nope"], "unknown backend 'nope'"),
        (["--runs", "0"], "--runs 0: at least 1 run is needed"),
        (["--warm-up", "-1"], "--warm-up -1: at least 1 run is needed"),
        (["--backend", "auto", "--backend", "openvino"], "openvino fp32 is named twice"),
        (["--device", "cuda:x"], "unknown device 'cuda:x'"),
        (["--precision", "fp64"], "unknown precision 'fp64'"),
        (["--image", "/nope.png"], "/nope.png: no such file"),
        (["--html", "{file}/report.html"], "can't write {file}/report.html: "),
        (["--html", "{folder}"], "--html {folder} is a folder: name a file"),
    ],
)
def test_wrong_use_is_one_line_before_any_measuring(
    options: list[str],
    line: str,
    mean_bundle: MakeBundle,
    tmp_path: Path,
    capsys: Text,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*arguments: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(profile, "time_in_turns", never)
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    places = {"file": file, "folder": folder}
    options = [option.format(**places) for option in options]
    assert main(["profile", str(mean_bundle(1, 64, 96)), *options]) == 2
    said = capsys.readouterr()
    errors = [row for row in said.err.splitlines() if row.startswith("error: ")]
    assert said.out == "" and len(errors) == 1
    assert errors[0].startswith(f"error: {line.format(**places)}")


def test_an_interrupt_leaves_no_page(
    mean_bundle: MakeBundle, tmp_path: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(profile, "time_in_turns", interrupt)
    folder = mean_bundle(1, 64, 96)
    before = set(tmp_path.iterdir())
    assert main(["profile", str(folder), "--html", str(tmp_path / "report.html")]) == 130
    assert set(tmp_path.iterdir()) == before
    assert "interrupted" in capsys.readouterr().err


def test_a_plan_needs_runs() -> None:
    with pytest.raises(UsageError, match="--runs 0"):
        Plan(runs=0)


def test_profiling_a_graph_needs_no_torch(micro_bundle: Path, run_script: Any) -> None:
    script = (
        "import sys\n"
        "from apdepth_deploy.cli import main\n"
        f"main(['profile', {str(micro_bundle)!r}, '--runs', '1', '--warm-up', '1'])\n"
        "print(sorted({'torch', 'onnx', 'diffusers'} & set(sys.modules)))"
    )
    assert run_script(script).stdout.splitlines()[-1] == "[]"
