"""Specs as data, and the sizes that follow from them: those of the real networks."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.model.networks import count_gflop, count_parameters
from apdepth_deploy.spec import (
    CONVENTIONS,
    DEPTH_ANYTHING_V2,
    PRESETS,
    ModelSpec,
    conventions_from_json,
    named_conventions,
    preset,
    prior_licence,
    without_prior,
)

TAESD = {
    "_class_name": "AutoencoderTiny",
    "encoder_block_out_channels": [64, 64, 64, 64],
    "decoder_block_out_channels": [64, 64, 64, 64],
    "scaling_factor": 1.0,
}


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS)
def test_a_spec_goes_through_json_and_back(spec: ModelSpec) -> None:
    for each in (spec, without_prior(spec)):
        assert ModelSpec.from_json(json.loads(json.dumps(each.to_json()))) == each


def test_conventions_go_through_json_and_back() -> None:
    rules = dataclasses.replace(CONVENTIONS["v1.1"], prior_side=518, concat=("rgb", "prior"))
    plain = json.loads(json.dumps(dataclasses.asdict(rules)))
    assert conventions_from_json(plain) == rules
    assert conventions_from_json({}) == CONVENTIONS["v1.1"]


def test_v1_1_is_the_authors_release() -> None:
    rules = named_conventions("v1.1")
    assert (rules.prior_mean, rules.prior_std) == ((0.5,) * 3, (0.5,) * 3)
    assert (rules.prior_side, rules.position_offset, rules.prior_output) == (None, 0.1, "raw")
    assert (rules.concat, rules.timestep, rules.latent_scale) == (("prior", "rgb"), 1, 0.18215)


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prior"),
    [
        ("small", 24_785_089),
        ("base", 97_470_785),
        ("large", 335_315_649),
        ("giant", 1_258_132_225),
    ],
)
def test_presets_have_the_parameters_of_the_real_networks(name: str, prior: int) -> None:
    counts = {"prior": prior, "vae": 83_653_863, "unet": 865_922_244}
    assert count_parameters(preset(name)) == counts


def test_without_a_prior_the_unet_takes_4_channels() -> None:
    counts = {"vae": 83_653_863, "unet": 865_910_724}
    assert count_parameters(without_prior(preset("small"))) == counts


def test_tiny_is_under_ten_million_parameters() -> None:
    assert sum(count_parameters(preset("tiny")).values()) < 10_000_000


def test_gflop_of_a_camera_frame() -> None:
    small = preset("small")
    gflop = count_gflop(small, 1, 480, 640)
    expected = {"prior": 143, "encoder": 2 * 1315.5, "unet": 962, "decoder": 2954}
    assert gflop == pytest.approx(expected, abs=0.5)
    with_taesd = count_gflop(dataclasses.replace(small, vae=TAESD), 1, 480, 640)
    assert sum(with_taesd.values()) == pytest.approx(1557, abs=0.5)


def test_gflop_of_the_giant_prior() -> None:
    spec = dataclasses.replace(
        preset("tiny"), prior=DEPTH_ANYTHING_V2["g"], conventions=CONVENTIONS["v1.1"]
    )
    assert count_gflop(spec, 1, 480, 640)["prior"] == pytest.approx(5426, abs=0.5)


def test_a_latent_stands_for_8_by_8_pixels() -> None:
    assert preset("tiny").latent_stride == preset("giant").latent_stride == 8
    assert dataclasses.replace(preset("small"), vae=TAESD).latent_stride == 8


# --- errors --------------------------------------------------------------------------------------


def test_unknown_names_are_errors_that_list_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'huge': choose one of tiny, small, base, large, giant"):
        preset("huge")
    with pytest.raises(UsageError, match=r"'v2': choose one of v1\.1, normalized"):
        named_conventions("v2")


@pytest.mark.parametrize(
    "change",
    [
        {"conventions": None},
        {"conventions": {"prior_siez": 1}},
        {"text_shape": 3},
        {"colour": "red"},
    ],
)
def test_json_of_something_else_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        ModelSpec.from_json({**preset("tiny").to_json(), **change})
    with pytest.raises(CheckpointError, match="conventions"):
        ModelSpec.from_json({"name": "tiny"})


def test_conventions_must_make_sense() -> None:
    with pytest.raises(CheckpointError, match="prior_output is 'log'"):
        conventions_from_json({"prior_output": "log"})
    with pytest.raises(CheckpointError, match="concat"):
        conventions_from_json({"concat": ["rgb", "rgb"]})


def test_channels_and_prior_must_agree() -> None:
    tiny = preset("tiny")
    with pytest.raises(CheckpointError, match=r"8 channels, but no prior gives 4: pass --prior"):
        dataclasses.replace(tiny, prior=None)
    with pytest.raises(CheckpointError, match=r"4 channels, but a prior gives 8"):
        dataclasses.replace(tiny, unet={**tiny.unet, "in_channels": 4})


def test_licences_follow_the_size_of_the_prior() -> None:
    licences = {name: prior_licence(spec) for name, spec in PRESETS.items()}
    not_commercial = dict.fromkeys(("base", "large", "giant"), "CC-BY-NC-4.0")
    assert licences == {"tiny": None, "small": "Apache-2.0", **not_commercial}
    assert prior_licence(without_prior(preset("giant"))) is None


@pytest.mark.parametrize(
    "field",
    [
        {"prior_mean": [0.5]},
        {"prior_std": [0.5, 0.5, 0]},
        {"prior_side": 0},
        {"position_offset": "0.1"},
        {"prior_output": "log"},
        {"concat": ["rgb", 1]},
        {"timestep": 1.5},
        {"latent_scale": 0},
    ],
)
def test_a_convention_that_cannot_be_is_named(field):
    (name,) = field
    with pytest.raises(CheckpointError, match=f"conventions: {name} is .* must be"):
        conventions_from_json(field)
