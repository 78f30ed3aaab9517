"""The machine under a measurement: what it is, the memory a process took, and a CPU's own peak."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from apdepth_deploy.bundle import version
from apdepth_deploy.machine.devices import cpu_model, usable_cores

from .timing import Clock

_ENGINES = (
    *("apdepth-deploy", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx", "tensorrt-rtx-cu12"),
    *("tensorrt-rtx-cu13", "cuda-bindings", "cuda-core", "torch", "nvidia-ml-py"),
)


def versions() -> dict[str, str]:
    """Of Python and of every engine package that is installed."""
    found = {name: version(name) for name in _ENGINES}
    there = {name: value for name, value in found.items() if value is not None}
    return {"python": platform.python_version(), **there}


def machine_facts() -> dict[str, Any]:
    """{"os", "cpu", "cores", "memory_bytes"}; cores are those this process may use."""
    return {
        "os": platform.platform(),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "memory_bytes": _memory_bytes(),
    }


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


class PeakMemory:
    """How far this process's resident memory rose above what it was at the start, in bytes."""

    def __init__(self) -> None:
        self._start = _resident() if _forget_peak() else None
        self._earlier = _peak()

    def growth(self) -> int | None:
        """None where an earlier, higher peak hides it: only Linux lets a process forget that."""
        peak = _peak()
        if self._start is not None:
            return max(0, peak - self._start)
        return peak - self._earlier if peak > self._earlier else None


def _forget_peak() -> bool:
    """Let the kernel count the peak from now on (proc(5), clear_refs); False where it can't."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status(key: str) -> int | None:
    """A size of /proc/self/status, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    values = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")]
    return values[0] if values else None


def _resident() -> int:
    return _status("VmRSS") or 0


def _peak() -> int:
    known = _status("VmHWM")
    if known is not None:
        return known
    import resource  # Windows has none, and /proc/self neither

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def matrix_gflops(
    clock: Clock = time.perf_counter, size: int = 1536, seconds: float = 1.0
) -> float:
    """Best rate of numpy's float32 matrix product [size,size] x [size,size], all cores: 1e9/s."""
    left, right = (np.full((size, size), value, np.float32) for value in (0.5, 0.25))
    out = np.empty_like(left)
    return 2.0 * size**3 / _best(lambda: np.matmul(left, right, out), clock, seconds) / 1e9


def copy_gb_s(clock: Clock = time.perf_counter, size: int = 1 << 28, seconds: float = 0.5) -> float:
    """Best rate of copying ``size`` bytes on one core, reads and writes counted: 1e9 bytes/s."""
    source = np.ones(size, np.uint8)
    target = np.zeros_like(source)
    return 2.0 * size / _best(lambda: np.copyto(target, source), clock, seconds) / 1e9


def _best(work: Callable[[], object], clock: Clock, seconds: float) -> float:
    """Seconds of the fastest of the runs that fit into ``seconds``; at least three, one unseen."""
    work()
    begin, taken = clock(), list[float]()
    while len(taken) < 3 or clock() - begin < seconds:
        start = clock()
        work()
        taken.append(clock() - start)
    return min(taken)
