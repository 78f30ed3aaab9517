"""Texts that people write: lists, tables, configurations."""

from __future__ import annotations

import io
from pathlib import Path

from apdepth_deploy.errors import DataError

_BYTE_ORDER_MARK = "\ufeff"


def read_text(path: Path) -> str:
    """A UTF-8 text, without the byte order marks that editors leave; lines end in ``\\n``.

    Raises DataError where it can't be read or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise DataError(f"{path}: is UTF-16 or no text at all: save it as UTF-8")
    try:
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 ({error}): save it as UTF-8") from error
    return text.replace(_BYTE_ORDER_MARK, "")
