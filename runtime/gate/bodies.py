"""Bodies in and out, of bounded size and time, and no more of them at once than memory is for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from .problems import RefusedError, busy

#: Of one body; and of all that are here together, with the answers that wait to be taken.
BODY_BYTES, ALL_BYTES = 32 << 20, 512 << 20
#: Seconds for a body to come, and for a piece of an answer to be taken.
BODY_SECONDS, PIECE_SECONDS = 30.0, 20.0
_PIECE = 1 << 18


class Held:
    """Bytes of one request and its answer, counted among all that are held."""

    _all = 0

    def __init__(self) -> None:
        self._own = 0

    def hold(self, size: int) -> None:
        """So many more."""
        self._own += size
        Held._all += size

    def hold_if_room(self, size: int) -> None:
        """RefusedError where that would be too many."""
        if Held._all + size > ALL_BYTES:
            raise busy("Too much is being sent at the moment: try again.")
        self.hold(size)

    def release(self) -> None:
        """All of them."""
        Held._all -= self._own
        self._own = 0


async def read_body(request: Request, held: Held) -> bytearray:
    """All of it. RefusedError where it is too large, or takes too long."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > BODY_BYTES:
        raise _too_large()
    try:
        return await asyncio.wait_for(_read(request, held), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise RefusedError(
            408, f"The body must come within {BODY_SECONDS:.0f} seconds.", {"connection": "close"}
        ) from None
    except ClientDisconnect:
        raise RefusedError(400, "The body was cut short.") from None


async def _read(request: Request, held: Held) -> bytearray:
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > BODY_BYTES:
            raise _too_large()
        held.hold_if_room(len(chunk))
        body += chunk
    return body


def _too_large() -> RefusedError:
    return RefusedError(413, f"A picture may have {BODY_BYTES >> 20} MB: make it smaller first.")


class InPieces(Response):
    """An answer that is sent no faster than it is taken, and given up where it isn't."""

    def __init__(
        self,
        content: memoryview,
        kind: str,
        headers: Mapping[str, str],
        done: Callable[[], None],
    ) -> None:
        """``done``: is called when it is sent, or is not going to be."""
        super().__init__(None, 200, {**headers, "content-length": str(len(content))}, kind)
        self._content, self._done = content, done

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            for at in range(0, len(self._content), _PIECE):
                piece = {
                    "type": "http.response.body",
                    "body": bytes(self._content[at : at + _PIECE]),
                    "more_body": at + _PIECE < len(self._content),
                }
                await asyncio.wait_for(send(piece), PIECE_SECONDS)
        except asyncio.TimeoutError:
            pass  # uvicorn closes the connection of an answer that isn't whole
        finally:
            self._done()
