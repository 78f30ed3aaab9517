"""`live` on a video at 30 Hz, as a process: latency, memory, and how it ends.

    python benchmarks/live.py [--seconds 600] [--signal INT|TERM] [--height 240 --width 320]

`tiny` with `--record` and `--depth`; a signal ends it a little before the video does. One frame's
own time is measured before and after, in a process beside nothing else of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from measuring import in_a_process, run, save_results, timed
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts

PHOTO = Path(__file__).parents[1] / "apdepth_deploy" / "data" / "bicycle.jpg"
RATE = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--signal", choices=("INT", "TERM"), default="INT")
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--single", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.single:
        print(json.dumps(single(Path(arguments.single))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, size = Path(name), (arguments.height, arguments.width)
        sides = ("--height", str(size[0]), "--width", str(size[1]))
        words = ("--precision", "fp32", "--no-verify", *sides, "--output", f"{name}/bundle")
        run("export", "tiny", *words)
        film(folder / "clip.mp4", arguments.seconds * RATE, *size)
        found = measure(folder, arguments.seconds - 2, arguments.signal)
    rows = [[key, str(value)] for key, value in found.items() if key != "rss_mb"]
    print(table(["live", "measured"], rows))
    save_results("live.tiny.json", {"machine": machine_facts(), **found})


def film(path: Path, count: int, height: int, width: int) -> None:
    """A photo under a camera that sways."""
    import av

    whole = Image.open(PHOTO).convert("RGB").resize((width + 64, height + 48))
    picture = np.asarray(whole)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(count):
            x, y = int(32 + 31 * np.sin(number / 40)), int(24 + 23 * np.sin(number / 57))
            window = np.ascontiguousarray(picture[y : y + height, x : x + width])
            frame = av.VideoFrame.from_ndarray(window, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def measure(folder: Path, seconds: int, name: str) -> dict[str, Any]:
    before = in_a_process(__file__, "--single", f"{folder}/bundle")
    words = ["live", "bundle", "clip.mp4", "--json", "--record", "out.mp4", "--depth", "depth.mkv"]
    command = [sys.executable, "-m", "apdepth_deploy", *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)  # noqa: S603
    asked: list[float] = []

    def end() -> None:
        asked.append(time.monotonic())
        process.send_signal(signal.Signals[f"SIG{name}"])

    threading.Timer(seconds, end).start()
    assert process.stdout is not None
    lines, memory = [], []
    for line in process.stdout:
        lines.append(json.loads(line))
        if not lines[-1].get("final"):
            memory.append(rss_mb(process.pid))
    code = process.wait()
    ended = round(time.monotonic() - asked[0], 2)
    after = in_a_process(__file__, "--single", f"{folder}/bundle")
    steady = memory[60:] or memory
    twice = 2000 * before["median_s"]
    within = [line["latency_p99_ms"] <= twice for line in lines[:-1] if line["frames"]]
    return {
        "code": code,
        "single_frame_ms": [1000 * one["median_s"] for one in (before, after)],
        "seconds_with_p99_within_twice_that": round(sum(within) / len(within), 3),
        **lines[-1],
        "rss_after_a_minute_mb": [min(steady), max(steady)],
        "signal_to_end_s": ended,
        "files": {file: played(folder / file) for file in ("out.mp4", "depth.mkv")},
        "rss_mb": memory,
    }


def single(bundle: Path) -> dict[str, Any]:
    """Seconds of one frame of the graph's size, on the engine that later frames have."""
    size = Bundle.open(bundle).frame_shape[1:]
    picture = np.asarray(Image.open(PHOTO).convert("RGB").resize((size[1], size[0])))
    with load(bundle) as predictor:
        predictor.settle()
        for _ in range(10):
            predictor(picture)
        return timed(lambda: predictor(picture), 100)


def rss_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def played(path: Path) -> dict[str, Any]:
    """Frames that can be decoded, and the last one's time."""
    import av

    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    return {"frames": len(times), "seconds": round(times[-1], 3), "bytes": path.stat().st_size}


if __name__ == "__main__":
    main()
