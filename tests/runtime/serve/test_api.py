"""Pictures to depth over HTTP: forms, choices, limits, and a clean end."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.pictures.depth import colorize
from apdepth_deploy.runtime.gate.problems import RefusedError
from apdepth_deploy.runtime.serve.answers import FORMS, form_for

NPY = {"Accept": "application/x-npy"}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """uint8 [64,96,3], the bundles' own size."""
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def test_depth_comes_in_the_form_that_is_accepted(
    server: Any, picture: np.ndarray, encoded: Callable[..., bytes]
) -> None:
    expected = picture.mean(axis=2, dtype=np.float64) / 255
    data = encoded(picture)
    npy = server.ask("/v1/depth", data, NPY)
    assert npy.status == 200 and npy.headers["content-type"] == "application/x-npy"
    assert npy.npy().dtype == np.float32
    np.testing.assert_allclose(npy.npy(), expected, atol=1e-6)
    png = server.ask("/v1/depth", data)
    assert png.headers["content-type"] == "image/png"
    depth = np.asarray(Image.open(io.BytesIO(png.body)))
    np.testing.assert_allclose(depth, np.rint(expected * 65535), atol=1)
    jpeg = server.ask("/v1/depth", data, {"Accept": "image/jpeg"})
    colours = np.asarray(Image.open(io.BytesIO(jpeg.body)))
    smooth = np.abs(colours.astype(int) - colorize(expected.astype(np.float32)))
    assert jpeg.headers["content-type"] == "image/jpeg" and colours.shape == (64, 96, 3)
    assert smooth.mean() < 30  # of noise, a JPEG


def test_depth_has_the_upright_pictures_size(server: Any) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100), (255, 0, 0)).save(file, format="JPEG", exif=exif)
    assert server.ask("/v1/depth", file.getvalue(), NPY).npy().shape == (200, 100)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/x-npy"),
        ("image/png;q=0.1, image/jpeg", "image/jpeg"),
        ("image/png;q=0, image/*", "image/jpeg"),
        ("text/html, */*;q=0.1", "image/png"),
        ("IMAGE/JPEG", "image/jpeg"),
    ],
)
def test_the_best_form_is_chosen(accept: str, form: str) -> None:
    assert form_for(accept) == form


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", "image/png;q=x", ",;"])
def test_another_form_is_not_acceptable(accept: str) -> None:
    with pytest.raises(RefusedError, match="Accept must name one of image/png") as refused:
        form_for(accept)
    assert refused.value.status == 406


def test_refusals_are_problems_of_a_sentence(server: Any, encoded: Callable[..., bytes]) -> None:
    small = encoded(np.zeros((8, 8, 3), np.uint8))
    cut = encoded(np.zeros((64, 96, 3), np.uint8), "JPEG")[:-40]
    for status, word, answer in (
        (406, "Accept", server.ask("/v1/depth", b"x", {"Accept": "text/html"})),
        (422, "not a picture", server.ask("/v1/depth", b"hello")),
        (422, "not a picture", server.ask("/v1/depth", b"")),
        (422, "too small", server.ask("/v1/depth", small)),
        (422, "truncated", server.ask("/v1/depth", cut)),
        (404, "bundle", server.ask("/v1/depth?bundle=none", b"x")),
        (405, "method", server.ask("/v1/depth")),
        (404, "nothing", server.ask("/v2")),
    ):
        assert answer.status == status and word in answer.json()["detail"], answer
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status and "\n" not in answer.json()["detail"]


def test_bundles_are_chosen_by_name(
    server: Any, picture: np.ndarray, encoded: Callable[..., bytes]
) -> None:
    info = server.ask("/v1/info").json()
    assert [one["name"] for one in info["bundles"]] == ["mean_bundle", "mean_bundle-2"]
    first = info["bundles"][0]
    assert (first["backend"], first["precision"]) == ("onnxruntime", "fp32")
    assert (first["frame"], first["near"], first["far"]) == ({"height": 64, "width": 96}, 0, 1)
    data = encoded(picture)
    one, two = (
        server.ask(f"/v1/depth{query}", data, NPY).npy() for query in ("", "?bundle=mean_bundle-2")
    )
    np.testing.assert_allclose(one, 2 * two, atol=1e-6)


