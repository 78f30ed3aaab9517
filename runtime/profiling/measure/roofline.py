"""The roofline: how much of what a device can do at best a chain of graphs reaches.

Williams, Waterman, Patterson, "Roofline", CACM 2009: attainable = min(peak, intensity x bandwidth).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from apdepth_deploy.bundle import ITEM_SIZE, Graph, TensorInfo, axis_sizes
from apdepth_deploy.machine.gpus import find_gpu

from .machine import copy_gb_s, matrix_gflops

_DTYPE_SIZE = {"uint8": 1, "float16": 2, "bfloat16": 2, "float32": 4}


@dataclasses.dataclass(frozen=True)
class Peak:
    """The best a device can do: 1e9 operations/s and 1e9 bytes/s, None where not known."""

    device: str
    gflops: float | None
    gb_s: float | None
    source: str


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Where one call lies under a device's roof.

    Attributes:
        gflop: arithmetic of one call, in 1e9 operations, 2 per multiply-add.
        bytes: weights read once, inputs and outputs of the graphs: a lower bound, since results
            inside of a graph that leave the caches are not counted.
        intensity: operations per byte; gflops: 1e9 operations/s reached, at the median.
        basis: which median: "device" (without host copies) or "host".
        attainable: the roof at this intensity, 1e9 operations/s.
        bound: "compute" or "memory", whichever the roof is made of there.
    """

    gflop: float
    bytes: int
    intensity: float
    gflops: float
    basis: str
    peak: Peak
    fraction_of_peak: float | None
    attainable: float | None
    fraction_of_attainable: float | None
    bound: str | None


def roofline(gflop: float, moved: int, seconds: float, basis: str, peak: Peak) -> Roofline:
    """One call of ``gflop`` x 1e9 operations and ``moved`` bytes that takes ``seconds``."""
    intensity, reached = gflop * 1e9 / moved, gflop / seconds
    roofs = {"compute": peak.gflops, "memory": peak.gb_s and peak.gb_s * intensity}
    known = {name: roof for name, roof in roofs.items() if roof}
    whole = len(known) == len(roofs)
    bound = min(known, key=lambda name: known[name]) if whole else None
    attainable = known[bound] if bound else None
    return Roofline(
        gflop=gflop,
        bytes=moved,
        intensity=intensity,
        gflops=reached,
        basis=basis,
        peak=peak,
        fraction_of_peak=reached / peak.gflops if peak.gflops else None,
        attainable=attainable,
        fraction_of_attainable=reached / attainable if attainable else None,
        bound=bound,
    )


def chain_gflop(graphs: Iterable[Graph]) -> float:
    return sum(value for graph in graphs for value in graph.gflop.values())


def chain_weights(graphs: Iterable[Graph], precision: str) -> int:
    """Bytes of the weights, in the precision in which they run."""
    return sum(graph.parameters for graph in graphs) * ITEM_SIZE[precision]


def chain_bytes(graphs: tuple[Graph, ...], precision: str) -> int:
    """Weights, inputs and outputs of every graph, each once."""
    tensors = [tensor for graph in graphs for tensor in graph.inputs + graph.outputs]
    return chain_weights(graphs, precision) + sum(map(_tensor_bytes, tensors))


def _tensor_bytes(tensor: TensorInfo) -> int:
    """For a range, at its opt size."""
    sizes = (axis_sizes(size)[1] for size in tensor.shape)
    return math.prod(sizes) * _DTYPE_SIZE.get(tensor.dtype, 4)


def cpu_peak(name: str) -> Peak:
    """Measured here and now, in two seconds: no table knows a CPU's clocks under load."""
    source = "measured here: numpy's float32 matrix product on all cores, and its copy on one"
    return Peak(name, matrix_gflops(), copy_gb_s(), source)


def gpu_peak(name: str, facts: dict[str, Any] | None) -> Peak:
    """From the table of ``gpus``; the memory's else from the driver's clocks and bus width."""
    gpu = find_gpu(name)
    tflops, gb_s = (gpu.tflops, gpu.gb_s) if gpu else (None, None)
    source = "NVIDIA's dense fp16 tensor rate, float32 accumulation" if tflops else "no stated rate"
    if gb_s is None and facts and facts["memory_gb_s"]:
        gb_s = facts["memory_gb_s"]
        source += ", memory by the driver's clock and bus width"
    elif gb_s:
        source += ", memory bandwidth as stated"
    return Peak(name, tflops and tflops * 1000, gb_s, source)
