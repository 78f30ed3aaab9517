"""TensorRT for RTX engines built without a GPU: time, memory of the build, size, activations.

python benchmarks/engines.py [--preset small] [--height 480] [--width 640]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from measuring import run, save_results

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions

#: Each is one engine.
GPUS = (("sm86",), ("sm89",), ("sm120",), ("sm86", "sm89", "sm120"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    arguments = parser.parse_args()
    size = ("--height", str(arguments.height), "--width", str(arguments.width))
    engines = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = str(Path(temporary) / "bundle")
        source = ("export", arguments.preset, "--random-weights", "--no-verify")
        run(*source, "--graph", "fused", "--graph", "staged", *size, "--output", folder)
        for graph in ("fused", "staged"):
            for gpus in GPUS:
                names = [word for gpu in gpus for word in ("--gpu", gpu)]
                built = run("build", folder, "--target", "tensorrt-rtx", "--graph", graph, *names)
                engines.append({"graph": graph, "gpus": gpus, **dataclasses.asdict(built)})
        bundle = Bundle.open(folder)
        details = [
            {**dataclasses.asdict(engine), "bytes": bundle.manifest["files"][engine.file]["size"]}
            for engine in bundle.engines
        ]
    report(engines, details)
    found = {
        "machine": machine_facts(),
        "versions": versions(),
        "frame": [arguments.height, arguments.width],
        "commands": engines,
        "engines": details,
    }
    save_results(f"engines.{arguments.preset}.json", found)


def report(commands: list[dict], details: list[dict]) -> None:
    rows = [
        [
            f"{entry['graph']} {'+'.join(entry['gpus'])}",
            str(entry["seconds"]),
            str(entry["peak_gb"]),
        ]
        for entry in commands
    ]
    print(table(["build", "seconds", "peak GB"], rows), end="\n\n")
    rows = [
        [
            Path(entry["file"]).name,
            f"{entry['seconds']:.1f}",
            f"{entry['bytes'] / 1e6:,.0f}",
            f"{entry['weights_bytes'] / 1e6:,.0f}",
            f"{entry['activation_bytes'] / 1e6:,.0f}",
        ]
        for entry in details
    ]
    headers = ["engine", "builder s", "plan MB", "weights MB", "activations MB"]
    print(table(headers, rows))


if __name__ == "__main__":
    main()
