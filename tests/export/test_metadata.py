"""ONNX files that speak for themselves; licences from card to file. Read by onnx alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import onnx
import pytest

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.checkpoint import card_license
from apdepth_deploy.cli import main
from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.export.metadata import describe
from apdepth_deploy.model.loading import licenses
from apdepth_deploy.spec import ModelSource, ModelSpec, preset, without_prior


def said_by(path: Path) -> dict[str, str]:
    model = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def test_a_file_tells_a_stranger_what_it_is(micro_bundle: Path) -> None:
    said = said_by(micro_bundle / "onnx" / "fused.fp16.onnx")
    assert said["quantity"].startswith("relative depth")
    assert (said["units"], said["range"], said["near"], said["far"]) == ("none", "0 .. 1", "0", "1")
    assert said["model_license"] == "weights not stated, prior not stated"
    assert (said["precision"], said["graph"], said["weights"]) == ("fp16", "fused", "trained")
    assert said["size_rule"] == "batch 1; height 64; width 96"
    assert json.loads(said["conventions"])["timestep"] == 1
    stage = said_by(micro_bundle / "onnx" / "unet.fp32.onnx")
    assert stage["graph"] == "stage unet" and "near" not in stage
    assert "latent" in stage["quantity"] and "latent" in stage["input"]


@pytest.mark.parametrize(("name", "stages"), [("fused.fp32", None), ("unet.fp16", "unet")])
def test_the_digest_is_of_the_manifests_records(
    micro_bundle: Path, name: str, stages: str | None
) -> None:
    manifest = json.loads((micro_bundle / "manifest.json").read_text())
    kind = "fused" if stages is None else "staged"
    own = [
        one
        for one in manifest["parity"]
        if (one["graph"], one["precision"]) == (kind, name[-4:]) and stages in (None, one["stage"])
    ]
    assert own
    text = json.dumps(own, sort_keys=True, separators=(",", ":"))
    parity = said_by(micro_bundle / "onnx" / f"{name}.onnx")["parity"]
    assert parity.startswith(f"passed: onnxruntime against PyTorch float32, {len(own)} comparisons")
    assert parity.endswith(hashlib.sha256(text.encode()).hexdigest())


def test_the_manifest_has_the_hash_of_what_was_written_last(micro_bundle: Path) -> None:
    bundle = Bundle.open(micro_bundle)
    for graph in bundle.graphs:
        bundle.check_hash(graph.file)


def test_a_range_and_what_was_not_measured(micro_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(micro_bundle, tmp_path / "bundle")
    path = tmp_path / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["graphs"][0] |= {"batch": [1, 2, 4], "height": [72, 240, 480]}
    manifest["parity"] = []
    path.write_text(json.dumps(manifest))
    bundle = Bundle.open(tmp_path / "bundle")
    said = describe(bundle, bundle.graphs[0])
    step = bundle.spec.latent_stride
    assert said["size_rule"] == (
        f"batch 1 .. 4, tuned for 2; height 72 .. 480, multiples of {step}, tuned for 240; width 96"
    )
    assert said["parity"] == "not measured"


CARD = "---\nlicense: {}\ntags: [depth]\n---\n# A model\nlicense: not this\n"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (None, None),
        ("# No head\nlicense: mit\n", None),
        (CARD.format("apache-2.0"), "apache-2.0"),
        (CARD.format("[mit, cc-by-4.0]"), "mit, cc-by-4.0"),
        (CARD.format("other\nlicense_name: our-own"), "our-own"),
        (CARD.format("other"), "other"),
        (CARD.format(""), None),
        ("---\ntags: [depth]\n---\n", None),
    ],
)
def test_what_a_card_says(tmp_path: Path, card: str | None, expected: str | None) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert card_license(tmp_path) == expected


@pytest.mark.parametrize("card", ["---\n- mit\n---\n", "---\nlicense: [mit\n---\n", b"\xff\xfe---"])
def test_a_card_that_can_not_be_read_is_named_with_the_way_out(
    tmp_path: Path, card: str | bytes
) -> None:
    (tmp_path / "README.md").write_bytes(card.encode() if isinstance(card, str) else card)
    with pytest.raises(CheckpointError, match=r"README.md can't be read.* --license"):
        card_license(tmp_path)


def test_each_part_has_its_own_licence(tmp_path: Path, micro_spec: ModelSpec) -> None:
    for part, license_ in (("model", "openrail++"), ("vae", "mit"), ("prior", "bsd")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "README.md").write_text(CARD.format(license_))
    (tmp_path / "unet").mkdir()
    (tmp_path / "vits.pth").touch()
    name = str(tmp_path / "model")

    def found(spec: ModelSpec = micro_spec, asked: str | None = None, **over: str) -> object:
        places = {part: str(tmp_path / place) for part, place in over.items()}
        return licenses(ModelSource(name, **places), spec, asked)

    assert found() == {"weights": "openrail++", "prior": "openrail++"}
    assert found(asked="mine") == {"weights": "mine", "prior": "mine"}
    assert found(without_prior(micro_spec)) == {"weights": "openrail++"}
    over = {"unet": "unet", "vae": "vae", "prior": "prior"}
    assert found(**over) == {"weights": "openrail++", "unet": None, "vae": "mit", "prior": "bsd"}
    assert found(prior="vits.pth") == {"weights": "openrail++", "prior": None}
    large = preset("large")
    assert found(large, prior="vits.pth") == {"weights": "openrail++", "prior": "CC-BY-NC-4.0"}
    assert licenses(ModelSource("tiny", seed=1), micro_spec, None) == {
        "weights": None,
        "prior": None,
    }
    assert licenses(ModelSource("tiny"), preset("tiny"), None)["weights"] == "apache-2.0"


def test_the_licence_goes_from_the_option_to_manifest_file_and_inspect(
    bare_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--height", "64", "--width", "64", "--no-verify", "--license", "cc-by-4.0"]
    bundle = tmp_path / "bundle"
    assert main(["export", str(bare_checkpoint), "-o", str(bundle), *words]) == 0
    assert json.loads((bundle / "manifest.json").read_text())["license"] == {"weights": "cc-by-4.0"}
    said = said_by(bundle / "onnx" / "fused.fp16.onnx")
    assert said["model_license"] == "weights cc-by-4.0" and said["parity"] == "not measured"
    assert main(["inspect", str(bundle)]) == 0
    assert "licence: weights cc-by-4.0" in capsys.readouterr().out
