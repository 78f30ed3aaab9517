"""What the C API costs a frame over OpenVINO called bare: medians of runs in turns.

python benchmarks/cpp_overhead.py [--runs 200] [--height 240] [--width 320] [--build out/cpp]

Exits with 1 where the median costs more than 2 % and more than 50 microseconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import run, save_results

from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions

#: Either may be passed, not both.
MOST_SHARE, MOST_MS = 0.02, 0.05
SIDES = ("bare", "api")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--build", type=Path, default=Path("out/cpp"))
    arguments = parser.parse_args()
    program = arguments.build / "tests/apdepth_overhead"
    if not program.exists():
        raise SystemExit(f"error: no {program}: build runtime/cpp first (.ci/cpp does)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = str(Path(temporary) / "bundle")
        size = ("--height", str(arguments.height), "--width", str(arguments.width))
        graph = ("--precision", "fp32", "--graph", "fused", "--no-verify")
        run("export", "tiny", "--random-weights", *graph, *size, "--output", folder)
        found = measure(program, folder, arguments.runs)
    found |= {
        "frame": [arguments.height, arguments.width],
        "machine": machine_facts(),
        "versions": versions(),
    }
    save_results("cpp_overhead.tiny.json", found)
    rows = [[name, f"{found[name]['p50']:.4f}", f"{found[name]['p90']:.4f}"] for name in SIDES]
    print(table(["ms a frame", "p50", "p90"], rows))
    print(f"the C API costs {found['cost_us']:.1f} us, {found['share']:.2%}")
    sys.exit(0 if found["passed"] else 1)


def measure(program: Path, bundle: str, runs: int) -> dict:
    """Statistics of both sides, and whether the difference is small enough."""
    command = [program, bundle, str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    samples = json.loads(done.stdout)
    sides = {
        side: dict(zip(("p50", "p90"), np.percentile(samples[f"{side}_ms"], (50, 90)), strict=True))
        for side in SIDES
    }
    cost = sides["api"]["p50"] - sides["bare"]["p50"]
    share = cost / sides["bare"]["p50"]
    return {
        **sides,
        "runs": runs,
        "cost_us": cost * 1e3,
        "share": share,
        "passed": bool(share <= MOST_SHARE or cost <= MOST_MS),
    }


if __name__ == "__main__":
    main()
