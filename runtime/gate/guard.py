"""Who may ask, and what every answer says: hosts, origins, the token, and headers for browsers.

Only this machine's programs reach a loopback address, but any web page that it has open is one of
them: such a page asks by its own name (after rebinding that to 127.0.0.1), or with its own Origin.
"""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import re
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from .problems import RefusedError, problem

#: The subprotocol of the stream, and what stands before a token among the subprotocols: browsers
#: can't give a WebSocket other headers.
SUBPROTOCOL, BEARER = "apdepth.v1", "bearer."
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
_FOR_BROWSERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclasses.dataclass(frozen=True)
class Rules:
    """Which requests are let in.

    Attributes:
        names: that the server may be asked for by, in lower case.
        any_address: whether also by any numeric address: nobody can rebind one.
        token: what all but the page's files and /healthz needs; None: nothing does.
    """

    names: frozenset[str]
    any_address: bool = False
    token: str | None = None

    def check(self, headers: Headers, path: str) -> None:
        """Raises RefusedError."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise RefusedError(421, "This server is not asked for by that name: see --name.")
        origin = headers.get("origin")
        if origin is not None and not _is_origin_of(host, origin):
            raise RefusedError(403, "Another site's page may not ask this server.")
        if self.token is not None and _needs_token(path):
            words = subprotocols(headers)
            given = [word[len(BEARER) :] for word in words if word.startswith(BEARER)]
            scheme, _, credentials = headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer":
                given.append(credentials.strip())
            if not any(hmac.compare_digest(one.encode(), self.token.encode()) for one in given):
                raise RefusedError(
                    401,
                    "This needs the token: open the link that serve printed, or send "
                    "'Authorization: Bearer TOKEN'.",
                    {"www-authenticate": "Bearer"},
                )

    def _is_ours(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        name = found["name"].lower().rstrip(".") if found else ""
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self.any_address


def subprotocols(headers: Headers) -> list[str]:
    """Those that a WebSocket's client offers."""
    return [
        word.strip()
        for line in headers.getlist("sec-websocket-protocol")
        for word in line.split(",")
    ]


def _needs_token(path: str) -> bool:
    return path.startswith("/v1/") or path in ("/metrics", "/openapi.json")


def _is_origin_of(host: str, origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


class Guard:
    """ASGI around an application: ``Rules`` before it, headers for browsers behind it."""

    def __init__(self, app: Any, rules: Rules, count: Callable[[int], None]) -> None:
        """``count``: is told the status of every refusal, 4xx and 5xx."""
        self._app, self._rules, self._count = app, rules, count

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_FOR_BROWSERS)
                headers.setdefault("cache-control", "no-store")
                if message["status"] >= 400:
                    self._count(message["status"])
            await send(message)

        try:
            self._rules.check(Headers(scope=scope), scope["path"])
        except RefusedError as refused:
            if scope["type"] == "websocket":
                self._count(403)
                await send({"type": "websocket.close", "code": 1008})  # before it opens: 403
            else:
                await problem(refused)(scope, receive, answer)
            return
        await self._app(scope, receive, answer)
