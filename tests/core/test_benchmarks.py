"""What the benchmarks are made of: the GPU check's frame, and the ablation's configurations."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import ModelSpec
from apdepth_deploy.training.config import read_config
from apdepth_deploy.training.schedule import loss_weights

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_check.py"


def load_script(name: str) -> ModuleType:
    sys.path.insert(0, str(SCRIPT.parent))  # as for a script that is run
    spec = importlib.util.spec_from_file_location(name, SCRIPT.with_stem(name))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    sys.path.remove(str(SCRIPT.parent))
    return module


@pytest.fixture(scope="module")
def gpu_check() -> ModuleType:
    return load_script("gpu_check")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_skipped_with_the_reason() -> None:
    results = SCRIPT.parent / "results"
    before = sorted(results.iterdir())
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "skipped: PyTorch finds no NVIDIA GPU here\n"
    assert sorted(results.iterdir()) == before


def test_a_folder_without_wheels_is_said(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--wheels", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: no wheels in {tmp_path}: make them with `make gpu-wheels`\n"


def test_every_part_leaves_its_outcome(gpu_check: ModuleType) -> None:
    def skip() -> None:
        raise gpu_check.Skip("no such card")

    kept: list[list[str]] = []
    check = gpu_check.Check(1, lambda parts: kept.append(list(parts)))
    assert check.part("good", lambda: {"host_ms": 2.0, "device_ms": None}) is not None
    assert check.part("skipped", skip) is None
    assert check.part("broken", lambda: {}["x"]) is None
    assert kept == [["good"], ["good", "skipped"], ["good", "skipped", "broken"]]
    late = gpu_check.Check(-1, lambda parts: None)
    assert late.part("late", lambda: 1) is None
    outcomes = {
        name: {key: value for key, value in part.items() if key != "seconds"}
        for name, part in (check.parts | late.parts).items()
    }
    assert outcomes == {
        "good": {"result": {"host_ms": 2.0, "device_ms": None}},
        "skipped": {"skipped": "no such card"},
        "broken": {"failed": "KeyError: 'x'"},
        "late": {"skipped": "out of time"},
    }


def test_the_table_compares_with_the_authors_way(gpu_check: ModuleType) -> None:
    parts = {
        "torch eager fp32": {"result": {"host_ms": 10.0, "device_ms": 9.0}},
        "engine": {"result": {"host_ms": 2.5, "device_ms": None, "passed": False}},
        "export": {"result": "folder"},
        "skipped": {"skipped": "why"},
    }
    *lines, said = gpu_check.latency_table({"parts": parts}).splitlines()[1:]
    assert "parity is with float32 without TF32; torch is timed as PyTorch comes" in said
    rows = [row.split() for row in lines]
    assert rows == [
        ["torch", "eager", "fp32", "10.00", "9.00", "1.00", "x", "-"],
        ["engine", "2.50", "-", "4.00", "x", "MISS"],
    ]


def test_the_reference_is_without_tf32_and_the_timing_as_pytorch_comes(
    gpu_check: ModuleType, micro_spec: ModelSpec, tmp_path: Path
) -> None:
    def switches() -> dict[str, bool]:
        return {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "convolution": torch.backends.cudnn.allow_tf32,
        }

    defaults = switches()
    assert defaults == {"matmul": False, "convolution": True}
    model, seen = ApDepth.from_spec(micro_spec), []
    model.register_forward_pre_hook(lambda *_: seen.append(switches()))
    setting = gpu_check.Setting("micro", 64, 64, 1, "cpu", tmp_path)
    expected = gpu_check.reference(setting, model)
    assert seen and all(one == dict.fromkeys(defaults, False) for one in seen)
    seen.clear()
    found = gpu_check.torch_latency(setting, gpu_check.Way("fp32"), model, expected)
    assert found["tf32"] == defaults and found["passed"]
    assert seen and all(one == defaults for one in seen)


def test_a_folded_way_is_compared_with_what_was_there_before(
    gpu_check: ModuleType, micro_spec: ModelSpec, tmp_path: Path
) -> None:
    setting = gpu_check.Setting("micro", 64, 64, 1, "cpu", tmp_path)
    expected = gpu_check.reference(setting, ApDepth.from_spec(micro_spec))
    way = gpu_check.Way("fp32", folded=True, channels_last=True)
    assert way.label == "torch eager fp32 folded channels_last"
    found = gpu_check.torch_latency(setting, way, ApDepth.from_spec(micro_spec), expected)
    assert found["passed"]
    other = ApDepth.from_spec(micro_spec, 1)
    assert not gpu_check.torch_latency(setting, way, other, expected)["passed"]
    with pytest.raises(gpu_check.Skip, match="measured on a GPU"):
        gpu_check.torch_latency(setting, gpu_check.Way("fp16", run="CUDA graph"), other, expected)


def test_wheels_that_came_in_parts_are_joined(gpu_check: ModuleType, tmp_path: Path) -> None:
    for number, part in enumerate((b"wh", b"ee", b"l")):
        (tmp_path / f"one.whl.part{number:02d}").write_bytes(part)
    (found,) = gpu_check.join_parts(tmp_path, tmp_path / "joined")
    assert found.name == "one.whl" and found.read_bytes() == b"wheel"


def test_the_ablation_changes_one_thing_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    ablation = load_script("ablation")
    recipe = read_config(ablation.RECIPE)
    runs = [ablation.configuration(name, 100, Path("out")) for name in ablation.ROWS]
    bare, first, second, both = runs
    assert bare.model.prior == "none" and first.model == recipe.model
    assert [loss_weights(run.loss, 74) for run in runs] == [(1.0, 0.0)] * 4
    last = [loss_weights(run.loss, 75) for run in runs]
    assert last == [(1.0, 0.0), (1.0, 0.0), (0.0, 0.5), (1.0, 0.5)]
    assert first.data == second.data == both.data == recipe.data
    assert bare.data.latents != recipe.data.latents
    assert all(run.optimizer == recipe.optimizer for run in runs)
    assert len({run.output for run in runs}) == 4


def test_the_scaling_fit_finds_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    scaling = load_script("scaling")
    pixels = scaling.megapixels()
    assert scaling.fit((3.0 * pixels + 0.5 * pixels**2).tolist()) == pytest.approx([3.0, 0.5])
