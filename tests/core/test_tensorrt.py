"""What is known of the two TensorRTs, and what ``doctor`` makes of it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.commands import doctor
from apdepth_deploy.errors import BackendError
from apdepth_deploy.machine import tensorrt
from apdepth_deploy.machine.tensorrt import (
    WRONG,
    known_bad,
    load_tensorrt,
    platform,
    rtx_capabilities,
)

NO_TENSORRT = "pip install 'apdepth-deploy[tensorrt]'"


@pytest.mark.parametrize(
    ("version", "capabilities", "reason"),
    [
        ("10.2.0", ("8.6",), None),
        ("10.3.0", ("8.6",), "wrong results: vision transformers and plain attention (NVIDIA/Ten"),
        ("10.7.0.23", (), "vision transformers"),
        ("10.8.0", ("8.6",), None),
        ("10.8.0", ("8.6", "8.9"), "a U-Net, NaN (NVIDIA/TensorRT#4351)"),
        ("10.16.1", ("12.0",), "fused attention in half precision (NVIDIA/TensorRT#4837, "),
        ("10.16.1", ("12.0",), "#4780); an encoder with attention, in fp32 too (NVIDIA"),
        ("10.16.1", ("8.6",), None),
        ("11.1.0.106", ("8.9",), "for batches above 1, in every precision (NVIDIA/TensorRT#4853)"),
        ("11.2.1", ("8.6",), "its own minimum and maximum (rerun-io/examples-monorepo#87, #88)"),
        ("11.4.0", ("12.0",), None),
    ],
)
def test_versions_that_are_silently_wrong(
    version: str, capabilities: tuple[str, ...], reason: str | None
) -> None:
    found = known_bad("tensorrt", version, capabilities)
    assert (found is None) if reason is None else (found is not None and reason in found)
    assert found is None or found.endswith("`apdepth-deploy verify BUNDLE --backend tensorrt`")
    assert known_bad("tensorrt-rtx", version, capabilities) is None


def test_c_plus_plus_has_the_same_reports() -> None:
    source = Path(__file__).parents[2] / "runtime" / "cpp" / "src" / "choice.cpp"
    text = " ".join(source.read_text(encoding="utf-8").split())
    for one in WRONG:
        (first, last), gpus = (one.first, one.last), ", ".join(f'"{c}"' for c in one.capabilities)
        versions = f"{{{first[0]}, {first[1]}}}, {{{last[0]}, {last[1]}}}"
        assert f'{{{versions}, {{{gpus}}}, "{one.what}", "{one.source}"}}' in text
    assert text.count("TensorRT#") + text.count("monorepo#") == len(WRONG)


def test_the_real_library_names_its_gpus() -> None:
    pytest.importorskip("tensorrt_rtx")
    known = rtx_capabilities(load_tensorrt("tensorrt-rtx"))
    assert known == sorted(known, key=float)
    assert {"8.6", "8.9", "12.0"} <= set(known) and "9.0" not in known


def test_a_library_that_cant_be_loaded_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> types.ModuleType:
        raise OSError("libnvinfer.so.10:\n cannot open shared object file")

    monkeypatch.setattr(tensorrt.importlib, "import_module", broken)
    reason = "can't be loaded: libnvinfer.so.10: cannot open shared object file"
    with pytest.raises(BackendError, match=reason):
        load_tensorrt("tensorrt")


def test_a_platform_is_system_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for system, machine, name in (
        ("Linux", "x86_64", "linux-x86_64"),
        ("Windows", "AMD64", "windows-x86_64"),
        ("Linux", "aarch64", "linux-aarch64"),
    ):
        monkeypatch.setattr(tensorrt._platform, "system", lambda value=system: value)
        monkeypatch.setattr(tensorrt._platform, "machine", lambda value=machine: value)
        assert platform() == name


# --- doctor --------------------------------------------------------------------------------------


def abilities(monkeypatch: pytest.MonkeyPatch, *capabilities: str) -> dict[str, Any]:
    """What ``doctor`` says on a machine with GPUs of these compute capabilities."""
    gpus = [{"name": "GPU", "compute_capability": number} for number in capabilities]
    monkeypatch.setattr(doctor, "nvidia_gpus", lambda: gpus)
    found = doctor.examine()["abilities"]
    return {name: entry["needs"] for name, entry in found.items() if "tensorrt" in name}


def test_doctor_tells_building_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    no_gpu = "an NVIDIA GPU with its driver (libcuda.so.1 finds none)"
    assert abilities(monkeypatch) == {
        "build for tensorrt-rtx": [],
        "run tensorrt-rtx": [no_gpu],
        "build for tensorrt": [NO_TENSORRT, no_gpu],
        "run tensorrt": [NO_TENSORRT, no_gpu],
    }
    here = abilities(monkeypatch, "8.9")
    assert here["run tensorrt-rtx"] == [] and here["run tensorrt"] == [NO_TENSORRT]


def test_doctor_knows_gpus_that_rtx_doesnt_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    here = abilities(monkeypatch, "9.0")
    (need,) = here["run tensorrt-rtx"]
    assert need.startswith("a GPU of compute capability 7.5, 8.0") and need.endswith("(here: 9.0)")
    assert here["build for tensorrt-rtx"] == []
    assert abilities(monkeypatch, "9.0", "8.6")["run tensorrt-rtx"] == []


def test_doctor_knows_versions_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.SimpleNamespace(__version__="10.5.0")
    monkeypatch.setattr(doctor, "installed", lambda target: target == "tensorrt")
    monkeypatch.setattr(doctor, "load_tensorrt", lambda target: old)
    assert abilities(monkeypatch, "8.9")["run tensorrt"] == []
    found = doctor.examine()
    (warning,) = found["warnings"]
    assert warning == known_bad("tensorrt", "10.5.0", ("8.9",))
    assert f"warning: {warning}" in doctor._describe(found)
