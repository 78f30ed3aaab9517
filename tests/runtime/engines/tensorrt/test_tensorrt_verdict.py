"""Engines proven where they run: `verify --backend`, what `load` says and `auto` takes, `build`."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.cli import main
from apdepth_deploy.errors import ParityError
from apdepth_deploy.export.engine_verify import verify_built

Add = Callable[..., Path]
Text = pytest.CaptureFixture[str]
tamper = runpy.run_path(str(Path(__file__).parents[3] / "mutating.py"))["tamper"]
STAGES = ["prior", "encoder", "unet", "decoder"]


def verify(folder: Path, *words: str, target: str = "tensorrt-rtx") -> int:
    return main(["verify", str(folder), "--backend", target, *words])


def damage(folder: Path, graph: str) -> None:
    """The plans are the bundle's own graphs: what is damaged there, the engine computes."""
    tamper(folder, graph, None, 100.0)


@pytest.mark.parametrize("machine", ["gpu", "standard_gpu"])
def test_engines_are_compared_stage_by_stage_and_then_known_as_good(
    micro: Path, add_engines: Add, machine: str, request: Any, capsys: Text, caches: Path
) -> None:
    request.getfixturevalue(machine)
    target = "tensorrt-rtx" if machine == "gpu" else "tensorrt"
    add_engines(add_engines(micro, "staged", target=target), "fused", target=target)
    (doubt,) = load(micro, target).warnings
    assert doubt == (
        "the fused fp32 engine was never verified on this GPU, driver and TensorRT: "
        f"`apdepth-deploy verify {micro} --backend {target}`"
    )
    assert verify(micro, "--json", target=target) == 0
    said = json.loads(capsys.readouterr().out)
    staged = [r for r in said["records"] if r["graph"] == "staged"]
    frames = ("photo alone", "random alone", "photo", "random")
    assert [(r["frame"], r["stage"]) for r in staged] == [(f, s) for f in frames for s in STAGES]
    assert {r["frame"] for r in said["records"] if r["graph"] == "fused"} == {"photo", "random"}
    places = [verdict["place"] for verdict in said["verdicts"]]
    assert [place["device"] for place in places] == ["NVIDIA Test GPU (8.9)"] * 2
    assert places[0]["driver"] == "13000"
    for graph in ("fused", "staged"):
        assert load(micro, target, graph=graph).warnings == ()
    assert load(micro).backend == target


def test_another_gpu_driver_or_engine_is_not_known(
    gpu: Any, micro: Path, add_engines: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify(add_engines(micro)) == 0
    add_engines(micro, precision="fp16")
    assert "fp16 engine was never verified" in load(micro, "tensorrt-rtx").warnings[0]
    assert load(micro, "tensorrt-rtx", precision="fp32").warnings == ()
    with monkeypatch.context() as patch:
        patch.setattr(type(gpu.driver), "cuDriverGetVersion", lambda self: (0, 13010))
        assert "never verified" in load(micro, "tensorrt-rtx", precision="fp32").warnings[0]
    gpu.gpus[:] = [{**gpu.gpus[0], "name": "NVIDIA Other GPU"}]
    assert "never verified" in load(micro, "tensorrt-rtx", precision="fp32").warnings[0]


def test_an_engine_that_missed_is_not_taken_by_auto_and_a_named_backend_warns(
    gpu: Any, micro: Path, add_engines: Add, capsys: Text
) -> None:
    damage(micro, "unet.fp32")
    add_engines(micro, "staged")
    assert verify(micro) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "error: staged.fp32 strays from PyTorch, first in stage 'unet' (photo alone frame): mean"
    )
    why = "the staged fp32 engine strays from PyTorch on this GPU, driver and TensorRT, first in "
    predictor = load(micro)
    assert predictor.backend == "onnxruntime"
    assert f"; not tensorrt-rtx: {why}stage 'unet' (`verify`, 20" in predictor.reason
    assert "\n" not in predictor.reason
    (warning,) = load(micro, "tensorrt-rtx").warnings
    assert warning.startswith(why) and warning.endswith("its depth is wrong")
    add_engines(micro, "fused")  # another one, not known to miss
    assert "fp32, fused engine" in load(micro).reason
    assert main(["doctor"]) == 0
    line = next(s for s in capsys.readouterr().out.splitlines() if s.startswith("verified: "))
    assert "on NVIDIA Test GPU (8.9), driver 13000: missed in stage 'unet', 20" in line


def test_what_build_verified_on_such_a_machine_counts(
    gpu: Any, micro: Path, add_engines: Add
) -> None:
    place = {"device": "NVIDIA Test GPU (8.9)", "driver": "13000", "library": gpu.trt.__version__}
    add_engines(micro, verified=True, verified_on=place)
    assert load(micro, "tensorrt-rtx").warnings == ()
    add_engines(micro, precision="fp16", verified=True, verified_on={**place, "driver": "1"})
    assert "never verified" in load(micro, "tensorrt-rtx").warnings[0]


def built(folder: Path, monkeypatch: pytest.MonkeyPatch, gpu: Any) -> tuple[Any, list[str]]:
    """(engines, progress) of what `build` does when its plans are written."""
    monkeypatch.setattr("apdepth_deploy.export.engine_verify.nvidia_gpus", lambda: gpu.gpus)
    lines: list[str] = []
    engines = Bundle.open(folder).engines
    return verify_built(folder, "tensorrt-rtx", engines, lines.append), lines


def test_build_verifies_where_a_gpu_is_and_marks_the_engine(
    gpu: Any, micro: Path, add_engines: Add, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    engines, _ = built(add_engines(micro, "staged"), monkeypatch, gpu)
    place = {"device": "NVIDIA Test GPU (8.9)", "driver": "13000", "library": gpu.trt.__version__}
    assert [(one.verified, one.verified_on) for one in engines] == [(True, place)] * 4
    assert main(["inspect", str(micro)]) == 0
    assert "NVIDIA Test GPU (8.9)" in capsys.readouterr().out


@pytest.mark.parametrize("why", ["no NVIDIA GPU", "compute capability 7.5", "no golden frames"])
def test_build_says_why_it_did_not_verify(
    gpu: Any, micro: Path, add_engines: Add, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    add_engines(micro)
    if why == "no golden frames":
        bundle = Bundle.open(micro)
        del bundle.manifest["golden"]
        bundle.write_manifest()
    gpus = [] if "NVIDIA" in why else [{**gpu.gpus[0], "compute_capability": "7.5"}]
    gpu.gpus[:] = gpu.gpus if "golden" in why else gpus
    (engine,), (line,) = built(micro, monkeypatch, gpu)
    assert (engine.verified, engine.verified_on) == (False, None)
    assert line.startswith("note: not verified, for ") and why in line


def test_build_of_an_engine_that_strays_fails_and_says_so_in_the_manifest(
    gpu: Any, micro: Path, add_engines: Add, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    damage(micro, "fused.fp32")
    add_engines(micro)
    with pytest.raises(ParityError, match=r"fused\.fp32 strays from PyTorch, first in stage 'de"):
        built(micro, monkeypatch, gpu)
    (engine,) = Bundle.open(micro).engines
    assert not engine.verified and engine.verified_on is not None
    assert main(["inspect", str(micro)]) == 0
    assert "STRAYS on NVIDIA Test GPU (8.9)" in capsys.readouterr().out