def test_a_bundle_is_served_on_each_backend_that_is_named(
    serve: Callable[..., Any],
    bundles: list[Path],
    picture: np.ndarray,
    encoded: Callable[..., bytes],
) -> None:
    with serve(bundles[0], options=("--backend", "openvino")) as server:  # and onnxruntime
        found = {one["name"]: one["backend"] for one in server.ask("/v1/info").json()["bundles"]}
        assert found == {f"mean_bundle-{name}": name for name in ("onnxruntime", "openvino")}
        one, two = (
            server.ask(f"/v1/depth?bundle={name}", encoded(picture), NPY).npy() for name in found
        )
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_metrics_tell_latency_queue_and_refusals(
    server: Any, picture: np.ndarray, encoded: Callable[..., bytes]
) -> None:
    latency = 'apdepth_latency_seconds_count{bundle="mean_bundle",way="depth"}'
    server.ask("/v1/depth", encoded(picture))
    server.ask("/v1/depth", b"hello")
    before = server.metric(latency), server.metric('apdepth_refusals_total{status="422"}')
    server.ask("/v1/depth", encoded(picture))
    server.ask("/v1/depth", b"hello")
    after = server.metric(latency), server.metric('apdepth_refusals_total{status="422"}')
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]
    assert server.metric('apdepth_queue{bundle="mean_bundle"}') == 0
    assert server.metric("process_resident_memory_bytes") > 1e7


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_ends_at_32_megabytes(server: Any, chunked: bool) -> None:
    pieces = (bytes(1 << 20) for _ in range(40))
    headers = {} if chunked else {"Content-Length": str(40 << 20)}
    answer = server.ask("/v1/depth", pieces, headers, encode_chunked=chunked)
    assert (answer.status, answer.json()["detail"][:26]) == (413, "A picture may have 32 MB: ")
    assert server.ask("/healthz").json() == {"status": "ok"}


def test_pixels_are_counted_before_they_are_decoded(server: Any) -> None:
    file = io.BytesIO()
    Image.new("1", (5000, 4000)).save(file, format="PNG")
    answer = server.ask("/v1/depth", file.getvalue())
    assert answer.status == 422 and "limit is 16 million" in answer.json()["detail"]


def test_a_full_queue_refuses_and_says_when_to_come_again(
    server: Any, encoded: Callable[..., bytes]
) -> None:
    data = encoded(np.zeros((2000, 2000, 3), np.uint8))
    with ThreadPoolExecutor(24) as clients:
        answers = list(clients.map(lambda _: server.ask("/v1/depth", data), range(24)))
    refused = [answer for answer in answers if answer.status == 503]
    assert {answer.status for answer in answers} == {200, 503} and len(refused) <= 16
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert "try again" in refused[0].json()["detail"]
    assert server.ask("/v1/depth", data).status == 200


def test_openapi_names_the_forms_and_the_refusals(server: Any) -> None:
    post = server.ask("/openapi.json").json()["paths"]["/v1/depth"]["post"]
    assert list(post["responses"]["200"]["content"]) == list(FORMS)
    assert {"406", "413", "422", "503"} <= set(post["responses"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(
    serve: Callable[..., Any], bundles: list[Path], number: int
) -> None:
    with serve(bundles[0]) as server:
        assert server.ask("/healthz").status == 200
        assert server.stop(number) == 0
        assert server.process.stderr.read().splitlines()[-1] == "stopped"


def test_a_port_that_is_taken_is_said(
    server: Any, bundles: list[Path], run_script: Callable[..., Any]
) -> None:
    words = ["serve", str(bundles[0]), "--port", str(server.port)]
    script = f"import sys; from apdepth_deploy.cli import main; sys.exit(main({json.dumps(words)}))"
    done = run_script(script, check=False, cwd=bundles[0])
    assert done.returncode == 2
    assert f"can't listen at 127.0.0.1, port {server.port}: Address already in use" in done.stderr
