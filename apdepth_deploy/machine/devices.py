"""What this machine has: the cores at hand, and NVIDIA GPUs, asked of the driver itself.

No CUDA toolkit and no engine library.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What NVML says of the clocks, as its bits and in words; being idle or asked is no slowdown.
_SLOWDOWNS = {
    "nvmlClocksEventReasonSwPowerCap": "power cap",
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonHwThermalSlowdown": "hardware thermal slowdown",
    "nvmlClocksEventReasonHwPowerBrakeSlowdown": "power brake",
    "nvmlClocksEventReasonSwThermalSlowdown": "thermal slowdown",
    "nvmlClocksEventReasonSyncBoost": "synchronised boost",
    "nvmlClocksEventReasonApplicationsClocksSetting": "clocks fixed by the user",
}


def usable_cores() -> int:
    """Those this process may use, where the system tells (Linux)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """As the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def driver_version() -> str:
    """CUDA version of the NVIDIA driver, as 1000 * major + 10 * minor; "" without one."""
    cuda, version = _driver(), ctypes.c_int()
    if cuda is None or cuda.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return ""
    return str(version.value)


def nvidia_gpus() -> list[dict[str, Any]]:
    """[{"name", "compute_capability"}] of every NVIDIA GPU, by the driver's own library."""
    cuda, count = _driver(), ctypes.c_int()
    if cuda is None or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    return [_gpu(cuda, index) for index in range(count.value)]


def _driver() -> ctypes.CDLL | None:
    """The driver's library, started; None where it isn't there or refuses."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return cuda if cuda.cuInit(0) == 0 else None


def _gpu(cuda: ctypes.CDLL, index: int) -> dict[str, Any]:
    device = ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(128)
    cuda.cuDeviceGetName(name, len(name), device)
    numbers = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(value.value)
    return {"name": name.value.decode(), "compute_capability": f"{numbers[0]}.{numbers[1]}"}


def missing_cuda_libraries(onnxruntime: Any) -> list[str]:
    """What ONNX Runtime's CUDA build lacks of CUDA and cuDNN, after loading what is installed.

    Packages of NVIDIA's have them (``onnxruntime-gpu[cuda,cudnn]``), or a CUDA toolkit.
    """
    with contextlib.redirect_stdout(io.StringIO()) as said:
        onnxruntime.preload_dlls()
    missing = re.findall(r"Failed to load ([^/\\\s]+):", said.getvalue())
    cudnn = "cudnn64_9.dll" if sys.platform == "win32" else "libcudnn.so.9"
    try:  # it is passed over in silence there, and convolutions need it
        ctypes.CDLL(cudnn)
    except OSError:
        missing.append(cudnn)
    return missing


def gpu_facts(index: int = 0) -> tuple[dict[str, Any] | None, str]:
    """(state of a GPU at this moment, ""), or (None, why it can't be told).

    Args:
        index: as CUDA counts (the ``N`` of "cuda:N"); NVML may count otherwise.

    Needs nvidia-ml-py. A value that this GPU doesn't tell is None. ``memory_gb_s``, in 1e9 bytes/s,
    is two transfers over the whole bus per clock of the memory's fastest state.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return None, "nvidia-ml-py is not installed: pip install nvidia-ml-py"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return None, f"NVML can't start: {error}"
    try:
        return _facts(nvml, _nvml_handle(nvml, index)), ""
    except nvml.NVMLError as error:
        return None, f"NVML finds no GPU {index}: {error}"
    finally:
        nvml.nvmlShutdown()


def _nvml_handle(nvml: Any, index: int) -> Any:
    """NVML counts by bus, CUDA by speed and CUDA_VISIBLE_DEVICES: the bus address joins them."""
    address = _bus_address(index)
    if address is None:
        return nvml.nvmlDeviceGetHandleByIndex(index)
    return nvml.nvmlDeviceGetHandleByPciBusId(address)


def _bus_address(index: int) -> str | None:
    cuda, device, address = _driver(), ctypes.c_int(), ctypes.create_string_buffer(32)
    if cuda is None or cuda.cuDeviceGet(ctypes.byref(device), index) != 0:
        return None
    if cuda.cuDeviceGetPCIBusId(address, len(address), device) != 0:
        return None
    return address.value.decode()


def _facts(nvml: Any, handle: Any) -> dict[str, Any]:
    def ask(question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except nvml.NVMLError:  # laptops, Jetsons and MIG slices don't tell everything
            return None

    cuda = ask(nvml.nvmlSystemGetCudaDriverVersion_v2)
    clocks = {
        f"{name}_clock{ending}_mhz": ask(question, handle, clock)
        for name, clock in (("sm", nvml.NVML_CLOCK_SM), ("memory", nvml.NVML_CLOCK_MEM))
        for ending, question in (
            ("", nvml.nvmlDeviceGetClockInfo),
            ("_max", nvml.nvmlDeviceGetMaxClockInfo),
        )
    }
    bits = ask(nvml.nvmlDeviceGetMemoryBusWidth, handle)
    fastest = clocks["memory_clock_max_mhz"]
    power, limit = (
        ask(question, handle)
        for question in (nvml.nvmlDeviceGetPowerUsage, nvml.nvmlDeviceGetPowerManagementLimit)
    )
    memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
    return {
        "name": ask(nvml.nvmlDeviceGetName, handle),
        "driver": ask(nvml.nvmlSystemGetDriverVersion),
        "cuda_driver": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        **clocks,
        "memory_bus_bits": bits,
        "memory_gb_s": round(2 * fastest * bits / 8000, 1) if fastest and bits else None,
        "temperature_c": ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        "power_w": None if power is None else power / 1000,
        "power_limit_w": None if limit is None else limit / 1000,
        "slowdowns": _slowdowns(nvml, ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)),
        "memory_used_bytes": memory and int(memory.used),
        "memory_total_bytes": memory and int(memory.total),
    }


def _slowdowns(nvml: Any, bits: int | None) -> list[str] | None:
    if bits is None:
        return None
    return [words for name, words in _SLOWDOWNS.items() if bits & getattr(nvml, name)]
