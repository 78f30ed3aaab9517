"""What the benchmarks share: one command measured in a process of its own."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Run:
    """One command: wall-clock seconds, and peak resident memory in 1e9 bytes."""

    command: str
    seconds: float
    peak_gb: float


def run(*words: str, stderr: TextIO | None = None) -> Run:
    """Run ``apdepth-deploy WORDS`` and measure it; what it says goes to ``stderr``."""
    command = [sys.executable, "-m", "apdepth_deploy", *words]
    start = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own words
        command, stdout=subprocess.DEVNULL, stderr=stderr
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    shown = " ".join(word for word in words if not word.startswith("/"))
    return Run(shown, round(seconds, 1), round(usage.ru_maxrss * 1024 / 1e9, 2))
