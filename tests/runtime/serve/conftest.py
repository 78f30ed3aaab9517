"""Real servers, each a process of its own, and what asks them."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is not installed")

#: The program, with constants of it changed where a test can't wait that long.
PROGRAM = """
import sys
from apdepth_deploy.cli import run
{changes}
run()
"""


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def npy(self) -> np.ndarray:
        return np.load(io.BytesIO(self.body))


@dataclasses.dataclass
class Server:
    process: subprocess.Popen[str]
    link: str

    @property
    def port(self) -> int:
        return int(self.link.split("/")[2].rpartition(":")[2])

    def ask(
        self,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        **options: Any,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            way = method or ("GET" if body is None else "POST")
            connection.request(way, path, body, dict(headers or {}), **options)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def metric(self, name: str) -> float:
        lines = self.ask("/metrics").body.decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(name)))

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextlib.contextmanager
def running(
    *bundles: Path, options: tuple[str, ...] = (), changes: str = "", **environment: str
) -> Iterator[Server]:
    """``serve`` for the bundles, listening."""
    command = [sys.executable, "-c", PROGRAM.format(changes=changes), "serve"]
    command += [*map(str, bundles), "--port", "0", "--backend", "onnxruntime", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        cwd=bundles[0],  # the repository's folders would stand before what is installed
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            line = process.stdout.readline()
            assert line.startswith("serving on http://"), process.stderr.read()
            yield Server(process, line.split()[-1])
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="session")
def serve() -> Callable[..., contextlib.AbstractContextManager[Server]]:
    return running


@pytest.fixture(scope="session")
def bundles(mean_bundle: Any) -> list[Path]:
    """Two whose depth a line of numpy gives: the mean of the channels / 255, and / 510."""
    return [mean_bundle(1, 64, 96), mean_bundle(1, 64, 96, 510.0)]


@pytest.fixture(scope="module")
def server(bundles: list[Path]) -> Iterator[Server]:
    with running(*bundles) as one:
        yield one


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """(uint8 array, kind="PNG") -> a file's bytes."""

    def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format=kind)
        return file.getvalue()

    return encode
