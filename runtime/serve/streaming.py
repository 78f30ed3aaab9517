"""``/v1/stream``: a camera's frames in, steady depth out, the newest frame only.

The client sends pictures (JPEG is best) as binary messages, as many as it likes. For those that
there was time for, it gets a text message, ``{"frame": 12, "ms": 83.1}`` (which of its pictures,
counted from 0, and how long that took), and a binary one, their depth as NPY, float32 [H,W]. A
picture that can't be read gives ``{"frame": 13, "error": "..."}`` alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from apdepth_deploy.errors import ApDepthError
from apdepth_deploy.pictures.depth import encode_npy

from ..gate.guard import SUBPROTOCOL, subprotocols
from ..metric.stabilizer import Stabilizer
from .metrics import Metrics
from .served import BusyError, Served

#: Streams at a time; seconds without a frame, or for depth to be taken, after which one ends.
STREAMS, PATIENCE = 8, 60.0
_BUSY_PAUSE = 0.05
_TRY_LATER, _POLICY = 1013, 1008


class _Frame(NamedTuple):
    number: int
    data: bytes
    came: float


class _Newest:
    """The last frame that came, until it is taken or another comes."""

    def __init__(self, metrics: Metrics) -> None:
        self._frame: _Frame | None = None
        self._there = asyncio.Event()
        self._metrics = metrics

    def put(self, frame: _Frame) -> None:
        """It takes the last one's place."""
        if self._frame is not None:
            self._metrics.dropped.inc()
        self._frame = frame
        self._there.set()

    def put_back(self, frame: _Frame) -> None:
        """What was taken, but there was no time for it."""
        if self._frame is None:
            self.put(frame)
        else:
            self._metrics.dropped.inc()

    async def take(self) -> _Frame:
        """The newest, once there is one."""
        await self._there.wait()
        self._there.clear()
        frame, self._frame = self._frame, None
        assert frame is not None
        return frame

    async def listen(self, socket: WebSocket) -> None:
        """Until the client leaves. WebSocketDisconnect."""
        number = 0
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            if message.get("bytes"):
                self.put(_Frame(number, message["bytes"], time.perf_counter()))
                number += 1


async def stream(
    socket: WebSocket, served: Mapping[str, Served], bundle: str | None, metrics: Metrics
) -> None:
    """One client's, until it leaves, or sends nothing for ``PATIENCE`` seconds."""
    offered = subprotocols(socket.headers)
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    one = served.get(bundle) if bundle is not None else next(iter(served.values()))
    if one is None:
        await socket.close(_POLICY, "No bundle has that name.")
        return
    if metrics.open_streams >= STREAMS:
        metrics.refused(503)
        await socket.close(_TRY_LATER, "Too many streams are open: try again later.")
        return
    metrics.open_streams += 1
    newest = _Newest(metrics)
    tasks = [
        asyncio.ensure_future(newest.listen(socket)),
        asyncio.ensure_future(_answer(socket, one, newest, metrics)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await done.pop()
    except WebSocketDisconnect:
        pass
    except asyncio.TimeoutError:
        await socket.close(_POLICY, "Nothing came or was taken for a minute.")
    finally:
        metrics.open_streams -= 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(socket: WebSocket, one: Served, newest: _Newest, metrics: Metrics) -> None:
    """Depth of the newest frame, and again. TimeoutError where none comes or depth isn't taken."""
    steady = Stabilizer()
    while True:
        frame = await asyncio.wait_for(newest.take(), PATIENCE)

        def work(data: bytes = frame.data) -> memoryview:
            found = one.depth_of(data)
            return encode_npy(steady(found.image, found.depth))

        told: dict[str, Any] = {"frame": frame.number}
        try:
            depth = await one.do(work)
        except BusyError:  # pictures go first: they wait in a queue
            await asyncio.sleep(_BUSY_PAUSE)
            newest.put_back(frame)
            continue
        except ApDepthError as error:
            await socket.send_json(told | {"error": str(error)})
            continue
        seconds = time.perf_counter() - frame.came
        metrics.latency.labels(one.name, "stream").observe(seconds)
        await socket.send_json(told | {"ms": round(1000 * seconds, 1)})
        await asyncio.wait_for(socket.send_bytes(bytes(depth)), PATIENCE)
