"""The loop on a toy: it learns, and shows what it learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from apdepth_deploy.errors import CheckpointError, TrainingError, UsageError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import is_tiny_vae
from apdepth_deploy.training import loop
from apdepth_deploy.training.config import TrainConfig

MakeConfig = Callable[..., TrainConfig]
Run = Callable[[TrainConfig], list[str]]
Curve = Callable[..., dict[int, float]]

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


@pytest.mark.parametrize("task", ["unet", "prior", "vae"])
def test_it_learns_one_network_and_leaves_the_others(
    make_config: MakeConfig, start: Path, task: str, run: Run, curve: Curve
) -> None:
    config = make_config(task=task, run={"steps": 20, "checkpoint_every": 20})
    run(config)
    losses = list(curve(config).values())
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:2])
    finished = Path(config.output) / "checkpoint"
    before = ApDepth.from_checkpoint(str(start)).state_dict()
    after = ApDepth.from_checkpoint(str(finished)).state_dict()
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {task}
    said = json.loads((finished / "apdepth.json").read_text()).get("trained_at")
    assert said == ([[32, 48]] if task == "unet" else None)  # the start doesn't say


def test_a_light_vae_takes_the_vaes_place(
    make_config: MakeConfig, start: Path, scenes: Path, run: Run, curve: Curve
) -> None:
    validation = {"kind": "synthetic", "path": str(scenes), "split": "val"}
    config = make_config(
        task="light_vae",
        model={"light_width": 8},
        data={"validation": validation},
        optimizer={"lr": 3e-3},
        run={"steps": 20, "checkpoint_every": 10, "validate_every": 20},
    )
    run(config)
    for part in ("latent", "l1"):
        losses = list(curve(config, f"loss/{part}").values())
        assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:2])
    heavy = ApDepth.from_checkpoint(str(start))
    light = ApDepth.from_checkpoint(str(Path(config.output) / "checkpoint"))
    assert is_tiny_vae(light.spec.vae) and light.spec.conventions.latent_scale == 1.0
    ours, theirs = light.unet.state_dict(), heavy.unet.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    # What it made is where the next one may start, and what `export --vae` takes.
    vae = Path(config.output) / "checkpoint" / "vae"
    again = make_config("again", task="light_vae", model={"light_vae": str(vae)}, run={"steps": 1})
    run(again)
    with pytest.raises(CheckpointError, match="is not an AutoencoderTiny"):
        run(make_config("kl", task="light_vae", model={"light_vae": str(start / "vae")}))
    with pytest.raises(UsageError, match="learns from an AutoencoderKL"):
        run(make_config("tiny", task="light_vae", model={"vae": str(vae)}))


def test_the_second_stage_takes_the_firsts_place(
    make_config: MakeConfig, run: Run, curve: Curve
) -> None:
    switch = make_config(loss={"frequency_start": 2})
    run(switch)
    assert sorted(curve(switch, "loss/mse")) == [1, 2]
    assert sorted(curve(switch, "loss/frequency")) == [3, 4]
    both = make_config("add", loss={"frequency_start": 2, "frequency_mode": "add"})
    run(both)
    assert sorted(curve(both, "loss/mse")) == [1, 2, 3, 4]


def test_a_dry_run_writes_nothing(make_config: MakeConfig) -> None:
    config = make_config()
    lines: list[str] = []
    assert loop.train(config, lines.append, dry_run=True) is None
    assert "one step: mse" in lines[-1]
    assert not Path(config.output).exists()


def test_validation_gives_numbers_and_a_picture(
    make_config: MakeConfig, scenes: Path, run: Run, curve: Curve
) -> None:
    validation = {"kind": "synthetic", "path": str(scenes), "split": "val"}
    config = make_config(
        data={"validation": validation}, run={"validate_every": 2, "validation_frames": 2}
    )
    run(config)
    assert sorted(curve(config, "validation/abs_rel")) == [2, 4]
    pictures = sorted(p.name for p in (Path(config.output) / "validation").iterdir())
    assert pictures == ["step_000002.png", "step_000004.png"]


def test_a_loss_that_is_no_number_stops_the_run(make_config: MakeConfig, run: Run) -> None:
    with pytest.raises(TrainingError, match="loss at step"):
        run(make_config(optimizer={"lr": 1e30, "warmup": 0}, run={"steps": 30}))
