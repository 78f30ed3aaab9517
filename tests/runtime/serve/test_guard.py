"""Who is let in: names, origins, tokens; paths; and connections that only wait."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apdepth_deploy.errors import UsageError
from apdepth_deploy.runtime.gate.server import rules_of

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., Any], bundles: list[Path]) -> Iterator[Any]:
    """One for other machines, too."""
    options = ("--host", "0.0.0.0", "--name", "Depth.example")
    with serve(bundles[0], options=options, APDEPTH_TOKEN=TOKEN) as server:
        yield server


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:1"])
def test_a_loopback_server_goes_by_its_names(server: Any, host: str) -> None:
    assert server.ask("/", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost:x", "localhost@evil", "a b"],
)
def test_a_rebound_name_is_refused(server: Any, host: str) -> None:
    for path in ("/", "/v1/info", "/metrics", "/healthz"):
        answer = server.ask(path, headers={"Host": host})
        assert answer.status == 421 and "name" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 422),
        ("https://localhost:8000", 422),
        ("http://localhost", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("file://localhost:8000", 403),
        ("http://[", 403),
    ],
)
def test_another_sites_page_may_not_ask(server: Any, origin: str, status: int) -> None:
    headers = {"Host": "localhost:8000", "Origin": origin}
    assert server.ask("/v1/depth", b"hello", headers).status == status


def test_other_machines_need_the_token(guarded: Any) -> None:
    assert re.fullmatch(rf"http://[0-9a-z.:-]+/#token={TOKEN}", guarded.link)
    for headers in (
        {},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer é".encode("latin-1").decode("latin-1")},
        {"Cookie": TOKEN},
    ):
        for path in ("/v1/info", "/v1/info/", "/metrics", "/openapi.json", "/v1/depth"):
            assert guarded.ask(path, headers=headers).status == 401, (path, headers)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("/v1/info", headers=bearer).status == 200
    assert guarded.ask("/v1/info", headers=bearer | {"Host": "10.9.8.7:80"}).status == 200
    assert guarded.ask("/v1/info", headers=bearer | {"Host": "depth.example"}).status == 200
    assert guarded.ask("/v1/info", headers=bearer | {"Host": "evil.example"}).status == 421
    assert guarded.ask("/").status == guarded.ask("/healthz").status == 200  # nothing is in them


def test_a_token_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APDEPTH_TOKEN", "secret")
    with pytest.raises(UsageError, match="APDEPTH_TOKEN must have 16 or more letters"):
        rules_of("0.0.0.0", [])
    monkeypatch.delenv("APDEPTH_TOKEN")
    drawn = {rules_of("0.0.0.0", []).token for _ in range(2)}
    assert len(drawn) == 2 and all(len(token or "") == 32 for token in drawn)
    assert rules_of("127.0.0.2", []).token is None


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/main.js/../../served.py",
        "/served.py",
        "/__init__.py",
        "/main.js%00",
        "/docs",
        "/v1/depth/../../etc/passwd",
        "http://localhost/etc/passwd",
    ],
)
def test_no_path_leads_elsewhere(server: Any, path: str) -> None:
    answer = server.ask(path)
    assert answer.status == 404 and b"root:" not in answer.body


def test_every_answer_tells_browsers_what_is_allowed(server: Any) -> None:
    for answer in (
        server.ask("/"),
        server.ask("/main.js"),
        server.ask("/v1/info"),
        server.ask("/nothing"),
        server.ask("/v1/depth", b"x"),
        server.ask("/", headers={"Host": "evil"}),
    ):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';") and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


def test_who_only_waits_is_left(
    serve: Callable[..., Any], bundles: list[Path], encoded: Callable[..., bytes]
) -> None:
    """Heads and bodies that never end, and answers that nobody takes."""
    changes = """
from apdepth_deploy.runtime.gate import bodies, server
server.PATIENCE = 0.5
bodies.BODY_SECONDS = bodies.PIECE_SECONDS = 1.0
"""
    data = encoded(np.zeros((2000, 2000, 3), np.uint8))
    whole = b"POST /v1/depth HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-npy\r\n"
    parts = {
        "head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        "body": whole + b"Content-Length: 1000\r\n\r\nx",
        "answer": whole + f"Content-Length: {len(data)}\r\n\r\n".encode() + data,
    }
    with serve(bundles[0], changes=changes) as server, contextlib.ExitStack() as stack:
        slow = {
            part: [_connect(stack, server.port, sent) for _ in range(20 if part == "head" else 3)]
            for part, sent in parts.items()
        }
        start = time.monotonic()
        while time.monotonic() < start + 3.5:
            assert server.ask("/v1/depth", encoded(np.zeros((64, 96, 3), np.uint8))).status == 200
            for one in slow["head"]:
                with contextlib.suppress(OSError):
                    one.send(b"x")
        assert not any(map(_is_open, slow["head"]))
        assert all(b"HTTP/1.1 408 " in _rest(one) for one in slow["body"])
        assert all(len(_rest(one)) < 16_000_000 for one in slow["answer"])


def _connect(stack: contextlib.ExitStack, port: int, sent: bytes) -> socket.socket:
    one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
    one.sendall(sent)
    return one


def _is_open(one: socket.socket) -> bool:
    one.settimeout(0.05)
    try:
        return bool(one.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False


def _rest(one: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := one.recv(1 << 20):
            got += piece
    return got
