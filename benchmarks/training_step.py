"""What one training step of a full-size U-Net costs: seconds and peak memory.

    python benchmarks/training_step.py [--preset small] [--precisions fp32 bf16]

`train --dry-run` takes one step of one frame of 240x320, with gradient checkpointing and random
weights, in a process of its own, whose peak resident memory the operating system tells. The
seconds are those of a first step.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

from measuring import run, save_results

from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions

CONFIG = """
output = "{folder}/run"
[model]
preset = "{preset}"
[data]
height = 240
width = 320
workers = 0
[[data.train]]
kind = "synthetic"
path = "{folder}/scenes"
far_is_valid = true
[optimizer]
batch = 1
micro_batch = 1
[run]
precision = "{precision}"
gradient_checkpointing = true
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        frames = ("--train", "2", "--val", "0", "--test", "0", "--height", "240", "--width", "320")
        run("synthesize", "--output", str(folder / "scenes"), *frames)
        steps = [measure(folder, arguments.preset, each) for each in arguments.precisions]
    rows = [[s["precision"], f"{s['step_s']:.1f}", f"{s['peak_gb']:.1f}"] for s in steps]
    print(table([f"{arguments.preset}, 240x320", "seconds a step", "peak GB"], rows))
    found = {"machine": machine_facts(), "versions": versions(), "steps": steps}
    save_results(f"training_step.{arguments.preset}.json", found)


def measure(folder: Path, preset: str, precision: str) -> dict[str, str | float]:
    """One dry run: its first step's seconds, and the whole process's memory."""
    config, said = folder / f"{precision}.toml", folder / f"{precision}.txt"
    config.write_text(CONFIG.format(folder=folder, preset=preset, precision=precision))
    with said.open("w") as stderr:
        whole = run("train", str(config), "--dry-run", stderr=stderr)
    seconds = re.search(r"; ([\d.]+) s; nothing is written", said.read_text())
    assert seconds is not None, "a dry run says how long its step took"
    return {"precision": precision, "step_s": float(seconds[1]), "peak_gb": whole.peak_gb}


if __name__ == "__main__":
    main()
