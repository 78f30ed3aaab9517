"""Whatever the format: what can't be read is called by its name, and of several one is read."""

from __future__ import annotations

import io
import re
import runpy
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.image import decode_picture, read_picture

MADE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("picture_files.py"))))
read, refusal = MADE.read, MADE.refusal
HEIGHT, chunk, encoded, bmp = MADE.HEIGHT, MADE.chunk, MADE.encoded, MADE.bmp


#: A JPEG whose frame header says 12 bits a sample.
TWELVE_BITS = re.sub(
    rb"(\xff\xc0..)\x08", b"\\1\x0c", encoded(np.zeros((20, 20), np.uint8), "JPEG"), flags=re.DOTALL
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            bmp([b"\0" * 6] * HEIGHT, 2),
            r"of a kind that can't be read: Unsupported BMP pixel depth",
        ),
        (bmp([b"\0" * 46] * 17, 16, None, 3, (0xF00, 0xF0, 0xF)), "Unsupported BMP bitfields"),
        (bmp([b"\0" * 69] * HEIGHT, 24, None, 4), r"Unsupported BMP compression \(4\)"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC can't be read: save it as JPEG or PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL can't be read: save it as"),
        (b"P7\nWIDTH 20\nHEIGHT 20\n", "PAM can't be read"),
        (b"Pf\n20 20\n-1.0\n" + b"\0" * 1600, "float values have no fixed range"),
        (TWELVE_BITS, "cannot handle 12-bit layers"),
    ],
)
def test_unsupported_is_not_called_damaged(tmp_path: Path, data: bytes, reason: str) -> None:
    said = refusal(tmp_path, data)
    assert re.search(reason, said) and "damaged" not in said


def test_200_megapixels_are_a_phones_photo_and_too_many_have_a_way_out(tmp_path: Path) -> None:
    def sized(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")

    assert refusal(tmp_path, sized(16320, 12240)).startswith("damaged or truncated")
    said = refusal(tmp_path, sized(40000, 20000))
    assert (
        said == "too many pixels: 40000x20000, and the limit is 536 million: make it smaller first"
    )


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_read_and_known_as_such(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (20, 16), colour) for colour in ("red", "blue")]
    for count in (1, 2):
        file, further = io.BytesIO(), frames[1:count]
        options = {"lossless": True} if form == "WEBP" else {}
        frames[0].save(file, form, save_all=count > 1, append_images=further, **options)
        (tmp_path / "picture").write_bytes(file.getvalue())
        found = read_picture(tmp_path / "picture")
        assert found.several is (count > 1)
        assert (found.image == (255, 0, 0)).all()


def test_scans_without_end_are_refused_before_they_are_decoded() -> None:
    """Each costs a pass over the picture: a megabyte of them would take an hour."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 100).save(file, format="JPEG", progressive=True)
    data = file.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert decode_picture(data[:-2] + 100 * scan + data[-2:]).image.shape == (64, 64, 3)
    with pytest.raises(ImageError, match="a JPEG of more than 500 scans can't be read"):
        decode_picture(data[:-2] + 500 * scan + data[-2:])
