"""Streams: a server of motion JPEG that can be killed, and `live` as a process."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

MakeBundle = Callable[..., Path]
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


@pytest.fixture(scope="session")
def clips() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "clips.py")))


@pytest.fixture(scope="module")
def bundle(mean_bundle: MakeBundle) -> Path:
    return mean_bundle(1, 48, 64)


class Camera:
    """Motion JPEG over HTTP from a grey picture, 40 a second, to whoever connects."""

    def __init__(self) -> None:
        picture = io.BytesIO()
        Image.fromarray(np.full((48, 64, 3), 100, np.uint8)).save(picture, "JPEG")
        body = picture.getvalue()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        self._part = head.encode() + body + b"\r\n"
        self.port, self.speaks, self._clients = 0, True, []

    def start(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, args=[self._socket], daemon=True).start()

    def kill(self) -> None:
        """As a process dies: connections are reset."""
        for one in (self._socket, *self._clients):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._clients = []

    @property
    def address(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.port}/stream"

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._send, args=[client], daemon=True).start()

    def _send(self, client: socket.socket) -> None:
        try:
            client.recv(4096)
            client.sendall(HEAD if self.speaks else b"")
            while True:
                client.sendall(self._part if self.speaks else b"")
                time.sleep(0.025)
        except OSError:
            pass


@pytest.fixture
def camera() -> Iterator[Camera]:
    one = Camera()
    one.start()
    yield one
    one.kill()


class Live:
    """`live --json` as a process, whose lines can be waited for."""

    def __init__(self, bundle: Path, *words: object, shell: str = "") -> None:
        command = [sys.executable, "-m", "apdepth_deploy", "live", bundle, *words, "--json"]
        command += ["--backend", "onnxruntime", "--threads", "1"]
        # A shell starts background jobs with SIGINT ignored, and a child inherits that.
        start = ["env", "--default-signal=INT", "sh", "-c", f'{shell} exec "$@"', "sh"]
        self.process = subprocess.Popen(
            [*start, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(iter(self.process.stderr.readline, ""))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Each second's, as they come; then the last."""
        assert self.process.stdout is not None
        yield from map(json.loads, self.process.stdout)

    def wait_for(self, words: str, times: int = 1, seconds: float = 30.0) -> None:
        """Until so many lines on stderr have such words."""
        until = time.monotonic() + seconds
        while sum(words in line for line in list(self.said)) < times:
            assert time.monotonic() < until and self.process.poll() is None, self.said
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """The exit code, and all of stderr."""
        code = self.process.wait(60)
        self._reader.join(10)
        return code, "".join(self.said)


@pytest.fixture
def live(bundle: Path) -> Iterator[Callable[..., Live]]:
    """(*words, shell="") -> ``Live`` on the bundle; killed where the test leaves it behind."""
    started: list[Live] = []

    def start(*words: object, shell: str = "") -> Live:
        started.append(Live(bundle, *words, shell=shell))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()
