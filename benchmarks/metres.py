"""What metres take of a frame's time, on one core: milliseconds at 480x640.

    python benchmarks/metres.py [--runs 100]

The fit alone by the number of anchors (2 % noise, 40 % outliers); fit, field and metres of one
frame with 512 anchors; and a whole frame: stabiliser, fit, field and metres. numpy's libraries get
one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # before numpy is imported

import numpy as np
from measuring import save_results
from numpy.typing import NDArray

from apdepth_deploy import Stabilizer, fit_metres

HEIGHT, WIDTH = 480, 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    depth = 0.6 * x / WIDTH + 0.3 * np.sin(y / 80) ** 2
    wrong = np.exp(0.2 * np.sin(x / 90))
    found = {}
    for count in (32, 512, 10_000):
        anchors = drawn(depth, np.ones_like(depth), count, 0.4)
        found[f"fit, {count} anchors"] = median(
            lambda a=anchors: fit_metres(depth, a, field=False), runs
        )
    anchors = drawn(depth, wrong, 512, 0.2)
    fit = fit_metres(depth, anchors)
    assert fit.field is not None
    found["fit and field, 512 anchors"] = median(lambda: fit_metres(depth, anchors), runs)
    found["metres with the field"] = median(lambda: fit.metres(depth), runs)
    found["a frame: stabiliser, fit, field, metres"] = median(frame(depth, anchors), runs)
    for what, milliseconds in found.items():
        print(f"{what}: {milliseconds} ms")
    save_results("metres.json", found)


def drawn(
    depth: NDArray[np.float32], wrong: NDArray[np.float32], count: int, outliers: float
) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, WIDTH, count), rng.integers(0, HEIGHT, count)
    z = (4.0 * depth[y, x] + 1.0) * wrong[y, x] * (1 + 0.02 * rng.standard_normal(count))
    bad = rng.permutation(count)[: int(outliers * count)]
    z[bad] = rng.uniform(0.5, 8.0, len(bad))
    return np.stack([x, y, z], axis=1)


def frame(depth: NDArray[np.float32], anchors: NDArray[np.float64]) -> Callable[[], object]:
    """The work of one frame of a still camera, each with noise of its own."""
    rng = np.random.default_rng(0)
    picture = (
        rng.integers(30, 220, (HEIGHT // 8, WIDTH // 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
    )
    noise = rng.normal(0, 2.5, (8, *picture.shape))
    frames = np.clip(picture + noise, 0, 255).astype(np.uint8)
    depths = depth + 0.01 * rng.standard_normal((8, HEIGHT, WIDTH), dtype=np.float32)
    steady, number = Stabilizer(), 0

    def work() -> object:
        nonlocal number
        number = (number + 1) % 8
        steadied = steady(frames[number], depths[number])
        return fit_metres(steadied, anchors).metres(steadied)

    return work


def median(work: Callable[[], object], runs: int) -> float:
    for _ in range(5):
        work()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(seconds), 2)


if __name__ == "__main__":
    main()
