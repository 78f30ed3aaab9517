from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.cli import main
from apdepth_deploy.errors import (
    ApDepthError,
    CheckpointError,
    OutputError,
    ParityError,
    UsageError,
)
from apdepth_deploy.export import FrameShape, bundle_export, export_bundle
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import load_model
from apdepth_deploy.spec import ModelSource, without_prior


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"kinds": ("whole",)}, UsageError, "graph: whole; choose from fused, staged"),
        ({"precisions": ("int8",)}, UsageError, "precision: int8; choose from fp32, fp16, bf16"),
        ({"precisions": ()}, UsageError, "precision: none"),
        ({"opset": 17}, UsageError, "opset must be 18 to 23"),
        ({"shape": FrameShape.fixed(0, 64, 96)}, UsageError, "batch"),
        ({"shape": FrameShape.fixed(1, 60, 96)}, UsageError, "multiple of 8"),
    ],
)
def test_wrong_arguments_write_nothing(micro_spec, tmp_path, arguments, kind, message):
    with pytest.raises(kind, match=message):
        export_bundle(ApDepth.from_spec(micro_spec), tmp_path / "bundle", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_preset_without_trained_weights_says_what_to_add(tmp_path):
    with pytest.raises(CheckpointError, match="add --random-weights"):
        export_bundle(ModelSource("small"), tmp_path / "bundle")


def test_a_folder_that_is_no_bundle_is_not_replaced(micro_spec, tmp_path, contents):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="not something we made"):
        export_bundle(ApDepth.from_spec(micro_spec), tmp_path)
    assert contents(tmp_path) == {"precious.txt": b"mine"}


def test_a_graph_that_strays_is_not_written_and_the_old_bundle_stays(
    micro_bundle, micro_spec, tmp_path, monkeypatch, contents
):
    """The gate is real: a graph of other weights than the reference's must not pass it."""
    target = tmp_path / "bundle"
    shutil.copytree(micro_bundle, target)
    before = contents(target)
    prepare = bundle_export.prepare

    def break_unet(model, precision, size):
        model.unet.conv_out.weight.data.mul_(1.5)
        return prepare(model, precision, size)

    monkeypatch.setattr(bundle_export, "prepare", break_unet)
    with pytest.raises(ParityError, match=r"fused.fp32 strays .* first in stage 'unet'"):
        export_bundle(
            ApDepth.from_spec(without_prior(micro_spec)),
            target,
            precisions=("fp32",),
            shape=FrameShape.fixed(1, 64, 64),
        )
    assert contents(target) == before
    assert list(tmp_path.iterdir()) == [target]


def test_the_callers_model_is_left_as_it_is(micro_spec, micro_bundle):
    """micro_bundle comes from such a model, and its manifest says so."""
    source = Bundle.open(micro_bundle).manifest["source"]
    assert source["kind"] == "model"
    with pytest.raises(CheckpointError, match="pass --checkpoint"):
        ModelSource.from_json(source)
    model = ApDepth.from_spec(micro_spec)
    copy = load_model(ModelSource("x", model=model))
    copy.half()
    assert model.dtype.itemsize == 4


def test_a_full_disk_midway_keeps_the_old_bundle(
    micro_bundle, bare_checkpoint, tmp_path, contents, capsys, file_limit
):
    """No file may have more than 20 kB: the first graph's weights don't fit."""
    target = tmp_path / "bundle"
    shutil.copytree(micro_bundle, target)
    before = contents(target)
    words = ["export", str(bare_checkpoint), "--no-verify", "--height", "64", "--width", "64"]
    with file_limit(20_000):
        assert main([*words, "--graph", "staged", "-o", str(target)]) == 2
    said = capsys.readouterr().err
    assert "error: can't write" in said and "Traceback" not in said
    assert contents(target) == before
    assert list(tmp_path.iterdir()) == [target]


def test_non_commercial_priors_are_named(micro_spec):
    from apdepth_deploy.spec import PRESETS

    shape = FrameShape.fixed(1, 480, 640)
    assert list(bundle_export._notes(PRESETS["small"], shape)) == []
    (note,) = bundle_export._notes(PRESETS["large"], shape)
    assert "CC-BY-NC-4.0" in note and "no commercial use" in note


def test_export_takes_the_largest_size_in_training_and_says_so_of_another(micro_spec, tmp_path):
    sizes = ((64, 64), (72, 64))
    model = ApDepth.from_spec(dataclasses.replace(without_prior(micro_spec), trained_at=sizes))
    lines = []
    made = export_bundle(
        model, tmp_path / "bundle", precisions=("fp32",), verify=False, progress=lines.append
    )
    assert made.frame_shape == (1, 72, 64)
    assert Bundle.open(tmp_path / "bundle").spec.trained_at == sizes
    assert not [line for line in lines if line.startswith("warning")]
    lines = bundle_export._notes(model.spec, FrameShape.fixed(2, 64, 72))
    assert list(lines) == [
        "warning: frames of 64x72: the model was trained at 64x64 and 72x64, and what it has not "
        "seen costs accuracy; 72x64 is the default"
    ]
    assert not list(bundle_export._notes(model.spec, FrameShape.fixed(2, 64, 64)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--batch", "2"], (2, 72, 64)),
        (["--height", "80"], (1, 80, 64)),
        (["--height", "480", "--width", "640"], (1, 480, 640)),
        (["--height", "0"], (1, 0, 64)),  # refused later, not taken for none
        (["--dynamic", "--min", "1x64x64", "--max", "4x96x96"], (1, 72, 64)),
        (["--dynamic", "--min", "1x64x64", "--opt", "2x80x80", "--max", "4x96x96"], (2, 80, 80)),
    ],
)
def test_the_command_asks_for_the_checkpoints_size_where_it_gets_none(
    micro_spec, tmp_path, monkeypatch, options, expected
):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    plain = {"conventions": {}, "trained_at": [[72, 64], [64, 64]]}
    (folder / "apdepth.json").write_text(json.dumps(plain))
    asked = []

    def stop(source, output, *, shape, **options):
        asked.append(shape.opt)
        raise CheckpointError("enough")

    monkeypatch.setattr(bundle_export, "export_bundle", stop)
    assert main(["export", str(folder), "-o", str(tmp_path / "bundle"), *options]) == 2
    assert asked == [expected]


def test_a_prior_with_a_fixed_side_needs_a_fixed_frame(micro_spec, tmp_path):
    conventions = dataclasses.replace(micro_spec.conventions, prior_side=70)
    spec = dataclasses.replace(micro_spec, conventions=conventions)
    shape = FrameShape.ranged((1, 64, 64), (1, 64, 64), (1, 128, 128))
    with pytest.raises(UsageError, match="needs a fixed frame size"):
        export_bundle(ApDepth.from_spec(spec), tmp_path / "bundle", shape=shape)


def test_every_failure_is_one_of_ours(tmp_path):
    with pytest.raises(ApDepthError):
        export_bundle("no/such-checkpoint-anywhere", tmp_path / "bundle")
