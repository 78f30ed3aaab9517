"""A run's TOML file: what it may say, and what is said of what it may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apdepth_deploy.errors import UsageError
from apdepth_deploy.training.config import (
    LossConfig,
    OptimizerConfig,
    config_from_json,
    read_config,
)

SMALLEST = """
output = "run"
[model]
preset = "tiny"
[[data.train]]
kind = "synthetic"
path = "scenes"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_what_is_not_said_is_the_authors_choice(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, SMALLEST))
    assert config.task == "unet"
    assert config.loss == LossConfig(24000, 0.5, "switch", 1, 1.0, 0.0)
    assert (config.optimizer.lr, config.optimizer.batch, config.optimizer.micro_batch) == (
        3e-5,
        32,
        2,
    )
    assert (config.run.steps, config.data.height, config.data.width) == (25000, 480, 640)


def test_it_survives_json(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, SMALLEST + 'weight = 1\n[run]\nprecision = "bf16"\n'))
    again = config_from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert type(again.data.train[0].weight) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model\n", "not TOML"),
        (SMALLEST + "colour = 1\n", r"unknown field data.train\[0\].colour"),
        (SMALLEST.replace('path = "scenes"', ""), r"data.train\[0\].path is missing"),
        (SMALLEST.replace('output = "run"', "output = 3"), "output is 3; it must be of type str"),
        (SMALLEST.replace("[[data.train]]", "[data.train]"), "must be a list of tables"),
        (SMALLEST.replace("synthetic", "kitti"), "kind must be one of"),
        (SMALLEST.replace('preset = "tiny"', ""), "either checkpoint or preset"),
        (SMALLEST + "[optimizer]\nbatch = 9\n", "multiple of optimizer.micro_batch"),
        (SMALLEST + '[loss]\nfrequency_mode = "both"\n', "switch or add"),
        (SMALLEST + "[loss]\np = 3\n", "1 or 2"),
        (SMALLEST + "[run]\nsteps = 0\n", "above 0"),
        (SMALLEST + "[run]\nsteps = true\n", "must be of type int"),
        (SMALLEST + "[run]\nvalidation_frames = 0\n", "validation_frames must be above 0"),
        (SMALLEST + "[run]\nvalidate_every = -1\n", "can't be below 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("mark", "ends"), [("\ufeff", "\n"), ("\ufeff", "\r\n"), ("", "\r\n")])
def test_what_an_editor_adds_changes_nothing(tmp_path: Path, mark: str, ends: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes((mark + SMALLEST.replace("\n", ends)).encode())
    assert read_config(path) == read_config(write(tmp_path, SMALLEST))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "latin-1"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(SMALLEST.replace("scenes", "szenen_für_alle").encode(encoding))
    with pytest.raises(UsageError, match="save it as UTF-8"):
        read_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: can't be read"):
        read_config(tmp_path / "none.toml")


RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_can_be_read(path: Path) -> None:
    config = read_config(path)
    assert config.output.startswith(("runs/", "out/"))


def test_the_papers_recipe_is_the_papers() -> None:
    config = read_config(next(path for path in RECIPES if path.stem == "paper"))
    assert (config.loss, config.optimizer) == (LossConfig(), OptimizerConfig())
    hypersim, vkitti = config.data.train
    assert hypersim.weight / (hypersim.weight + vkitti.weight) == 0.9
    assert (config.data.size(hypersim), config.data.size(vkitti)) == ((480, 640), (352, 1216))
    assert config.optimizer.batch * config.run.steps == 800_000
