"""A data set small enough to train on in seconds, and a model of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import ModelSpec
from apdepth_deploy.training.config import TrainConfig, config_from_json


def write_scene(folder: Path, name: str, rng: np.random.Generator, size: tuple[int, int]) -> str:
    """A slope with a nearer box before it, brighter where it is near; returns its list line."""
    height, width = size
    depth = np.linspace(9.0, rng.uniform(2, 4), height)[:, None].repeat(width, axis=1)
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    depth[top : top + height // 3, left : left + width // 3] = rng.uniform(1, 3)
    image = (255 - 25 * depth[..., None] + rng.normal(0, 5, (height, width, 3))).clip(0, 255)
    Image.fromarray(image.astype(np.uint8)).save(folder / f"{name}_rgb.png")
    Image.fromarray((depth * 1000).astype(np.uint16)).save(folder / f"{name}_depth.png")
    return f"{name}_rgb.png {name}_depth.png\n"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames to train on and 3 to look at, 32x48, as `synthesize` writes them. Read only."""
    root = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 3)):
        folder = root / split
        folder.mkdir()
        lines = [write_scene(folder, f"{i:06d}_0", rng, (32, 48)) for i in range(count)]
        (folder / "list.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, micro_spec: ModelSpec) -> Path:
    """A checkpoint to start from. Read only."""
    folder = tmp_path_factory.mktemp("start") / "checkpoint"
    save_checkpoint(ApDepth.from_spec(micro_spec), folder)
    return folder


@pytest.fixture
def make_config(scenes: Path, start: Path, tmp_path: Path) -> Any:
    """A run of a few seconds; keywords replace whole tables' fields: ``run={"steps": 3}``."""

    def make(output: str = "run", task: str = "unet", **tables: dict[str, Any]) -> TrainConfig:
        data = {
            "train": [{"kind": "synthetic", "path": str(scenes), "far_is_valid": True}],
            "height": 32,
            "width": 48,
            "workers": 0,
        }
        optimizer = {"lr": 1e-3, "warmup": 2, "batch": 4, "micro_batch": 2}
        run = {"steps": 4, "checkpoint_every": 2, "validate_every": 0, "log_every": 1}
        return config_from_json(
            {
                "output": str(tmp_path / output),
                "task": task,
                "model": {"checkpoint": str(start), **tables.get("model", {})},
                "data": {**data, **tables.get("data", {})},
                "loss": tables.get("loss", {}),
                "optimizer": {**optimizer, **tables.get("optimizer", {})},
                "run": {**run, **tables.get("run", {})},
            }
        )

    return make


@pytest.fixture
def fresh_accelerate() -> None:
    """What a new process would start with."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)


@pytest.fixture
def run(fresh_accelerate: None) -> Callable[[TrainConfig], list[str]]:
    """(config) -> the lines that are said while it trains, as in a process of its own."""
    from accelerate.state import AcceleratorState

    from apdepth_deploy.training import loop

    def trained(config: TrainConfig) -> list[str]:
        lines: list[str] = []
        loop.train(config, lines.append)
        AcceleratorState._reset_state(True)
        return lines

    return trained


@pytest.fixture
def curve() -> Callable[..., dict[int, float]]:
    """(config, tag="loss/total") -> what TensorBoard shows: {step: value}."""
    return _curve


def _curve(config: TrainConfig, tag: str = "loss/total") -> dict[int, float]:
    """Of a step written twice the later value.

    File by file, as they were written: TensorBoard goes by their names, which begin with a second
    and end with a number, and puts the tenth before the ninth of the same second.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = {}
    files = (Path(config.output) / "logs").rglob("events.*")
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
        events = EventAccumulator(str(file))
        events.Reload()
        if tag in events.Tags()["scalars"]:
            shown |= {event.step: event.value for event in events.Scalars(tag)}
    return shown
