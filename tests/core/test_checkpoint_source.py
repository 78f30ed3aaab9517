"""What a checkpoint of ours says of itself, and what a source says of its weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import load_model, trained_at
from apdepth_deploy.spec import (
    CONVENTIONS,
    ModelSource,
    ModelSpec,
)


def load(folder: Path, **options: str) -> ApDepth:
    return ApDepth.from_checkpoint(str(folder), **options)


def test_a_saved_checkpoint_loads_back_with_its_conventions(
    micro_spec: ModelSpec, tmp_path: Path, frame: Tensor
) -> None:
    conventions = dataclasses.replace(
        CONVENTIONS["normalized"], name="mine", prior_side=42, concat=("rgb", "prior"), timestep=3
    )
    model = ApDepth.from_spec(dataclasses.replace(micro_spec, conventions=conventions))
    save_checkpoint(model, tmp_path)
    loaded = load(tmp_path)
    assert loaded.spec.conventions == conventions
    assert torch.equal(loaded(frame), model(frame))
    assert load(tmp_path, conventions="v1.1").spec.conventions == CONVENTIONS["v1.1"]


def test_a_checkpoint_says_the_sizes_it_was_trained_at(
    micro_spec: ModelSpec, micro_saved: Path, tmp_path: Path
) -> None:
    sizes = ((192, 256), (240, 320))
    model = ApDepth.from_spec(dataclasses.replace(micro_spec, trained_at=sizes))
    save_checkpoint(model, tmp_path / "said")
    loaded = load(tmp_path / "said")
    assert loaded.spec.trained_at == trained_at(ModelSource(str(tmp_path / "said"))) == sizes
    assert loaded.spec.default_size == (240, 320)
    assert load(micro_saved).spec.default_size == (480, 640)  # from before it was said
    assert "trained_at" not in load(micro_saved).spec.to_json()
    other = {"unet": str(micro_saved / "unet")}
    assert load(tmp_path / "said", **other).spec.trained_at == ()
    assert trained_at(ModelSource(str(tmp_path / "said"), **other)) == ()
    assert trained_at(ModelSource("tiny", seed=0)) == ()


def test_other_conventions_keep_the_checkpoints_latents(
    micro_spec: ModelSpec, tmp_path: Path
) -> None:
    rules = dataclasses.replace(micro_spec.conventions, latent_scale=0.5)
    vae = {**micro_spec.vae, "scaling_factor": 0.5}
    save_checkpoint(
        ApDepth.from_spec(dataclasses.replace(micro_spec, vae=vae, conventions=rules)), tmp_path
    )
    found = load(tmp_path, conventions="normalized").spec.conventions
    assert found == dataclasses.replace(CONVENTIONS["normalized"], latent_scale=0.5)


def test_a_loaded_spec_builds_the_same_networks(folder: Path, frame: Tensor) -> None:
    loaded = load(folder)
    again = ApDepth.from_spec(ModelSpec.from_json(loaded.spec.to_json()))
    again.load_state_dict(loaded.state_dict())
    assert torch.equal(again(frame), loaded(frame))


def test_a_source_says_where_the_weights_are_from_any_folder(
    micro_saved: Path,
    micro_depth: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    frame: Tensor,
) -> None:
    monkeypatch.chdir(micro_saved.parent)
    kept = json.loads(json.dumps(ModelSource("micro", unet="micro/unet").to_json()))
    monkeypatch.chdir(tmp_path)
    assert torch.equal(load_model(ModelSource.from_json(kept))(frame), micro_depth)
    assert kept["kind"] == "checkpoint"


def test_a_source_sets_the_priors_size(
    micro_saved: Path, micro_depth: Tensor, frame: Tensor
) -> None:
    patch = 14
    source = ModelSource(str(micro_saved), prior_side=str(3 * patch))
    model = load_model(ModelSource.from_json(json.loads(json.dumps(source.to_json()))))
    assert model.prior is not None
    assert min(model.prior.input_size(480, 640)) == 3 * patch
    assert model.spec.conventions.prior_side == 3 * patch
    assert not torch.equal(model(frame), micro_depth)
    whole = load_model(ModelSource("tiny", seed=0, prior_side="frame"))
    assert whole.prior is not None and whole.prior.input_size(480, 640) == (490, 644)


@pytest.mark.parametrize("side", ["0", "-14", "big", "1.5", ""])
def test_a_priors_size_is_pixels_or_the_frame(side: str) -> None:
    with pytest.raises(UsageError, match="a number of pixels such as 518, or 'frame'"):
        load_model(ModelSource("tiny", seed=0, prior_side=side))


def test_a_priors_size_needs_a_prior() -> None:
    with pytest.raises(UsageError, match="no prior"):
        load_model(ModelSource("tiny", seed=0, prior="none", prior_side="70"))


def test_a_source_that_names_no_weights_is_an_error(micro_model: ApDepth) -> None:
    kept = ModelSource("mine", model=micro_model).to_json()
    with pytest.raises(CheckpointError, match="pass --checkpoint"):
        ModelSource.from_json(kept)
    with pytest.raises(CheckpointError, match="not one of ours"):
        ModelSource.from_json({"kind": "checkpoint"})


def test_random_weights_take_conventions_but_no_trained_parts() -> None:
    source = ModelSource("tiny", seed=0, prior="none", conventions="v1.1")
    assert load_model(source).spec.conventions.concat == ("rgb",)
    with pytest.raises(UsageError, match="random weights"):
        load_model(ModelSource("tiny", seed=0, unet="unet"))
    with pytest.raises(UsageError, match="no vae but 'taesd'"):
        load_model(ModelSource("tiny", seed=0, vae="vae"))
    with pytest.raises(CheckpointError, match="--random-weights"):
        load_model(ModelSource("small"))
