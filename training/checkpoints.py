"""A run's folder: its configuration, its checkpoints, and at last the finished model.

    OUTPUT/config.json               what the run was started with
    OUTPUT/checkpoints/step_001000/  a checkpoint folder as `export` takes it, and with it
        training.json                what made it: configuration, step, versions
        training_state.pt            what the run goes on from
    OUTPUT/checkpoint/               the finished model, without the state

Each is written beside its place and renamed: a run killed at any moment finds the last one whole.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from apdepth_deploy.bundle import version
from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.files import atomic_file, atomic_folder, discard, output_errors, sweep

from .config import TrainConfig
from .stepper import State, Stepper

STATE_FILE = "training_state.pt"
RECORD_FILE = "training.json"

_TOOLS = ("apdepth-deploy", "torch", "diffusers", "transformers", "accelerate")

#: Fields that don't change the curve: a run may go on with others.
_FREE: dict[str, tuple[str, ...]] = {
    "data": ("workers", "validation", "bad_samples", "latents"),
    "run": ("checkpoint_every", "keep", "validate_every", "validation_frames", "log_every"),
}


class Checkpoints:
    """What is in the run's folder, and what this run adds to it.

    Raises UsageError where the folder belongs to a run with another configuration.
    """

    def __init__(self, config: TrainConfig, writes: bool) -> None:
        self.config = config
        self.output = Path(config.output)
        self.folder = self.output / "checkpoints"
        self._check_same_run()
        if writes:
            with output_errors(self.output):
                sweep(self.folder)
                sweep(self.output)
            with atomic_file(self.output / "config.json") as path:
                path.write_text(_json(config.to_json()), encoding="utf-8")

    def newest(self) -> tuple[int, State] | None:
        """Steps done, and the state after them. Raises CheckpointError where it is damaged."""
        steps = self._steps()
        if not steps:
            return None
        path = self._step_folder(steps[-1]) / STATE_FILE
        try:
            state: State = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is missing or damaged: delete its folder to go on from the one before"
            ) from error
        return steps[-1], state

    def write(self, steps: int, stepper: Stepper) -> None:
        """Keep model and state after so many steps, and drop the oldest. Raises OutputError."""
        with atomic_folder(self._step_folder(steps), replaces=is_ours) as folder:
            torch.save(stepper.state(), folder / STATE_FILE)
            self._fill(folder, steps, stepper)
        for old in self._steps()[: -self.config.run.keep]:
            discard(self._step_folder(old))

    @property
    def finished(self) -> Path:
        """Where the finished model stands."""
        return self.output / "checkpoint"

    def finish(self, stepper: Stepper) -> None:
        """Write the finished model. Raises OutputError."""
        with atomic_folder(self.finished, replaces=is_ours) as folder:
            self._fill(folder, self.config.run.steps, stepper)

    def _fill(self, folder: Path, steps: int, stepper: Stepper) -> None:
        with stepper.averaged():
            model = stepper.task.finish()
            if self.config.task == "unet":
                data = self.config.data
                sizes = tuple(sorted({data.size(one) for one in data.train}))
                model.spec = dataclasses.replace(model.spec, trained_at=sizes)
            save_checkpoint(model, folder)
        versions = {name: version(name) for name in _TOOLS}
        record = {"steps": steps, "versions": versions, "config": self.config.to_json()}
        (folder / RECORD_FILE).write_text(_json(record), encoding="utf-8")

    def _steps(self) -> list[int]:
        names = (re.fullmatch(r"step_(\d+)", path.name) for path in self.folder.glob("step_*"))
        return sorted(int(name[1]) for name in names if name)

    def _step_folder(self, steps: int) -> Path:
        return self.folder / f"step_{steps:06d}"

    def _check_same_run(self) -> None:
        path = self.output / "config.json"
        if not path.exists():
            return
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} can't be read ({error}): choose another output") from error
        changed = _changes(there, json.loads(_json(self.config.to_json())))
        if changed:
            raise UsageError(
                f"{self.output} holds a run with another {', '.join(changed)}: "
                "choose another output, or delete it"
            )


def is_ours(folder: Path) -> bool:
    """Whether a folder is a checkpoint that a run wrote."""
    return (folder / RECORD_FILE).is_file()


def _changes(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Fields that differ and that the loss curve follows from, as ``table.field``."""
    changed = []
    for key in sorted(here.keys() | there.keys()):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            free = _FREE.get(key, ())
            names = sorted(name for name in old.keys() | new.keys() if name not in free)
            changed += [f"{key}.{name}" for name in names if old.get(name) != new.get(name)]
        elif old != new and key != "output":
            changed.append(key)
    return changed


def _json(data: Any) -> str:
    return json.dumps(data, indent=1) + "\n"
