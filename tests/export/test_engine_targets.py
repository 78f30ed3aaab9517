"""Which GPUs an engine is built for, and what is said where it can't be."""

from __future__ import annotations

import shutil

import pytest

from apdepth_deploy.errors import BackendError
from apdepth_deploy.export import build_engines, engine_build

trt = pytest.importorskip("tensorrt_rtx")

FUSED_FP16 = {"graphs": ["fused"], "precisions": ["fp16"]}


def test_standard_tensorrt_builds_for_the_gpu_here(monkeypatch):
    monkeypatch.setattr(engine_build, "load_tensorrt", lambda target: trt)
    with pytest.raises(BackendError, match="there is none here: build on the target machine, or"):
        engine_build.prepare_target("tensorrt", [])
    with pytest.raises(BackendError, match="there is none here"):
        engine_build.prepare_target("tensorrt-rtx", ["current"])
    here = [{"name": "NVIDIA L4", "compute_capability": "8.9"}]
    monkeypatch.setattr(engine_build, "nvidia_gpus", lambda: here)
    assert engine_build.prepare_target("tensorrt", [])[1] == ("8.9",)
    assert engine_build.prepare_target("tensorrt", ["L4"])[1] == ("8.9",)
    assert engine_build.prepare_target("tensorrt-rtx", ["current"])[1] == ("8.9",)
    with pytest.raises(BackendError, match=r"builds for the GPU here \(8.9\), not for 8.6"):
        engine_build.prepare_target("tensorrt", ["sm86"])


@pytest.mark.parametrize("capability", ["8.7", "9.0", "10.0", "10.3", "11.0"])
def test_rtx_is_not_built_for_a_gpu_that_refuses_it(capability, monkeypatch, micro_bundle):
    """The builder takes any GPU as "current", and on Hopper the runtime takes no such engine."""
    here = [{"name": "NVIDIA H200", "compute_capability": capability}]
    monkeypatch.setattr(engine_build, "nvidia_gpus", lambda: here)
    for gpus in (["current"], [capability], ["sm86", capability]):
        with pytest.raises(BackendError, match=f"compute capability {capability}: use --target te"):
            build_engines(micro_bundle, "tensorrt-rtx", gpus)


def test_building_for_other_gpus_on_one_that_refuses_them_is_said(
    monkeypatch, micro_bundle, tmp_path
):
    lines = []
    here = [{"name": "NVIDIA H200", "compute_capability": "9.0"}]
    monkeypatch.setattr(engine_build, "nvidia_gpus", lambda: here)
    bundle = shutil.copytree(micro_bundle, tmp_path / "bundle")
    build_engines(bundle, "tensorrt-rtx", ["sm89"], **FUSED_FP16, progress=lines.append)
    (warning,) = (line for line in lines if line.startswith("warning: "))
    assert "GPU here (compute capability 9.0) does not run TensorRT for RTX" in warning


def test_a_newer_gpu_than_the_builder_knows_builds_for_itself(monkeypatch):
    here = [{"name": "NVIDIA RTX 9999", "compute_capability": "12.7"}]
    monkeypatch.setattr(engine_build, "nvidia_gpus", lambda: here)
    assert engine_build.prepare_target("tensorrt-rtx", ["current"])[1] == ("12.7",)


def test_tensorrt_names_rtx_only_where_it_runs(monkeypatch):
    """Else each target would send its user to the other."""
    monkeypatch.setattr(engine_build, "load_tensorrt", lambda target: trt)
    for gpus, named in ((["sm89"], True), (["H100"], False), (["sm87"], False)):
        with pytest.raises(BackendError, match="there is none here") as caught:
            engine_build.prepare_target("tensorrt", gpus)
        assert ("tensorrt-rtx" in str(caught.value)) == named


def test_the_default_is_three_series_of_rtx():
    assert engine_build.prepare_target("tensorrt-rtx", [])[1] == ("8.6", "8.9", "12.0")
    asked = ["sm120", "RTX 4090", "8.9", "sm86"]
    assert engine_build.prepare_target("tensorrt-rtx", asked)[1] == ("8.6", "8.9", "12.0")
