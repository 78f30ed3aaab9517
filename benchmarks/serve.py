"""``serve`` under many clients, and under those that mean no good.

    python benchmarks/serve.py BUNDLE [--clients 64] [--seconds 60] [--bodies 2000]

The clients wait as long as a 503 says and ask again. Memory is the server's own, read once a
second: at the first quarter's end, at most since, and at the end. Ends with 1 where a rule is
broken: no 5xx but 503 with Retry-After, memory within 20 MB, and depth for who asks rightly, after
each kind of misuse, too.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import save_results
from PIL import Image

PHOTO = Path(__file__).parents[1] / "apdepth_deploy" / "data" / "bicycle.jpg"
KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF")
#: Seconds that slow clients hold on.
SLOW_SECONDS = 25.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bodies", type=int, default=2000)
    options = parser.parse_args()
    with served(options.bundle) as port:
        found = {
            "load": load(port, options.clients, options.seconds),
            "garbage": garbage(port, options.bodies),
            "slow": slow(port, SLOW_SECONDS),
            "large": large(port, 1 << 30),
            "strays": strays(port),
        }
    for name, one in found.items():
        print(name, one)
    save_results("serve.json", found)
    if not all(one["holds"] for one in found.values()):
        raise SystemExit(1)


@contextlib.contextmanager
def served(bundle: Path) -> Iterator[int]:
    """The port of a server of the bundle, whose end must be clean."""
    command = [sys.executable, "-m", "apdepth_deploy", "serve", str(bundle), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().split(":")[2].split("/")[0])
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


def ask(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
    """(status, headers, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, headers, encode_chunked=headers != {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def resident_mb(port: int) -> float:
    lines = ask(port, "/metrics")[2].decode().splitlines()
    name = "process_resident_memory_bytes "
    return float(next(line for line in lines if line.startswith(name)).split()[1]) / 1e6


def good(port: int) -> bool:
    """Whether a photo gets its depth, within ten tries."""
    for _ in range(10):
        status, _, body = ask(port, "/v1/depth", PHOTO.read_bytes())
        if status == 200:
            return body.startswith(b"\x89PNG")
        time.sleep(1)
    return False


def load(port: int, clients: int, seconds: float) -> dict[str, Any]:
    """Photos from all sides."""
    photo, statuses, latencies, broken = PHOTO.read_bytes(), Counter[int](), [], []
    end = time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < end:
            start = time.monotonic()
            try:
                status, headers, _ = ask(port, "/v1/depth", photo)
            except OSError as error:
                broken.append(repr(error))
                continue
            statuses[status] += 1
            if status == 200:
                latencies.append(time.monotonic() - start)
            elif status == 503 and headers["Retry-After"]:
                time.sleep(float(headers["Retry-After"]))
            else:
                broken.append(f"{status} without Retry-After")

    good(port)
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    memory = []
    while time.monotonic() < end:
        memory.append(resident_mb(port))
        time.sleep(1)
    for thread in threads:
        thread.join()
    steps = statistics.quantiles(latencies, n=100)
    settled = memory[len(memory) // 4 :]
    return {
        "clients": clients,
        "seconds": seconds,
        "statuses": dict(statuses),
        "depths_a_second": round(len(latencies) / seconds, 1),
        "p50_s": round(steps[49], 3),
        "p99_s": round(steps[98], 3),
        "memory_mb": [round(settled[0], 1), round(max(settled), 1), round(settled[-1], 1)],
        "broken": broken[:5],
        "holds": not broken and max(settled) < settled[0] + 20 and good(port),
    }


def garbage(port: int, count: int) -> dict[str, Any]:
    """Photos of every kind with bytes changed, cut, or put in between; and nothing but noise."""
    chance = random.Random(0)  # noqa: S311 - to be the same each time
    picture = Image.open(PHOTO).resize((64, 48))
    files = []
    for kind in KINDS:
        encoded = io.BytesIO()
        picture.save(encoded, format=kind)
        files.append(encoded.getvalue())
    statuses = Counter(ask(port, "/v1/depth", spoilt(chance, files))[0] for _ in range(count))
    return {"statuses": dict(statuses), "holds": set(statuses) <= {200, 422} and good(port)}


def spoilt(chance: random.Random, files: list[bytes]) -> bytes:
    data = bytearray(chance.choice(files))
    way = chance.randrange(4)
    if way == 0:
        return chance.randbytes(chance.randrange(2000))
    if way == 1:
        return bytes(data[: chance.randrange(len(data))])
    for _ in range(chance.randrange(1, 30)):
        place = chance.randrange(min(len(data), chance.choice((64, len(data)))))
        if way == 2:
            data[place] = chance.randrange(256)
        else:
            data[place:place] = chance.randbytes(chance.randrange(1, 9))
    return bytes(data)


def slow(port: int, seconds: float) -> dict[str, Any]:
    """Two hundred heads and a hundred bodies that come byte by byte."""
    head = b"POST /v1/depth HTTP/1.1\r\nHost: localhost\r\n"
    starts = [head + b"X: "] * 200 + [head + b"Content-Length: 100000\r\n\r\n"] * 100
    end, served_meanwhile = time.monotonic() + seconds, []
    with contextlib.ExitStack() as stack:
        clients = []
        for start in starts:
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            one.sendall(start)
            clients.append(one)
        while time.monotonic() < end:
            served_meanwhile.append(good(port))
            for one in clients:
                with contextlib.suppress(OSError):
                    one.send(b"x")
            time.sleep(1)
        heads_left = sum(map(is_open, clients[:200]))
    holds = all(served_meanwhile) and heads_left == 0 and good(port)
    return {"served_meanwhile": len(served_meanwhile), "heads_left": heads_left, "holds": holds}


def is_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def large(port: int, size: int) -> dict[str, Any]:
    """A body of ``size`` bytes that says so, and one that doesn't."""
    before = resident_mb(port)
    piece = bytes(1 << 20)

    def pieces() -> Iterator[bytes]:
        for _ in range(size >> 20):
            yield piece

    statuses = [
        refused(lambda: ask(port, "/v1/depth", pieces(), **{"Content-Length": str(size)})[0]),
        refused(lambda: ask(port, "/v1/depth", pieces(), **{"Transfer-Encoding": "chunked"})[0]),
    ]
    grown = resident_mb(port) - before
    holds = all(status in (413, 0) for status in statuses) and grown < 100 and good(port)
    return {"statuses": statuses, "grown_mb": round(grown, 1), "holds": holds}


def refused(work: Callable[[], int]) -> int:
    """Its status; 0 where the connection was closed meanwhile."""
    try:
        return work()
    except (ConnectionError, http.client.HTTPException):
        return 0


def strays(port: int) -> dict[str, Any]:
    """Paths and names that lead elsewhere, and what is no HTTP."""
    statuses = Counter(
        ask(port, path)[0]
        for path in ("/../etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/api.py", "/%00")
    )
    statuses += Counter(
        ask(port, "/v1/info", Host=host)[0] for host in ("evil.example", "10.0.0.1", "a.localhost")
    )
    for noise in (b"\x16\x03\x01" + bytes(200), b"GET\r\n\r\n", np.arange(999).tobytes()):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as one:
            one.sendall(noise)
            statuses[int(one.recv(100)[9:12])] += 1
    return {"statuses": dict(statuses), "holds": set(statuses) == {400, 404, 421} and good(port)}


if __name__ == "__main__":
    main()
