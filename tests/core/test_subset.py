"""``inspect --subset``: a copy with what one machine runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle, file_entry
from apdepth_deploy.cli import main

ENGINE = {
    "graph": "fused",
    "target": "tensorrt-rtx",
    "version": "1.8.0.1",
    "platform": "linux-x86_64",
    "batch": 1,
    "height": 64,
    "width": 96,
    "weights": {"fp16": 1},
    "weights_bytes": 1,
    "activation_bytes": 1,
    "layers": 1,
    "seconds": 1.0,
}


@pytest.fixture
def bundle(micro_bundle: Path, tmp_path: Path) -> Path:
    """The micro bundle with engines for three GPUs."""
    folder = shutil.copytree(micro_bundle, tmp_path / "bundle")
    opened = Bundle.open(folder)
    (folder / "engines").mkdir()
    for precision, capability in (("fp16", "8.9"), ("fp16", "12.0"), ("fp32", "8.9")):
        name = f"engines/fused.{precision}.{capability}.engine"
        (folder / name).write_bytes(capability.encode())
        entry = {"precision": precision, "compute_capabilities": [capability], "file": name}
        opened.manifest["engines"].append({**ENGINE, **entry})
        opened.manifest["files"][name] = file_entry(folder / name)
    opened.write_manifest()
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {
        "manifest.json"
    }


@pytest.mark.parametrize(
    ("options", "graphs", "engines"),
    [
        ([], {"fused.fp32", "fused.fp16", "unet.fp16"}, 3),
        (["--precision", "fp16", "--graph", "fused"], {"fused.fp16"}, 2),
        (["--graph", "fused", "--gpu", "RTX 4090"], {"fused.fp16", "fused.fp32"}, 2),
        (["--precision", "fp16", "--gpu", "sm120"], {"fused.fp16", "unet.fp16"}, 1),
        (["--precision", "fp32", "--gpu", "none"], {"fused.fp32", "unet.fp32"}, 0),
    ],
)
def test_what_was_asked_for_stays_and_nothing_else(
    bundle: Path, tmp_path: Path, options: list[str], graphs: set[str], engines: int
) -> None:
    target = tmp_path / "part"
    assert main(["inspect", str(bundle), "--subset", str(target), *options]) == 0
    part, whole = Bundle.open(target), Bundle.open(bundle)
    labels = {graph.label for graph in part.graphs}
    assert graphs <= labels and (not options or "fused.bf16" not in labels)
    assert len(part.engines) == engines
    assert files(target) == set(part.manifest["files"])
    assert {name for name in files(bundle) if name.startswith("golden/")} <= files(target)
    for name, entry in part.manifest["files"].items():
        part.check_hash(name)
        assert entry == whole.manifest["files"][name]
    kept = {(record["graph"], record["precision"]) for record in part.manifest["parity"]}
    assert kept == set(part.chains)
    same = set(whole.manifest) - {"graphs", "engines", "parity", "files"}
    assert {key: part.manifest[key] for key in same} == {key: whole.manifest[key] for key in same}


def test_depth_of_the_part_is_that_of_the_whole(
    bundle: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    options = ["--precision", "fp32", "--graph", "fused", "--gpu", "none"]
    assert main(["inspect", str(bundle), "--subset", str(tmp_path / "part"), *options]) == 0
    part = load(tmp_path / "part", "onnxruntime")(photo)
    assert (part == load(bundle, "onnxruntime", precision="fp32", graph="fused")(photo)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "bf16"], "nothing of it would stay"),
        (["--precision", "fp8"], "unknown 'fp8': choose of fp32, fp16, bf16"),
        (["--graph", "half"], "unknown 'half': choose of fused, staged"),
        (["--gpu", "sm75"], "has no engine for 7.5: build one"),
        (["--gpu", "Voodoo"], "unknown GPU 'Voodoo'"),
    ],
)
def test_what_can_not_be_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    target = tmp_path / "part"
    assert main(["inspect", str(bundle), "--subset", str(target), *options]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not target.exists()


def test_a_damaged_file_leaves_no_copy(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bundle / "onnx/fused.fp32.data"
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    assert main(["inspect", str(bundle), "--subset", str(tmp_path / "part")]) == 2
    assert "fused.fp32.data is damaged" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "part").exists()


def test_what_to_keep_without_a_folder_is_refused(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(bundle), "--gpu", "none"]) == 2
    assert "--subset FOLDER" in " ".join(capsys.readouterr().err.split())


def test_what_is_no_bundle_is_not_replaced(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("mine")
    assert main(["inspect", str(bundle), "--subset", str(tmp_path / "notes")]) == 2
    assert files(tmp_path / "notes") == {"mine.txt"}
