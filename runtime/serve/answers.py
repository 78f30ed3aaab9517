"""Depth in the form that a client accepts (RFC 9110, 12.5.1)."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from apdepth_deploy.pictures.depth import colorize, encode_npy, encode_png, to_uint16
from apdepth_deploy.pictures.image import DepthArray

from ..gate.problems import RefusedError


def _jpeg(depth: DepthArray) -> memoryview:
    encoded = io.BytesIO()
    Image.fromarray(colorize(depth)).save(encoded, format="JPEG", quality=92)
    return encoded.getbuffer()


#: Kind -> float32 [H,W] -> a file of it. The first is what a client gets that doesn't care.
FORMS: dict[str, Callable[[DepthArray], memoryview]] = {
    "image/png": lambda depth: encode_png(to_uint16(depth)),
    "application/x-npy": encode_npy,
    "image/jpeg": _jpeg,
}


def form_for(accept: str) -> str:
    """The best of ``FORMS`` for an Accept header's value; RefusedError where there is none."""
    ranges = [_range(part) for part in (accept or "*/*").split(",")]
    best, weight = "", 0.0
    for form in FORMS:
        fitting = [one for one in ranges if one[0] in (form, form.split("/")[0] + "/*", "*/*")]
        # The most specific range counts: those with an asterisk match more.
        quality = min(fitting, key=lambda one: one[0].count("*"))[1] if fitting else 0.0
        if quality > weight:
            best, weight = form, quality
    if not best:
        raise RefusedError(406, f"Accept must name one of {', '.join(FORMS)}.")
    return best


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (word.strip().lower() for word in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return kind, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return kind, 0.0
    return kind, 1.0
