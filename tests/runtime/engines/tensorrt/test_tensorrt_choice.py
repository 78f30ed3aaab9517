"""What is compared before an engine is loaded: each mismatch is a line with both sides in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx

from apdepth_deploy import load
from apdepth_deploy.bundle import file_entry
from apdepth_deploy.errors import ApDepthError, BackendError, BundleError, UsageError
from apdepth_deploy.machine.tensorrt import platform

Add = Callable[..., Path]
MakeBundle = Callable[..., Path]
INFER = [sys.executable, "-m", "apdepth_deploy", "infer"]


def load_rtx(folder: Path, **options: Any) -> ApDepthError:
    """The error that loading ends with, in one line."""
    with pytest.raises(ApDepthError) as caught:
        load(folder, "tensorrt-rtx", **options)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("built", [True, False])
def test_without_a_gpu_a_line_says_what_to_use(
    mean_bundle: MakeBundle, add_engines: Add, built: bool, tmp_path: Path
) -> None:
    """In a real process without a fake; building an engine first would be of no help."""
    folder = mean_bundle(1, 32, 48)
    if built:
        add_engines(folder)
    photo = str(Path(__file__).parents[4] / "apdepth_deploy/data/bicycle.jpg")
    command = [*INFER, str(folder), photo, "-o", str(tmp_path / "out"), "--backend", "tensorrt-rtx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == (
        "error: tensorrt-rtx needs an NVIDIA GPU and its driver, and this machine has none: "
        "use --backend onnxruntime, or auto\n"
    )
    assert (done.stdout, done.returncode) == ("", 2)


def test_auto_without_a_gpu_says_why_not_tensorrt(
    mean_bundle: MakeBundle, add_engines: Add
) -> None:
    predictor = load(add_engines(mean_bundle(1, 32, 48)))
    assert predictor.backend == "onnxruntime"  # before OpenVINO
    assert predictor.reason.endswith(
        "; not tensorrt-rtx: tensorrt-rtx needs an NVIDIA GPU and its driver, and this machine "
        "has none"
    )


def test_auto_takes_an_engine_that_fits(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    predictor = load(add_engines(mean_bundle(1, 32, 48)))
    assert predictor.reason == (
        "tensorrt-rtx on cuda:0, fp32, fused engine: built for NVIDIA Test GPU (8.9)"
    )


def test_auto_passes_over_an_engine_that_does_not_fit(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    folder = add_engines(mean_bundle(1, 32, 48), version="1.0")
    predictor = load(folder)
    assert predictor.backend == "onnxruntime"  # before OpenVINO
    assert "; not tensorrt-rtx: fused.fp32 was built by tensorrt-rtx 1.0 and" in predictor.reason
    add_engines(folder)
    assert load(folder).backend == "tensorrt-rtx"
    assert load(folder, device="cpu").backend == "onnxruntime"
    gpu.trt._fails["load"] = "Error Code 9: broken"
    assert "Error Code 9: broken" in load(folder).reason


def test_auto_says_that_no_engine_is_built(gpu: Any, mean_bundle: MakeBundle) -> None:
    assert load(mean_bundle(1, 32, 48)).reason.endswith("; no TensorRT engine is built")


@pytest.mark.parametrize(
    ("changes", "both_sides"),
    [
        ({"version": "1.0.9"}, f"by tensorrt-rtx 1.0.9 and this is {tensorrt_rtx.__version__}"),
        ({"platform": "linux-riscv"}, f"built for linux-riscv and this is {platform()}"),
        (
            {"compute_capabilities": ("8.6", "12.0")},
            r"capability 8.6, 12.0 and cuda:0 (NVIDIA Test GPU) has 8.9",
        ),
        ({"target": "tensorrt"}, "has no tensorrt-rtx engine"),
    ],
)  # fmt: skip
def test_a_mismatch_names_both_sides_and_the_line_that_mends_it(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add, changes: dict[str, Any], both_sides: str
) -> None:
    folder = add_engines(mean_bundle(1, 32, 48), **changes)
    error = load_rtx(folder)
    assert both_sides in str(error)
    line = f": `apdepth-deploy build {folder} --target tensorrt-rtx --gpu sm89`"
    assert str(error).endswith(line)
    add_engines(folder)  # what the line does: the engine that fits is found among the others
    frame = np.full((32, 48, 3), 51, np.uint8)
    np.testing.assert_allclose(load(folder, "tensorrt-rtx")(frame), 0.2, atol=1e-6)


def test_a_precision_that_is_not_built_is_named(gpu: Any, micro: Path, add_engines: Add) -> None:
    add_engines(micro, precision="fp32")
    assert "its tensorrt-rtx engines are fp32, not fp16" in str(load_rtx(micro, precision="fp16"))
    add_engines(micro, precision="fp16")
    assert load(micro, "tensorrt-rtx").precision == "fp16"  # what a GPU runs best
    assert load(micro, "tensorrt-rtx", precision="fp32").precision == "fp32"


def test_the_kind_of_chain_may_be_chosen(gpu: Any, micro: Path, add_engines: Add) -> None:
    add_engines(add_engines(micro, "fused"), "staged")
    assert "fused engine" in load(micro, "tensorrt-rtx").reason
    assert "staged engine" in load(micro, "tensorrt-rtx", graph="staged").reason


def test_half_a_chain_is_none(gpu: Any, micro: Path, add_engines: Add) -> None:
    add_engines(micro, "staged")
    path = micro / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["engines"].pop(1)
    path.write_text(json.dumps(manifest))
    assert "are no whole way from frame to depth: `apdepth-deploy build" in str(load_rtx(micro))


def test_gpus_are_counted(gpu: Any, mean_bundle: MakeBundle, add_engines: Add) -> None:
    folder = add_engines(mean_bundle(1, 32, 48))
    assert "there is no cuda:1, only 1 NVIDIA" in str(load_rtx(folder, device="cuda:1"))
    gpu.gpus.append({"name": "NVIDIA Second", "compute_capability": "8.9"})
    assert load(folder, "tensorrt-rtx", device="cuda:1").device == "cuda:1"
    with pytest.raises(UsageError, match="runs on NVIDIA GPUs, not on cpu"):
        load(folder, "tensorrt-rtx", device="cpu")


def test_tensorrt_that_is_not_installed(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    folder = add_engines(mean_bundle(1, 32, 48), target="tensorrt")
    with pytest.raises(BackendError, match=r"tensorrt is not installed: pip install 'apdepth-dep"):
        load(folder, "tensorrt")


def test_a_known_bad_version_is_a_warning(
    standard_gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    standard_gpu.trt.__version__ = "10.5.0"
    folder = add_engines(mean_bundle(1, 32, 48), target="tensorrt", version="10.5.0")
    warning, _ = load(folder, "tensorrt").warnings
    assert "10.5.0 was reported to give wrong results: vision transformers" in warning


def test_where_rtx_never_runs_the_way_out_is_tensorrt(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    """TensorRT for RTX builds for Hopper, and refuses there to load what it has built."""
    gpu.gpus[:] = [{**gpu.gpus[0], "compute_capability": "9.0"}]
    folder = add_engines(mean_bundle(1, 32, 48), compute_capabilities=("9.0",))
    gpu.trt._fails["load"] = "Error Code 9: this compute capability is not supported"
    with pytest.raises(BackendError) as caught:
        load(folder, "tensorrt-rtx")
    line = f"`apdepth-deploy build {folder} --target tensorrt --gpu sm90`"
    assert str(caught.value).endswith(line) and "-rtx --gpu" not in str(caught.value)


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_damaged_plan_never_reaches_tensorrt(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add, damage: str
) -> None:
    folder = add_engines(mean_bundle(1, 32, 48))
    (plan,) = (folder / "engines").iterdir()
    data = bytearray(plan.read_bytes())
    data[-1] ^= 1
    plan.write_bytes(data if damage == "flip" else data[:-1])
    for backend in ("tensorrt-rtx", "auto"):
        with pytest.raises(
            BundleError, match=r"is damaged: .*`apdepth-dep|bytes, the manifest say"
        ):
            load(folder, backend)
    assert not gpu.trt._contexts


def test_a_plan_that_tensorrt_refuses_is_quoted_from_its_log(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    folder = add_engines(mean_bundle(1, 32, 48))
    gpu.trt._fails["load"] = "Error Code 1: Serialization (magicTag failed)"
    assert "engine can't be loaded (Error Code 1: Serialization (magicTag failed)): `apde" in str(
        load_rtx(folder)
    )


@pytest.mark.parametrize(
    ("plan", "changes", "strays"),
    [
        ({"renamed": {"depth": "disparity"}}, {}, "tensors ['disparity', 'image'] and"),
        ({}, {"batch": 2}, "frames [1, 32, 48, 3] and the manifest says [2, 32, 48, 3]"),
    ],
)
def test_an_engine_of_another_graph_is_refused(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add, plan: Any, changes: Any, strays: str
) -> None:
    error = load_rtx(add_engines(mean_bundle(1, 32, 48), plan=plan, **changes))
    assert strays in str(error) and "`apdepth-deploy build" in str(error)


def test_an_engine_with_other_shapes_is_refused(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add, tmp_path: Path
) -> None:
    folder = add_engines(mean_bundle(1, 32, 48))
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["graphs"][0]["outputs"][0]["shape"] = [1, 48, 32]
    path.write_text(json.dumps(manifest))
    assert "has depth [1, 32, 48] and the manifest says [1, 48, 32]" in str(load_rtx(folder))
    manifest["graphs"][0]["outputs"][0] |= {"shape": [1, 32, 48], "dtype": "float16"}
    path.write_text(json.dumps(manifest))
    assert "has depth in FLOAT and the manifest says float16" in str(load_rtx(folder))


def test_hashes_may_be_left_unchecked(gpu: Any, mean_bundle: MakeBundle, add_engines: Add) -> None:
    folder = add_engines(mean_bundle(1, 32, 48))
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    (name,) = (name for name in manifest["files"] if name.startswith("engines/"))
    manifest["files"][name] = {**file_entry(folder / name), "sha256": "0" * 64}
    path.write_text(json.dumps(manifest))
    assert isinstance(load_rtx(folder), BundleError)
    load(folder, "tensorrt-rtx", check_hashes=False)
