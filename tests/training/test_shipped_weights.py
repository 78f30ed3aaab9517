"""The weights that ship see: frames of held-out scenes, rendered here, and their records."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from apdepth_deploy.checkpoint import shipped_folder
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import load_model, trained_at
from apdepth_deploy.spec import ModelSource
from apdepth_deploy.training.config import config_from_json, read_config
from apdepth_deploy.training.data.eval_sets import EvalSet
from apdepth_deploy.training.data.sample import Sample
from apdepth_deploy.training.evaluation.protocol import score
from apdepth_deploy.training.ship import RUNS
from apdepth_deploy.training.synthesis.dataset import SPLITS
from apdepth_deploy.training.synthesis.render import render_scene


class _Rendered:
    name = "rendered"

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Sample:
        seed = (0, SPLITS.index("test"), index)
        frame = render_scene(seed, 1, (192, 256), spp=4)[0]
        return Sample(str(index), frame.image, frame.depth, frame.depth > 0)


@pytest.fixture(scope="module")
def folder() -> Path:
    found = shipped_folder("tiny")
    assert found is not None
    return found


def test_tiny_sees(folder: Path) -> None:
    model, frames = ApDepth.from_checkpoint("tiny"), _Rendered()
    rules = EvalSet(frames, 1e-3, math.inf)
    scores = []
    for index in range(len(frames)):
        sample = frames[index]
        depth = model(torch.from_numpy(sample.image)[None])[0].numpy()
        scores.append(score(depth, sample, rules))
    found = np.mean([one.abs_rel for one in scores])
    assert found < 0.35
    assert found < 0.8 * np.mean([one.plane_abs_rel for one in scores])


def test_any_name_that_takes_a_checkpoint_takes_tiny(folder: Path) -> None:
    model = load_model(ModelSource("tiny"))
    again = ApDepth.from_checkpoint(str(folder))
    assert model.spec.name == again.spec.name == "tiny"
    assert all(
        torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items()
    )


def test_a_folder_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Path
) -> None:
    (tmp_path / "tiny").symlink_to(start)
    monkeypatch.chdir(tmp_path)
    assert ApDepth.from_checkpoint("tiny").spec != load_model(ModelSource("tiny", seed=0)).spec


def test_its_records_are_of_the_recipes(folder: Path) -> None:
    recipes = Path(__file__).parents[2] / "training" / "recipes"
    for run in RUNS:
        record = json.loads((folder / f"{run}.json").read_text())
        config = config_from_json(record["config"])
        assert config == read_config(recipes / f"tiny_{run}.toml")
        assert record["steps"] == config.run.steps
        assert all(one.kind == "synthetic" for one in config.data.train)


def test_it_says_the_sizes_of_the_run_that_trained_its_unet(folder: Path) -> None:
    data = json.loads((folder / "unet_3.json").read_text())["config"]["data"]
    sizes = {
        (one["height"] or data["height"], one["width"] or data["width"]) for one in data["train"]
    }
    assert set(trained_at(ModelSource("tiny"))) == sizes == {(192, 256), (240, 320)}


def test_it_is_small_enough_to_ship(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
