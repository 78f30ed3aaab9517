"""Real nodes over real DDS, each module in a domain of its own, where ``.ci/ros`` put ROS."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock, Timeout

from apdepth_deploy import load

MakeBundle = Callable[..., Path]
CLIENT = Path(__file__).with_name("client.py")
CONTRACT = Path(__file__).parents[3] / "runtime/ros/contract.json"


@pytest.fixture(scope="session")
def ros_python() -> str:
    """The Python that has rclpy and this package."""
    if not os.environ.get("APDEPTH_ROS"):
        pytest.skip("no ROS 2 here: APDEPTH_ROS=$(.ci/ros)")
    return os.environ["APDEPTH_ROS"]


@pytest.fixture(scope="module")
def ros_environment(ros_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A DDS domain that no other test has, on this machine alone."""
    with contextlib.ExitStack() as stack:
        for domain in range(1, 101):
            lock = FileLock(Path(tempfile.gettempdir(), f"apdepth-ros-domain-{domain}.lock"))
            with contextlib.suppress(Timeout):
                stack.enter_context(lock.acquire(timeout=0))
                break
        own = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        logs = {"ROS_LOG_DIR": str(tmp_path_factory.mktemp("ros_logs"))}
        yield {**os.environ, **own, **logs}


class Client:
    """``client.py`` as a process: its methods, here."""

    def __init__(self, python: str, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [python, str(CLIENT)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            pickle.dump((name, arguments, options), self.process.stdin)
            self.process.stdin.flush()
            done, result = pickle.load(self.process.stdout)
            assert done, result
            return result

        return call

    def diagnostics(self) -> tuple[Any, dict[str, str]]:
        """The next whole second's status, and its values."""
        self.listen("/diagnostics", "DiagnosticArray")
        self.heard("/diagnostics", 1)
        (status,) = self.heard("/diagnostics", 1)[-1]["status"]
        return status, {pair["key"]: pair["value"] for pair in status["values"]}

    @staticmethod
    def array(message: dict[str, Any]) -> Any:
        """An image message's pixels, by what it says of itself."""
        kind = {"32FC1": np.float32, "16UC1": np.uint16}[message["encoding"]]
        assert message["step"] == message["width"] * np.dtype(kind).itemsize
        return np.frombuffer(message["data"], kind).reshape(message["height"], message["width"])


@pytest.fixture(scope="module")
def client(ros_python: str, ros_environment: dict[str, str]) -> Iterator[Client]:
    running = Client(ros_python, ros_environment)
    yield running
    running.process.stdin.close()
    running.process.wait(10)
    running.process.stdout.close()


class Node:
    """`apdepth-deploy ros` as a process."""

    def __init__(self, python: str, environment: dict[str, str], *words: Any) -> None:
        command = [str(Path(python).with_name("apdepth-deploy")), "ros", *map(str, words)]
        self.process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)

    def said(self) -> str:
        return "".join(self.lines)

    def wait_for(self, words: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while words not in self.said():
            assert time.monotonic() < end and self.process.poll() is None, self.said()
            time.sleep(0.01)

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(20)
        self._reader.join(5)
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def start(ros_python: str, ros_environment: dict[str, str]) -> Iterator[Callable[..., Node]]:
    """(words of the command, ready=True) -> a node, which has its engine by then."""
    nodes: list[Node] = []

    def run(*words: Any, ready: bool = True) -> Node:
        nodes.append(Node(ros_python, ros_environment, *words))
        if ready:
            nodes[-1].wait_for("ready: ")
        return nodes[-1]

    yield run
    for node in nodes:
        if node.process.poll() is None:
            node.process.kill()
            node.wait()


@pytest.fixture(scope="session")
def image_message() -> Callable[..., dict[str, Any]]:
    """(pixels [H,W] or [H,W,C], encoding, seconds, padding of rows) -> sensor_msgs/Image."""

    def make(
        pixels: Any, encoding: str, seconds: float = 1.0, padding: int = 0, **fields: Any
    ) -> dict[str, Any]:
        height, width = pixels.shape[:2]
        rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
        padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
        nanoseconds = round(seconds * 1e9)
        stamp = {"sec": nanoseconds // 10**9, "nanosec": nanoseconds % 10**9}
        return {
            "header": {"stamp": stamp, "frame_id": "camera"},
            "height": height,
            "width": width,
            "encoding": encoding,
            "step": padded.shape[1],
            "data": padded.tobytes(),
            **fields,
        }

    return make


@pytest.fixture(scope="module")
def node(start: Callable[..., Any], micro_bundle: Path) -> Any:
    return start(micro_bundle, "--backend", "onnxruntime", "--ros-args", "-p", "steady:=false")


@pytest.fixture(scope="module")
def predictor(micro_bundle: Path) -> Any:
    return load(micro_bundle, backend="onnxruntime")


@pytest.fixture
def ros(node: Any, client: Any) -> Iterator[Any]:
    """The client beside the running node; at the end all is as it was, and nobody listens."""
    yield client
    client.stop_listening()
    told = json.loads(CONTRACT.read_text(encoding="utf-8"))["parameters"]
    defaults = {one["name"]: one["default"] for one in told if not one["read_only"]}
    assert all(done for done, _ in client.set("/depth", **{**defaults, "steady": False}))


@pytest.fixture
def picture() -> Any:
    """A street of colours, uint8 [64,96,3]."""
    y, x = np.mgrid[0:64, 0:96]
    ramp = np.stack([x * 2, y * 3, np.where(x > y, 200, 30)], axis=-1).clip(0, 255)
    noise = np.random.default_rng(0).integers(0, 20, ramp.shape)
    return (ramp + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def times() -> Iterator[float]:
    """Seconds for each test: what came in the one before is long over then."""
    return itertools.count(1000.0, 1000.0)
