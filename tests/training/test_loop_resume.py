"""The loop resumes exactly, survives being killed, and spreads over processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from apdepth_deploy.errors import UsageError
from apdepth_deploy.training import loop
from apdepth_deploy.training.config import TrainConfig
from apdepth_deploy.training.stepper import Stepper

MakeConfig = Callable[..., TrainConfig]
Run = Callable[[TrainConfig], list[str]]
Curve = Callable[..., dict[int, float]]

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


def unet(config: TrainConfig, folder: str = "checkpoint") -> dict[str, torch.Tensor]:
    path = Path(config.output) / folder / "unet" / "diffusion_pytorch_model.safetensors"
    return load_file(path)


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_resumed_and_uninterrupted_runs_agree(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, run: Run, curve: Curve
) -> None:
    extras: dict[str, Any] = {"optimizer": {"ema": 0.9, "max_grad_norm": 1.0}, "run": {"steps": 5}}
    whole, broken = make_config("whole", **extras), make_config("broken", **extras)
    run(whole)
    step = Stepper.step

    def stop_at_4(self: Stepper, number: int, batches: Any) -> dict[str, float]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number, batches)

    monkeypatch.setattr(Stepper, "step", stop_at_4)
    with pytest.raises(KeyboardInterrupt):
        run(broken)
    monkeypatch.undo()
    AcceleratorState._reset_state(True)
    assert "going on after step 2" in run(broken)
    assert curve(broken) == curve(whole)
    assert_same(unet(broken), unet(whole))


def test_a_finished_run_is_left_alone(make_config: MakeConfig, run: Run, curve: Curve) -> None:
    config = make_config()
    run(config)
    first = curve(config)
    assert "going on after step 4" in run(config)
    assert curve(config) == first


def test_another_configuration_is_refused_by_name(make_config: MakeConfig, run: Run) -> None:
    run(make_config())
    with pytest.raises(UsageError, match=r"another optimizer\.lr, run\.seed"):
        run(make_config(optimizer={"lr": 2e-3}, run={"seed": 1}))
    run(make_config(run={"keep": 1}, data={"bad_samples": 3}))  # what changes no curve may change


def test_old_checkpoints_go_and_the_options_stand_beside_the_weights(
    make_config: MakeConfig,
    run: Run,
) -> None:
    config = make_config(run={"steps": 6, "keep": 2})
    run(config)
    folder = Path(config.output) / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["step_000004", "step_000006"]
    record = json.loads((folder / "step_000004" / "training.json").read_text())
    assert record["steps"] == 4
    assert record["config"] == json.loads(json.dumps(config.to_json()))


def write_toml(config: TrainConfig, path: Path) -> Path:
    """The configuration as a user writes it."""
    data = json.loads(json.dumps(config.to_json()))
    sets = data["data"].pop("train")
    lines = [f"{key} = {json.dumps(data.pop(key))}" for key in ("output", "task")]
    tables = [(f"[{name}]", fields) for name, fields in data.items()]
    for header, fields in [*tables, *(("[[data.train]]", one) for one in sets)]:
        lines.append(header)
        lines += [f"{k} = {json.dumps(v)}" for k, v in fields.items() if v is not None]
    path.write_text("\n".join(lines) + "\n")
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_killed_run_recovers(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(run={"steps": 400, "checkpoint_every": 2})
    command = [
        sys.executable,
        "-m",
        "apdepth_deploy.training",
        str(write_toml(config, tmp_path / "run.toml")),
    ]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    folder = Path(config.output) / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(folder.glob("step_*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = max(int(p.name[5:]) for p in folder.glob("step_*"))
    assert 2 <= reached < 400
    config = make_config(run={"steps": 400, "checkpoint_every": 2})
    lines: list[str] = []

    class EnoughError(Exception):
        pass

    def listen(line: str) -> None:
        lines.append(line)
        if line.startswith("step "):
            raise EnoughError

    with pytest.raises(EnoughError):
        loop.train(config, listen)
    assert f"going on after step {reached}" in lines
    assert lines[-1].startswith(f"step {reached + 1}/400")
    assert not list(folder.glob(".apdepth-*"))


def test_two_processes_are_one_with_twice_the_accumulation(
    make_config: MakeConfig, tmp_path: Path, run: Run, curve: Curve
) -> None:
    alone, spread = make_config("alone"), make_config("spread")
    run(alone)
    path = write_toml(spread, tmp_path / "spread.toml")
    # `accelerate launch` starts several processes on one machine only as if for several GPUs.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes=2", "--num_machines=1", "--main_process_port=0"]
    done = subprocess.run(
        [*command, "-m", "apdepth_deploy.training", str(path)],
        env={**environment(), "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "in 2 process(es)" in done.stderr
    one, two = curve(alone), curve(spread)
    assert one.keys() == two.keys()
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-5)
    first, second = unet(alone), unet(spread)
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=1e-3, atol=1e-5)
