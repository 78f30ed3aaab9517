"""Bundles that lost or changed something on their way: refused by the name of what is wrong."""

from __future__ import annotations

import copy
import json
import random
import runpy
import shutil
from pathlib import Path

import pytest

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.cli import main
from apdepth_deploy.errors import ApDepthError, BundleError


@pytest.fixture
def copied(tmp_path: Path, micro_bundle: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "no manifest.json. Make one with `export`"),
        ("", "can't be read"),
        ("{", "can't be read"),
        ("[" * 100_000, "can't be read"),
        ('{"a": ' * 65 + "1" + "}" * 65, "can't be read: it is nested more than 64 deep"),
        ('{"schema_version": 1, "schema_version": 1}', "can't be read: an object has two values"),
        ('{"schema_version": NaN}', "can't be read"),
        ('{"schema_version": 1e999}', "can't be read"),
        ('{"schema_version": 1' + "0" * 5000 + "}", "can't be read"),
        ('{"schema_version": "\\ud800"}', "can't be read"),
        (b"\xff\xfe", "can't be read"),
        ("[]", "schema_version 'None'"),
        ('"text"', "schema_version 'None'"),
        ("{}", "schema_version 'None'"),
        ('{"schema_version": 2}', "schema_version '2' and this program reads 1"),
        ('{"schema_version": "1"}', "schema_version '1'"),
        ('{"schema_version": true}', "schema_version 'True'"),
        ('{"schema_version": 1}', "'created' of the manifest is missing"),
    ],
)
def test_a_manifest_that_is_none_of_ours_is_refused(
    tmp_path: Path, content: str | bytes | None, rule: str
) -> None:
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(BundleError, match=rule) as caught:
        Bundle.open(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("place", ["missing", "file", "folder_for_manifest", "x" * 300, "nul\0"])
def test_a_place_without_a_manifest_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder_for_manifest" / "manifest.json").mkdir(parents=True)
    with pytest.raises(BundleError):
        Bundle.open(tmp_path / place)


@pytest.mark.parametrize("name", ["onnx/fused.fp32.onnx", "onnx/unet.fp16.data"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing .* copy the whole folder"):
        Bundle.open(bundle)


def test_a_file_of_another_size_is_named(bundle: Path) -> None:
    path = bundle / "onnx/fused.fp32.data"
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=rf"fused\.fp32\.data has {size + 1} bytes, .* {size}"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["onnx/fused.fp32.onnx", "onnx/fused.fp32.data"])
def test_one_flipped_bit_is_found_before_the_engine_sees_it(
    copied: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    Bundle.open(copied)  # hashes cost time: only those of the files in use are compared
    with pytest.raises(BundleError, match=rf"{name} is damaged: its SHA-256"):
        load(copied)
    load(copied, precision="fp16")
    for verb in (["infer", "x.png", "-o", "out"], ["verify"]):
        assert main([verb[0], str(copied), *verb[1:]]) == 2
        assert capsys.readouterr().err.endswith("Copy the bundle again, or export it again\n")


def test_links_may_stay_inside_and_not_leave(bundle: Path) -> None:
    data = bundle / "onnx/fused.fp32.data"
    data.rename(bundle / "weights")
    data.symlink_to("../weights")
    Bundle.open(bundle)
    (bundle / "weights").rename(bundle.parent / "weights")
    data.unlink()
    data.symlink_to("../../weights")
    with pytest.raises(BundleError, match=r"fused\.fp32\.data is a link that leaves the bundle"):
        Bundle.open(bundle)


def test_a_linked_folder_may_not_leave(bundle: Path) -> None:
    (bundle / "onnx").rename(bundle.parent / "onnx")
    (bundle / "onnx").symlink_to("../onnx")
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle.open(bundle)


JUNK = [None, True, -1, 0, 3, 1e308, "", "x", "../x", [], {}, [1, 2, 3], {"a": 1}, 10**40]
mutate = runpy.run_path(str(Path(__file__).parents[1] / "mutating.py"))["mutate"]


def test_a_thousand_mutated_manifests_open_or_are_refused_in_words(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    path = bundle / "manifest.json"
    whole = json.loads(path.read_text())
    whole["graphs"], whole["parity"] = whole["graphs"][:2], whole["parity"][:2]
    whole["graphs"][1] = {**whole["graphs"][0], "precision": "fp16"}
    codes = []
    for _ in range(1000):
        manifest = copy.deepcopy(whole)
        for _ in range(rng.randint(1, 2)):
            mutate(manifest, rng, JUNK)
        path.write_text(json.dumps(manifest))
        try:
            opened = Bundle.open(bundle)
            _ = opened.spec, opened.chains, opened.source("x")
        except ApDepthError:
            continue
        codes.append(main(["inspect", str(bundle)]))  # and what opens can be shown
        assert "defect" not in capsys.readouterr().err
    assert 50 < len(codes) < 700 and set(codes) <= {0, 2}


def test_flipped_characters_in_the_manifest_open_or_are_refused_in_words(bundle: Path) -> None:
    rng = random.Random(1)
    path = bundle / "manifest.json"
    whole = path.read_bytes()
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            Bundle.open(bundle)
        except ApDepthError as error:
            assert "manifest.json" in str(error) or "missing" in str(error)
