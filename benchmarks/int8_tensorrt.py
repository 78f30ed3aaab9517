"""8-bit graphs as TensorRT takes them (Q/DQ nodes by NVIDIA's ModelOpt): their quality, their plan.

    pip install "nvidia-modelopt[onnx]"
    python benchmarks/int8_tensorrt.py [--scenes out/synthetic] [--calibration 64]

The fused fp32 graph of `tiny`, 192x256, calibrated on frames of the training split. ONNX Runtime
computes what the Q/DQ nodes say, scored on the held-out split; TensorRT for RTX builds each graph
for sm89, without a GPU, which says whether it takes it and how large it gets, not how fast.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import modelopt
import numpy as np
import onnx
import onnxruntime
import tensorrt_rtx
from measuring import run, save_results
from modelopt.onnx.quantization import quantize
from scoring import quality

from apdepth_deploy.bundle import Bundle, Graph
from apdepth_deploy.console import table
from apdepth_deploy.errors import ExportError
from apdepth_deploy.export.engine_builder import build_plan
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions
from apdepth_deploy.training.data.synthetic import SyntheticDataset

#: Row -> mode of ModelOpt, and the operators it quantises: all that TensorRT has kernels for, or
#: the convolutions alone.
ROWS: dict[str, tuple[str, list[str] | None]] = {
    "int8": ("int8", None),
    "int8, convolutions": ("int8", ["Conv"]),
    "fp8": ("fp8", None),
    "fp8, convolutions": ("fp8", ["Conv"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, default=Path("out/synthetic"))
    parser.add_argument("--calibration", type=int, default=64)
    arguments = parser.parse_args()
    train, test = (SyntheticDataset(arguments.scenes, split) for split in ("train", "test"))
    frames = np.stack([train[index].image for index in range(arguments.calibration)])
    with tempfile.TemporaryDirectory() as folder:
        size = ("--height", "192", "--width", "256")
        run("export", "tiny", "--precision", "fp32", *size, "--output", folder + "/bundle")
        bundle = Bundle.open(folder + "/bundle")
        (graph,) = bundle.chain_graphs("fused", "fp32")
        paths = {"fp32": bundle.path(graph.file)}
        for number, (row, (mode, operators)) in enumerate(ROWS.items()):
            paths[row] = Path(folder) / f"{number}.onnx"
            quantize(
                str(paths["fp32"]),
                quantize_mode=mode,
                calibration_data={"image": frames},
                calibration_eps=["cpu"],
                op_types_to_quantize=operators,
                high_precision_dtype="fp32",
                output_path=str(paths[row]),
            )
        rows = {row: measure(path, graph, test) for row, path in paths.items()}
    keys = ("quantised", "weights_mb", "activations_mb", "builder")
    cells = [
        [row, f"{r['abs_rel']:.4f}", f"{r['delta1']:.4f}", *(str(r[key]) for key in keys)]
        for row, r in rows.items()
    ]
    print(table(["tiny, 192x256", "AbsRel", "delta1", *keys], cells))
    results = {
        "machine": machine_facts(),
        "versions": {**versions(), "modelopt": modelopt.__version__},
        "calibration_frames": len(frames),
        "rows": rows,
    }
    save_results("int8_tensorrt.tiny.json", results)


def measure(path: Path, graph: Graph, test: SyntheticDataset) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    # Its optimiser (1.32) moves Q/DQ nodes and gives them a zero point of another type.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = quality(lambda frames: session.run(None, {"image": frames})[0][0], test)
    return {**found, "quantised": quantised(path), **built(path, graph)}


def quantised(path: Path) -> int:
    """How many tensors the graph rounds to 8 bits."""
    nodes = onnx.load(path, load_external_data=False).graph.node
    return sum(node.op_type == "QuantizeLinear" for node in nodes)


def built(path: Path, graph: Graph) -> dict[str, Any]:
    try:
        plan = build_plan(tensorrt_rtx, path, graph, ["8.9"])
    except ExportError as error:
        return {"weights_mb": None, "activations_mb": None, "builder": str(error)[:200]}
    megabytes = [round(n / 1e6, 1) for n in (plan.weights_bytes, plan.activation_bytes)]
    return dict(zip(("weights_mb", "activations_mb"), megabytes, strict=True), builder="builds")


if __name__ == "__main__":
    main()
