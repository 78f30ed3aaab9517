"""What the benchmarks share: work measured in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

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


def in_a_process(script: str, *words: str) -> dict[str, Any]:
    """What ``script WORDS`` prints, in a fresh process: one line of JSON."""
    command = [sys.executable, script, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def timed(work: Callable[[], object], runs: int) -> dict[str, Any]:
    """Seconds of each run, and their median. Run the work once before, to warm up."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(round(time.perf_counter() - start, 3))
    return {"median_s": round(statistics.median(seconds), 3), "seconds": seconds}


def save_results(file: str, found: object) -> None:
    """Write results, as JSON, to that file of ``RESULTS``, and say so."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / file
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def peak_gb() -> float:
    """This process's peak resident memory so far, in 1e9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
