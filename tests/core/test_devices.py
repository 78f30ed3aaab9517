"""What a GPU tells of itself, on a machine without one: a thin stand-in for NVML's own module."""

from __future__ import annotations

import ast
import inspect
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from apdepth_deploy.machine import devices
from apdepth_deploy.machine.devices import gpu_facts

THERMAL, POWER, IDLE = 0x40, 0x4, 0x1


class FakeNvml:
    """An RTX 3090 as NVML sees it; what is not answered here raises as the real one does."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    nvmlClocksEventReasonSwPowerCap = POWER  # noqa: N815 - NVML's names
    nvmlClocksEventReasonHwSlowdown = 0x8  # noqa: N815
    nvmlClocksEventReasonSyncBoost = 0x10  # noqa: N815
    nvmlClocksEventReasonSwThermalSlowdown = 0x20  # noqa: N815
    nvmlClocksEventReasonHwThermalSlowdown = THERMAL  # noqa: N815
    nvmlClocksEventReasonHwPowerBrakeSlowdown = 0x80  # noqa: N815
    nvmlClocksEventReasonApplicationsClocksSetting = 0x2  # noqa: N815

    class NVMLError(Exception):
        pass

    def __init__(self, **answers: Any) -> None:
        self.opened = 0
        self.answers = {
            "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
            "nvmlDeviceGetName": lambda handle: "NVIDIA GeForce RTX 3090",
            "nvmlSystemGetDriverVersion": lambda: "580.65.06",
            "nvmlSystemGetCudaDriverVersion_v2": lambda: 13020,
            "nvmlDeviceGetClockInfo": lambda handle, clock: {1: 1695, 2: 9501}[clock],
            "nvmlDeviceGetMaxClockInfo": lambda handle, clock: {1: 2100, 2: 9751}[clock],
            "nvmlDeviceGetMemoryBusWidth": lambda handle: 384,
            "nvmlDeviceGetTemperature": lambda handle, sensor: 71,
            "nvmlDeviceGetPowerUsage": lambda handle: 349_500,
            "nvmlDeviceGetPowerManagementLimit": lambda handle: 350_000,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: POWER | THERMAL | IDLE,
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=3 << 30, total=24 << 30),
            **answers,
        }

    def nvmlInit(self) -> None:  # noqa: N802
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def __getattr__(self, name: str) -> Any:
        def unsupported(*arguments: Any) -> None:
            raise self.NVMLError("Not Supported")

        return self.answers.get(name) or unsupported


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(devices, "_bus_address", lambda index: None)
    return fake


def test_a_gpu_tells_its_clocks_and_what_slows_it(nvml: FakeNvml) -> None:
    facts, why = gpu_facts()
    assert why == "" and facts == {
        "name": "NVIDIA GeForce RTX 3090",
        "driver": "580.65.06",
        "cuda_driver": "13.2",
        "sm_clock_mhz": 1695,
        "sm_clock_max_mhz": 2100,
        "memory_clock_mhz": 9501,
        "memory_clock_max_mhz": 9751,
        "memory_bus_bits": 384,
        "memory_gb_s": 936.1,  # NVIDIA states 936
        "temperature_c": 71,
        "power_w": 349.5,
        "power_limit_w": 350.0,
        "slowdowns": ["power cap", "hardware thermal slowdown"],
        "memory_used_bytes": 3 << 30,
        "memory_total_bytes": 24 << 30,
    }
    assert nvml.opened == 0


def test_what_a_gpu_does_not_tell_is_left_open(nvml: FakeNvml) -> None:
    nvml.answers = {key: nvml.answers[key] for key in ("nvmlDeviceGetHandleByIndex",)}
    facts, why = gpu_facts()
    assert why == "" and facts is not None and set(facts.values()) == {None}


def test_a_gpu_is_found_by_its_bus_address(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's second GPU may be NVML's first."""
    asked: list[str] = []
    nvml.answers["nvmlDeviceGetHandleByPciBusId"] = asked.append
    monkeypatch.setattr(devices, "_bus_address", lambda index: f"0000:0{index}:00.0")
    assert gpu_facts(1)[0] is not None
    assert asked == ["0000:01:00.0"]


def test_a_gpu_that_is_not_there_is_said(nvml: FakeNvml) -> None:
    del nvml.answers["nvmlDeviceGetHandleByIndex"]
    assert gpu_facts(7) == (None, "NVML finds no GPU 7: Not Supported")
    assert nvml.opened == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_facts() == (None, "nvidia-ml-py is not installed: pip install nvidia-ml-py")


def test_the_real_package_has_every_name_that_is_used() -> None:
    """The stand-in can't tell: a misspelt name would pass above."""
    pynvml = pytest.importorskip("pynvml")
    tree = ast.parse(inspect.getsource(devices))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "nvml"
    } | set(devices._SLOWDOWNS)
    assert len(used) > 20
    assert {name for name in used if not hasattr(pynvml, name)} == set()


def test_the_real_package_without_a_driver_says_so() -> None:
    pynvml = pytest.importorskip("pynvml")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        facts, why = gpu_facts()
        assert facts is None and why.startswith("NVML can't start: ")
    else:
        assert gpu_facts()[0] is not None
