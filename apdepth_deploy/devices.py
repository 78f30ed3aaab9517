"""Which NVIDIA GPUs there are, asked of the driver itself: no CUDA toolkit, no engine library."""

from __future__ import annotations

import ctypes
from typing import Any


def nvidia_gpus() -> list[dict[str, Any]]:
    """[{"name", "compute_capability"}] of every NVIDIA GPU, by the driver's own library."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    return [_gpu(cuda, index) for index in range(count.value)]


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
