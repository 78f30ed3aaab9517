"""The application: its routes, and what OpenAPI says of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from apdepth_deploy.bundle import version
from apdepth_deploy.errors import ApDepthError, ImageError

from ..gate.bodies import BODY_BYTES, Held, InPieces, read_body
from ..gate.guard import Guard, Rules
from ..gate.problems import Problem, RefusedError, busy, problem
from ..page import KINDS, page_files
from .answers import FORMS, form_for
from .metrics import Metrics
from .served import MAX_PIXELS, QUEUE, BusyError, Served
from .streaming import stream

_VERSION = version("apdepth-deploy") or "unknown"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {status: {"description": "Refused.", "content": content} for status in statuses}


def make_app(served: Mapping[str, Served], rules: Rules) -> Any:
    """The ASGI application for these bundles, the first being the default."""
    metrics = Metrics(served)
    app = FastAPI(
        title="apdepth-deploy",
        version=_VERSION,
        summary="Depth from pictures.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_errors(app)
    _add_depth(app, served, metrics)
    _add_rest(app, served, metrics)
    _add_page(app)
    return Guard(app, rules, metrics.refused)


def _one_of(served: Mapping[str, Served], name: str | None) -> Served:
    """RefusedError where there is none of that name."""
    found = served.get(name) if name is not None else next(iter(served.values()))
    if found is None:
        raise RefusedError(404, "No bundle has that name: /v1/info lists them.")
    return found


def _add_errors(app: FastAPI) -> None:
    async def refuse(_: Any, error: Any) -> JSONResponse:
        if isinstance(error, RefusedError):
            return problem(error)
        if isinstance(error, HTTPException):
            detail = {404: "There is nothing here.", 405: "This takes another method."}
            said = detail.get(error.status_code, str(error.detail))
            return problem(RefusedError(error.status_code, said, error.headers))
        if isinstance(error, RequestValidationError):
            return problem(RefusedError(422, "A parameter is not as /openapi.json says."))
        if isinstance(error, ImageError):
            return problem(RefusedError(422, str(error)))
        return problem(RefusedError(500, str(error)))

    for kind in (RefusedError, HTTPException, RequestValidationError, ApDepthError):
        app.add_exception_handler(kind, refuse)


def _add_depth(app: FastAPI, served: Mapping[str, Served], metrics: Metrics) -> None:
    @app.post(
        "/v1/depth",
        summary="Relative depth of a picture, 0 near to 1 far, in the picture's size",
        response_class=Response,
        responses={
            200: {
                "description": "16-bit PNG (65535 = far), float32 NPY, or a picture in colours.",
                "content": dict.fromkeys(FORMS, _BINARY),
            },
            **_refusals(400, 401, 403, 404, 406, 408, 413, 421, 422, 500, 503),
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "description": "A picture file: JPEG, PNG, WebP, TIFF, BMP, PNM, GIF.",
                "content": {"application/octet-stream": _BINARY, "image/*": _BINARY},
            }
        },
    )
    async def depth(request: Request, bundle: str | None = None) -> Response:
        one = _one_of(served, bundle)
        form = form_for(",".join(request.headers.getlist("accept")))
        held = Held()
        try:
            data = await read_body(request, held)
            start = time.perf_counter()

            def work() -> tuple[memoryview, float]:
                result = one.depth_of(data)
                return FORMS[form](result.depth), result.seconds

            content, seconds = await one.do(work)
            metrics.latency.labels(one.name, "depth").observe(time.perf_counter() - start)
            held.hold(len(content))
            timing = {"server-timing": f"depth;dur={1000 * seconds:.1f}", "vary": "accept"}
            return InPieces(content, form, timing, held.release)
        except BusyError:
            held.release()
            raise busy("Too many pictures are waiting: try again.") from None
        except BaseException:
            held.release()
            raise

    @app.websocket("/v1/stream")
    async def streaming(socket: WebSocket, bundle: str | None = None) -> None:
        await stream(socket, served, bundle, metrics)


def _add_rest(app: FastAPI, served: Mapping[str, Served], metrics: Metrics) -> None:
    @app.get(
        "/v1/info",
        summary="The bundles, what their depth means, and the limits",
        responses=_refusals(401, 403, 421),
    )
    async def info() -> dict[str, Any]:
        return {
            "version": _VERSION,
            "bundles": [one.info() for one in served.values()],
            "limits": {"bytes": BODY_BYTES, "pixels": MAX_PIXELS, "queue": QUEUE},
        }

    @app.get("/healthz", summary="Whether it serves", responses=_refusals(403, 421))
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/metrics",
        summary="For Prometheus",
        response_class=Response,
        responses={
            200: {"description": "Metrics.", "content": {"text/plain": {}}},
            **_refusals(401, 403, 421),
        },
    )
    async def scraped() -> Response:
        return Response(metrics.text(), media_type=metrics.kind)


def _add_page(app: FastAPI) -> None:
    """Each file has its own route: no path leads anywhere else."""
    for name, content in page_files("server").items():
        kind = KINDS[PurePath(name).suffix]

        def send(_: Request, content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

        app.add_route("/" if name == "index.html" else f"/{name}", send, methods=["GET"])
