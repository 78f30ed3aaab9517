"""The process: its address, uvicorn, and connections that are given up."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import secrets
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from apdepth_deploy.console import say
from apdepth_deploy.errors import UsageError

from .guard import Rules

#: Seconds for a request's head, and for what is left of an answer; and connections at a time.
PATIENCE, CONNECTIONS = 10.0, 500
#: Of a stream, bytes in one message.
FRAME_BYTES = 4 << 20
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def rules_of(host: str, names: list[str]) -> Rules:
    """Which requests a server at ``host`` takes. UsageError for a token that can be guessed."""
    if host in ("localhost", "::1") or _is_loopback(host):
        return Rules(_LOOPBACK | {host.lower(), *map(str.lower, names)})
    token = os.environ.get("APDEPTH_TOKEN") or secrets.token_urlsafe(24)
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,}", token):
        raise UsageError("APDEPTH_TOKEN must have 16 or more letters, digits, - and _ alone")
    own = {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
    return Rules(_LOOPBACK | own | set(map(str.lower, names)), any_address=True, token=token)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, for a ``with``. UsageError where it can't."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        raise UsageError(
            f"can't listen at {host}, port {port}: {error.strerror or error}; choose another --port"
        ) from error


def run(app: Any, listening: socket.socket, rules: Rules) -> None:
    """Serve until SIGINT or SIGTERM: what is under way then has five seconds to end."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="websockets-sansio",
        ws_max_size=FRAME_BYTES,
        ws_max_queue=2,
        ws_per_message_deflate=False,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    link = f"http://{_shown(listening)}/" + (f"#token={rules.token}" if rules.token else "")
    print(f"serving on {link}", flush=True)
    if rules.token:
        say("the page and the API need the token in this link: give it to nobody else")
    try:
        server.run(sockets=[listening])
    except (KeyboardInterrupt, SystemExit):
        if not server.should_exit:
            raise


def _shown(listening: socket.socket) -> str:
    """Its address and port; for all addresses, that which other machines most likely reach."""
    address, port = listening.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
            try:
                route.connect(("192.0.2.1", 9))  # sends nothing
                address = route.getsockname()[0]
            except OSError:  # no network
                address = socket.gethostname()
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for a head, and for its last bytes to be taken, for ever.

    Here a connection goes that has no request under way, and had none ``PATIENCE`` seconds ago
    without a new one since.
    """

    _OPEN: Any = object()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._idle_since: Any = self.cycle
        self._look: asyncio.TimerHandle | None = None
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._look = self.loop.call_later(PATIENCE, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_no_more()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._look_no_more()  # a WebSocket is watched by pings
        super().handle_websocket_upgrade(event)

    def _look_no_more(self) -> None:
        if self._look is not None:
            self._look.cancel()

    def _give_up(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._idle_since:
            self.transport.abort()
            return
        self._idle_since = self.cycle if idle else self._OPEN
        self._look = self.loop.call_later(PATIENCE, self._give_up)
