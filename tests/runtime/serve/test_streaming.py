"""The WebSocket: newest frame only, steady, and to nobody who may not."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from apdepth_deploy import Stabilizer


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Twelve of one still scene with noise of its own in each, uint8 [64,96,3]."""
    rng = np.random.default_rng(0)
    scene = rng.integers(40, 200, (8, 12, 3)).repeat(8, axis=0).repeat(8, axis=1)
    return [(scene + rng.integers(-6, 7, scene.shape)).astype(np.uint8) for _ in range(12)]


def open_stream(server: Any, query: str = "", **options: Any) -> ClientConnection:
    address = f"ws://127.0.0.1:{server.port}/v1/stream{query}"
    return connect(address, proxy=None, max_size=None, **options)


def depth_of(stream: ClientConnection) -> tuple[int, np.ndarray]:
    """The next frame's number and its depth."""
    told = json.loads(stream.recv(timeout=20))
    data = stream.recv(timeout=20)
    assert told["ms"] > 0 and isinstance(data, bytes)
    return told["frame"], np.load(io.BytesIO(data))


def test_depth_is_steadied_frame_by_frame(
    server: Any, frames: list[np.ndarray], encoded: Callable[..., bytes]
) -> None:
    steady = Stabilizer()
    with open_stream(server) as stream:
        for number, frame in enumerate(frames[:5]):
            stream.send(encoded(frame))
            expected = steady(frame, (frame.mean(axis=2) / 255).astype(np.float32))
            at, depth = depth_of(stream)
            assert at == number and depth.dtype == np.float32
            np.testing.assert_allclose(depth, expected, atol=1e-5)
        assert np.abs(depth - frame.mean(axis=2) / 255).max() > 1e-3


def test_only_the_newest_frame_is_looked_at(
    server: Any, frames: list[np.ndarray], encoded: Callable[..., bytes]
) -> None:
    large = encoded(np.zeros((3000, 3000, 3), np.uint8))  # it takes longer than they do to come
    dropped = server.metric("apdepth_dropped_frames_total")
    with open_stream(server) as stream:
        stream.send(large)
        while not server.metric('apdepth_queue{bundle="mean_bundle"}'):
            pass
        for frame in frames:
            stream.send(encoded(frame))
        seen = [depth_of(stream)]
        while seen[-1][0] < len(frames):
            seen.append(depth_of(stream))
    assert seen[0][1].shape == (3000, 3000) and len(seen) < len(frames)
    assert server.metric("apdepth_dropped_frames_total") - dropped == len(frames) + 1 - len(seen)


def test_a_bad_frame_is_said_and_the_stream_goes_on(
    server: Any, frames: list[np.ndarray], encoded: Callable[..., bytes]
) -> None:
    with open_stream(server, "?bundle=mean_bundle-2") as stream:
        stream.send(b"hello")
        told = json.loads(stream.recv(timeout=20))
        assert told == {"frame": 0, "error": "not a picture that can be read"}
        stream.send("text is no frame")
        stream.send(encoded(frames[0]))
        number, depth = depth_of(stream)
        assert number == 1
        np.testing.assert_allclose(depth, frames[0].mean(axis=2) / 510, atol=1e-6)


def test_a_frame_of_megabytes_ends_the_stream(server: Any) -> None:
    with open_stream(server) as stream, pytest.raises(ConnectionClosed):
        stream.send(bytes(5 << 20))
        stream.recv(timeout=20)
    assert server.metric("apdepth_streams") == 0


def test_streams_are_few_and_an_unknown_bundle_has_none(server: Any) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(open_stream(server))
        for query, code in (("", 1013), ("?bundle=none", 1008)):
            with open_stream(server, query) as more, pytest.raises(ConnectionClosed) as closed:
                more.recv(timeout=20)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == code


def test_other_sites_and_names_get_no_stream(server: Any) -> None:
    for options in ({"origin": "http://evil.example"}, {"additional_headers": {"Host": "evil"}}):
        with pytest.raises((InvalidStatus, ValueError)) as refused, open_stream(server, **options):
            pass
        assert isinstance(refused.value, InvalidStatus)
        assert refused.value.response.status_code in (400, 403)
    with open_stream(server, origin=f"http://127.0.0.1:{server.port}"):
        pass


def test_a_browser_gives_the_token_as_a_subprotocol(
    serve: Callable[..., Any], bundles: list[Path]
) -> None:
    token = "a-token-of-the-tests"
    with serve(bundles[0], options=("--host", "0.0.0.0"), APDEPTH_TOKEN=token) as server:
        for words in (None, ["apdepth.v1"], ["apdepth.v1", "bearer.another-token-here"]):
            with pytest.raises(InvalidStatus), open_stream(server, subprotocols=words):
                pass
        with open_stream(server, subprotocols=["apdepth.v1", f"bearer.{token}"]) as stream:
            assert stream.subprotocol == "apdepth.v1"
