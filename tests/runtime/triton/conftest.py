"""Bundles as Triton's forms need them, and a real tritonserver where ``.ci/triton`` put one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.bundle import Bundle, Engine, file_entry

#: Stand-ins for backends that only the container has, through Triton's Python backend: the real
#: ONNX Runtime, and zeros for a plan. Everything before them (configuration, batching, warm-up,
#: ensemble) is Triton's own.
STAND_INS = {
    "onnxruntime": """
import json, pathlib
import numpy as np, onnxruntime
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        folder = pathlib.Path(args["model_repository"], args["model_version"])
        self._session = onnxruntime.InferenceSession(str(folder / config["default_model_filename"]))

    def execute(self, requests):
        return [self._run(request) for request in requests]

    def _run(self, request):
        inputs = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        feeds = {n: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, n)) for n in inputs}
        values = self._session.run(outputs, feeds)
        tensors = [pb_utils.Tensor.from_dlpack(*pair) for pair in zip(outputs, values)]
        return pb_utils.InferenceResponse(tensors)
""",
    "tensorrt": """
import json, pathlib
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        folder = pathlib.Path(args["model_repository"], args["model_version"])
        for name in config["cc_model_filenames"].values():
            assert (folder / name).read_text().startswith("plan of")

    def execute(self, requests):
        images = [pb_utils.get_input_tensor_by_name(request, "image") for request in requests]
        depths = [np.zeros(image.shape()[:3], np.float32) for image in images]
        tensors = [pb_utils.Tensor.from_dlpack("depth", depth) for depth in depths]
        return [pb_utils.InferenceResponse([tensor]) for tensor in tensors]
""",
}


@pytest.fixture
def with_engines(tmp_path: Path) -> Callable[..., Path]:
    """(bundle, target, version, capabilities) -> a copy with an engine for every graph and GPU."""

    def add(folder: Path, target: str, version: str, *capabilities: str) -> Path:
        copy = tmp_path / "with_engines"
        if folder != copy:
            shutil.copytree(folder, copy)
        bundle = Bundle.open(copy)
        for graph in bundle.graphs:
            for capability in capabilities:
                name = f"engines/{graph.label}.{capability}.{target}{version}.engine"
                bundle.path(name).parent.mkdir(exist_ok=True)
                bundle.path(name).write_text(f"plan of {name}")
                engine = Engine(
                    graph.name,
                    graph.precision,
                    target,
                    version,
                    (capability,),
                    "linux-x86_64",
                    name,
                    *(graph.batch, graph.height, graph.width),
                    {graph.precision: 1},
                    *(1, 1, 1, 1.0),
                )
                bundle.manifest["engines"].append(dataclasses.asdict(engine))
                bundle.manifest["files"][name] = file_entry(bundle.path(name))
        bundle.write_manifest()
        return copy

    return add


class Server:
    """A tritonserver that was started: its ports, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, ports: dict[str, int]) -> None:
        self.process, self._log, self.ports = process, log, ports

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def get(self, path: str) -> Any:
        """JSON from the HTTP port, or text from the metrics' port."""
        port = self.ports["metrics" if path == "/metrics" else "http"]
        with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=60) as answer:
            text = answer.read().decode()
        return text if path == "/metrics" else json.loads(text or "null")

    def models(self) -> dict[str, str]:
        """{model: why it isn't ready, "" where it is}."""
        request = urllib.request.Request(
            f"http://localhost:{self.ports['http']}/v2/repository/index", method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            index = json.load(answer)
        return {m["name"]: "" if m.get("state") == "READY" else m.get("reason", "?") for m in index}

    def wait(self, seconds: float) -> None:
        """Until it listens: all its models are loaded then, or refused."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                self.get("/v2/health/live")
                return
            time.sleep(0.1)
        raise AssertionError(f"tritonserver does not listen:\n{self.log[-4000:]}")


@pytest.fixture(scope="session")
def triton_folder() -> Path:
    """The virtual environment with a real tritonserver and tritonclient."""
    folder = os.environ.get("APDEPTH_TRITON")
    if not folder:
        pytest.skip("APDEPTH_TRITON is not set: export APDEPTH_TRITON=$(.ci/triton)")
    library = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    places = [sysconfig.get_config_var("LIBDIR"), "/usr/lib/x86_64-linux-gnu"]
    if not any(Path(place, library).exists() for place in places):
        pytest.skip(f"Triton's Python backend needs {library}, and this Python has none")
    return Path(folder)


@pytest.fixture(scope="session")
def serve(
    triton_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., contextlib.AbstractContextManager[Server]]:
    """(*repositories, backends=()) -> a context with a server that has tried every model.

    ``backends``: those of ``STAND_INS`` that it is to have.
    """
    [packages] = triton_folder.glob("lib/python3.*/site-packages")
    installed = packages / "pytriton/tritonserver"

    @contextlib.contextmanager
    def start(*repositories: Path, backends: tuple[str, ...] = ()) -> Iterator[Server]:
        folder = tmp_path_factory.mktemp("server")
        (folder / "backends").mkdir()
        (folder / "backends/python").symlink_to(installed / "backends/python")
        for backend in backends:
            (folder / "backends" / backend).mkdir()
            (folder / "backends" / backend / "model.py").write_text(STAND_INS[backend])
        ports = dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
        command = [
            str(installed / "bin/tritonserver"),
            *(f"--model-repository={repository}" for repository in repositories),
            f"--backend-directory={folder / 'backends'}",
            *(f"--{name}-port={port}" for name, port in ports.items()),
            "--disable-auto-complete-config",
            "--exit-on-error=false",
            "--strict-readiness=false",
        ]
        libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
        python = Path(sys.executable).parent  # the backend's interpreter is the first on the path
        environment = os.environ | {
            "PATH": f"{python}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": libraries,
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            server = Server(process, folder / "log", ports)
            server.wait(seconds=240)
            yield server
        finally:
            stop(process)

    return start


def stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would; its session goes with it, so that no Python process of its stays."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
