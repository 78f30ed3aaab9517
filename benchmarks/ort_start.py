"""What a saved optimised graph saves ONNX Runtime at its start, on this CPU.

    python benchmarks/ort_start.py [--preset small] [--runs 3]

Seconds and peak memory until a session stands, in processes of their own, in turns: from the
bundle's graph, and from the graph that ONNX Runtime wrote after all its optimisations.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import onnxruntime as ort
from measuring import in_a_process, peak_gb, run, save_results

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions

SIZE = ("--height", "240", "--width", "320")
SAVED = "saved optimised graph"
WAYS = ("the bundle's graph", SAVED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "GRAPH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        words = ("export", arguments.preset, "--random-weights", "--no-verify")
        run(*words, "--precision", "fp32", *SIZE, "--output", folder + "/bundle")
        bundle = Bundle.open(folder + "/bundle")
        graph = bundle.path(bundle.graphs[0].file)
        saved = Path(folder) / "saved.onnx"
        save(graph, saved)
        paths = dict(zip(WAYS, (graph, saved), strict=True))
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(arguments.runs):
            for way, path in paths.items():
                found[way].append(in_a_process(__file__, "--measure", way, str(path)))
        sizes = {way: disk_gb(path) for way, path in paths.items()}
    rows = {
        way: {
            "median_s": statistics.median(one["seconds"] for one in ones),
            "peak_gb": max(one["peak_gb"] for one in ones),
            "disk_gb": sizes[way],
        }
        for way, ones in found.items()
    }
    cells = [[way, *(f"{value:.2f}" for value in row.values())] for way, row in rows.items()]
    print(table([arguments.preset, "seconds", "peak GB", "disk GB"], cells))
    results = {"machine": machine_facts(), "versions": versions(), "rows": rows, "runs": found}
    save_results(f"ort_start.{arguments.preset}.json", results)


def save(graph: Path, target: Path) -> None:
    """Let ONNX Runtime write its optimised graph, weights beside it."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(target)
    key = "session.optimized_model_external_initializers_"
    options.add_session_config_entry(key + "file_name", target.name + ".data")
    options.add_session_config_entry(key + "min_size_in_bytes", "1024")
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def disk_gb(graph: Path) -> float:
    """Of a graph and its weights, in 1e9 bytes."""
    return sum(path.stat().st_size for path in graph.parent.glob(graph.stem + "*")) / 1e9


def measure(way: str, graph: str) -> dict[str, float]:
    options = ort.SessionOptions()
    if way == SAVED:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    start = time.perf_counter()
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 2), "peak_gb": round(peak_gb(), 2)}


if __name__ == "__main__":
    main()
