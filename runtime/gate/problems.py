"""Refusals: a status and a sentence, as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field


class Problem(BaseModel):
    """The body of every refusal."""

    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong and how to mend it, in a sentence.")


class RefusedError(Exception):
    """A request that gets an answer of this status, with this sentence."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def busy(detail: str) -> RefusedError:
    """To be tried again in a second."""
    return RefusedError(503, detail, {"retry-after": "1"})


def problem(refused: RefusedError) -> JSONResponse:
    """The answer."""
    content = Problem(
        title=HTTPStatus(refused.status).phrase, status=refused.status, detail=refused.detail
    )
    return JSONResponse(
        content.model_dump(), refused.status, refused.headers, "application/problem+json"
    )
