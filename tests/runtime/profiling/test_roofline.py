"""Roofline: what bounds a call, and the peaks that it is held against."""

from __future__ import annotations

import numpy as np
import pytest

from apdepth_deploy.bundle import Graph, TensorInfo
from apdepth_deploy.runtime.profiling.measure import machine, roofline
from apdepth_deploy.runtime.profiling.measure.roofline import Peak, chain_bytes, gpu_peak

PEAK = Peak("a CPU", 100.0, 10.0, "made up")


def test_the_roof_is_the_lower_of_compute_and_memory() -> None:
    memory = roofline.roofline(2.0, 10**9, 0.2, "host", PEAK)  # 2 operations a byte, 10 GFLOP/s
    assert (memory.intensity, memory.gflops, memory.attainable) == (2.0, 10.0, 20.0)
    assert (memory.bound, memory.fraction_of_peak) == ("memory", 0.1)
    assert memory.fraction_of_attainable == 0.5
    compute = roofline.roofline(50.0, 10**9, 1.0, "device", PEAK)
    assert (compute.bound, compute.attainable, compute.fraction_of_peak) == ("compute", 100.0, 0.5)


def test_a_peak_that_is_not_known_is_not_guessed() -> None:
    found = roofline.roofline(2.0, 10**9, 0.2, "host", Peak("x", None, 10.0, "?"))
    assert found.gflops == 10.0
    assert (found.fraction_of_peak, found.attainable, found.bound) == (None, None, None)


def test_bytes_are_weights_inputs_and_outputs_once() -> None:
    image = TensorInfo("image", "uint8", ([1, 2, 4], 8, 16, 3))
    depth = TensorInfo("depth", "float32", ([1, 2, 4], 8, 16))
    graph = Graph("fused", "fp16", "f", "d", 21, (image,), (depth,), 1, 8, 16, 1000, 1, {})
    frames = 2 * 8 * 16  # a range counts at its opt size
    assert chain_bytes((graph,), "fp16") == 2000 + frames * 3 + frames * 4


def test_a_gpu_s_peak_is_the_table_s_or_the_driver_s() -> None:
    driver = {"memory_gb_s": 576.1}
    card = gpu_peak("NVIDIA GeForce RTX 4090", driver)
    assert (card.gflops, card.gb_s) == (165_200.0, 1008.0)
    laptop = gpu_peak("NVIDIA GeForce RTX 4090 Laptop GPU", driver)
    assert (laptop.gflops, laptop.gb_s) == (None, 576.1)
    assert "no stated rate" in laptop.source and "driver's clock" in laptop.source
    assert gpu_peak("unheard of", None).gb_s is None


def test_a_cpu_s_peak_is_measured() -> None:
    """The clock is ours: 2 seconds for every product and copy."""
    ticks = iter(range(0, 1000, 2))
    assert machine.matrix_gflops(lambda: float(next(ticks)), 64) == 64**3 / 1e9
    assert machine.copy_gb_s(lambda: float(next(ticks)), 1 << 20) == (1 << 20) / 1e9


def test_memory_that_is_taken_shows() -> None:
    memory = machine.PeakMemory()
    held = np.ones(64 << 20, np.uint8)
    growth = memory.growth()
    if growth is None:
        pytest.skip("an earlier peak hides it, and this system can't forget one")
    assert held.nbytes <= growth < 4 * held.nbytes
