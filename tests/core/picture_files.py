"""Picture files made bit by bit, for the tests beside it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import read_image

HEIGHT, WIDTH = 17, 23
Array = NDArray[Any]


def read(tmp_path: Path, data: bytes) -> NDArray[np.uint8]:
    (tmp_path / "picture").write_bytes(data)
    return read_image(tmp_path / "picture")


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read(tmp_path, data)
    return str(caught.value).removeprefix(f"{tmp_path}/picture: ")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: list[bytes], bits: int, colour: int, *before: bytes, width: int = WIDTH) -> bytes:
    """Unfiltered rows; ``before``: chunks between the header and the pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def packed(values: Array, bits: int) -> list[bytes]:
    """[H,W,S] -> rows of bytes, the upper bits first."""
    single = values.astype(np.int64)[..., None] >> np.arange(bits)[::-1] & 1
    rows = np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1)
    return [row.tobytes() for row in rows]


def exif(orientation: int, *further: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block; ``further``: (tag, type, count, value) after the orientation."""
    entries = [(0x0112, 3, 1, struct.pack("<HH", orientation, 0)), *further]
    packed_ = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed_ + b"\0" * 4


def encoded(image: Array, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=form, **options)
    return file.getvalue()


def bmp(
    rows: list[bytes],
    bits: int,
    palette: Array | None = None,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    upside_down: bool = False,
) -> bytes:
    lines = [row + b"\0" * (-len(row) % 4) for row in rows]
    body = b"".join(lines if upside_down else lines[::-1])
    colours = [] if palette is None else [bytes([*map(int, c[::-1]), 0]) for c in palette]
    table = b"".join(colours) + struct.pack(f"<{len(masks)}I", *masks)
    height = -len(rows) if upside_down else len(rows)
    sizes = (40, WIDTH, height, 1, bits, compression, len(body), 0, 0, len(colours), 0)
    start = 54 + len(table)
    head = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    return head + struct.pack("<IiiHHIIiiII", *sizes) + table + body
