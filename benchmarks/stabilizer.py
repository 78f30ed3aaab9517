"""What the stabiliser takes of a frame's time, on one core: milliseconds, by size.

    python benchmarks/stabilizer.py [--frames 100]

A textured picture that moves by two pixels a frame, with noise; depth with an error of its own in
each frame. numpy's libraries get one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # before numpy is imported

import numpy as np
from measuring import save_results

from apdepth_deploy import Stabilizer

SIZES = ((240, 320), (480, 640), (720, 1280))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    frames = parser.parse_args().frames
    found = {f"{height}x{width}": measure(height, width, frames) for height, width in SIZES}
    for size, milliseconds in found.items():
        print(f"{size}: {milliseconds['median_ms']} ms, p90 {milliseconds['p90_ms']} ms")
    save_results("stabilizer.json", found)


def measure(height: int, width: int, frames: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    blocks = rng.integers(30, 220, (height // 8 + 4, width // 8 + 12, 3))
    picture = blocks.repeat(8, axis=0).repeat(8, axis=1)
    slope = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    steady, seconds = Stabilizer(), []
    for number in range(frames):
        left = 2 * (number % 30)
        noisy = picture[:height, left : left + width] + rng.normal(0, 2.5, (height, width, 3))
        frame = np.clip(noisy, 0, 255).astype(np.uint8)
        depth = slope + 0.02 * rng.standard_normal((height, width), dtype=np.float32)
        start = time.perf_counter()
        steady(frame, depth)
        seconds.append(1e3 * (time.perf_counter() - start))
    steps = statistics.quantiles(seconds[5:], n=10)
    return {"median_ms": round(statistics.median(seconds[5:]), 2), "p90_ms": round(steps[-1], 2)}


if __name__ == "__main__":
    main()
