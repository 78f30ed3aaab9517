"""The ROS 2 node under a camera of 30 Hz: latency beside the engine's own, drops, and memory.

    APDEPTH_ROS=$(.ci/ros) python benchmarks/ros.py [--frames 10000] [--bundle FOLDER] [--metres]

By default `tiny` at 240x320 in fp32 on ONNX Runtime, made first. A camera and a viewer run in a
process of their own, in a DDS domain of their own on this machine alone. With --metres anchors come
with every image, and metres and points are looked at, too. --rate 0 sends as fast as depth comes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import run, save_results

from apdepth_deploy import load
from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts

DOMAIN = {"ROS_DOMAIN_ID": "97", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--bundle")
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--metres", action="store_true")
    parser.add_argument("--camera", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.camera:
        camera(arguments)
        return
    python = os.environ.get("APDEPTH_ROS") or sys.exit("no ROS 2: APDEPTH_ROS=$(.ci/ros)")
    with tempfile.TemporaryDirectory() as name:
        bundle = arguments.bundle or f"{name}/bundle"
        if not arguments.bundle:
            sides = ("--height", str(arguments.height), "--width", str(arguments.width))
            run("export", "tiny", "--precision", "fp32", "--no-verify", *sides, "--output", bundle)
        found = measure(python, bundle, arguments)
    found["engine alone p50, after (ms)"] = alone(bundle, arguments)
    print(table(["ros", "measured"], [[key, str(value)] for key, value in found.items()]))
    kind = "metres" if arguments.metres else "relative"
    save_results(
        f"ros.{kind}.json", {"machine": machine_facts(), "frames": arguments.frames} | found
    )


def alone(bundle: str, arguments: argparse.Namespace) -> float:
    """The median time of a frame that nothing runs beside, in milliseconds."""
    image = np.random.default_rng(0).integers(0, 256, (arguments.height, arguments.width, 3))
    image, times = image.astype(np.uint8), []
    with load(bundle, backend="onnxruntime") as predictor:
        for _ in range(40):
            begun = time.monotonic()
            predictor(image)
            times.append(time.monotonic() - begun)
    return round(1000 * float(np.median(times)), 1)


def measure(python: str, bundle: str, arguments: argparse.Namespace) -> dict[str, Any]:
    environment = {**os.environ, **DOMAIN}
    before = alone(bundle, arguments)
    program = str(Path(python).with_name("apdepth-deploy"))
    node = subprocess.Popen(  # noqa: S603
        [program, "ros", bundle, "--backend", "onnxruntime"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert node.stderr is not None
    lines = iter(node.stderr)
    next(line for line in lines if "ready: " in line)
    threading.Thread(target=list, args=[lines], daemon=True).start()
    memory: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(2.0):
            status = Path(f"/proc/{node.pid}/status").read_text()
            memory.append(int(status.split("VmRSS:")[1].split()[0]) // 1024)

    threading.Thread(target=watch, daemon=True).start()
    command = [python, __file__, "--camera", *sys.argv[1:]]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    done.set()
    node.terminate()
    code = node.wait(20)
    early = memory[len(memory) // 10 : len(memory) // 5] or memory[:1]
    return {
        "engine alone p50, before (ms)": before,
        **json.loads(told.stdout.splitlines()[-1]),
        "memory after a tenth (MB)": max(early),
        "memory at most after that (MB)": max(memory[len(memory) // 5 :] or memory),
        "memory at the end (MB)": memory[-1],
        "exit code": code,
    }


def camera(arguments: argparse.Namespace) -> None:
    """In the Python that has ROS: sends images, listens, prints what it saw."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2

    rclpy.init()
    node = rclpy.create_node("camera")
    sent: dict[int, float] = {}
    latencies: list[float] = []
    others = {"metres": 0, "points": 0}
    values: dict[str, str] = {}

    def seen(message: Any) -> None:
        stamp = message.header.stamp
        latencies.append(time.monotonic() - sent.pop(stamp.sec * 10**9 + stamp.nanosec))

    def count(name: str) -> Any:
        def one(message: Any) -> None:
            others[name] += 1

        return one

    def told(message: Any) -> None:
        values.update({pair.key: pair.value for pair in message.status[0].values})

    node.create_subscription(Image, "relative_depth/image_raw", seen, 5)
    node.create_subscription(DiagnosticArray, "/diagnostics", told, 5)
    if arguments.metres:
        node.create_subscription(Image, "depth/image_rect", count("metres"), 5)
        node.create_subscription(PointCloud2, "points", count("points"), 5)
    ends = [
        node.create_publisher(kind, topic, qos_profile_sensor_data)
        for kind, topic in ((CameraInfo, "camera_info"), (Image, "anchors/depth"), (Image, "image"))
    ]
    height, width = arguments.height, arguments.width
    size = {"height": height, "width": width}
    focal = float(width)
    p = [focal, 0.0, width / 2, 0.0, 0.0, focal, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    info = CameraInfo(**size, p=p)
    ramp = np.linspace(1000, 5000, width).astype(np.uint16)
    sparse = np.where(np.arange(height)[:, None] % 8 == 0, ramp, 0).astype(np.uint16)
    anchors = Image(**size, encoding="16UC1", step=2 * width, data=sparse.tobytes())
    image = Image(**size, encoding="rgb8", step=3 * width)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 32, (8, height, width, 3)).astype(np.uint8)
    grey = (np.arange(width) * 200 // width).astype(np.uint8)[:, None]
    frames = [(one + grey).tobytes() for one in noise]
    threading.Thread(target=rclpy.spin, args=[node], daemon=True).start()
    time.sleep(2.0)
    due, count_before = time.monotonic(), 0
    for number in range(arguments.frames):
        stamp = node.get_clock().now().to_msg()
        for message in (info, anchors, image):
            message.header.stamp, message.header.frame_id = stamp, "camera"
        image.data = frames[number % len(frames)]
        if arguments.metres:
            ends[0].publish(info)
            ends[1].publish(anchors)
        sent[stamp.sec * 10**9 + stamp.nanosec] = time.monotonic()
        ends[2].publish(image)
        if arguments.rate:
            due += 1.0 / arguments.rate
            time.sleep(max(0.0, due - time.monotonic()))
        else:
            end = time.monotonic() + 1.0
            while len(latencies) == count_before and time.monotonic() < end:
                time.sleep(0.0005)
            count_before = len(latencies)
    time.sleep(2.5)
    found = {
        "sent": arguments.frames,
        "depth maps": len(latencies),
        "latency to the viewer p50 (ms)": round(1000 * float(np.quantile(latencies, 0.5)), 1),
        "latency to the viewer p99 (ms)": round(1000 * float(np.quantile(latencies, 0.99)), 1),
        **{name: values[name] for name in ("images", "depths", "dropped", "failed")},
        **(others if arguments.metres else {}),
    }
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
