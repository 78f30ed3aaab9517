"""Depth out: what is written is what was given, read back by other means."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.errors import OutputError
from apdepth_deploy.pictures.depth import ENDINGS, colorize, is_result, to_uint16, write_depth


@pytest.fixture
def depth() -> NDArray[np.float32]:
    values = np.random.default_rng(0).random((19, 31), dtype=np.float32)
    values[0, :2] = 0.0, 1.0
    return values


def read_png16(path: Path) -> NDArray[np.uint16]:
    """A grey 16-bit PNG by its specification, without Pillow (which writes it)."""
    data, position, packed = path.read_bytes(), 8, b""
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    assert (bits, colour) == (16, 0)
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        packed += data[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        position += 12 + length
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + 2 * width)
    rows = [np.zeros(2 * width, np.uint8)]
    for kind, line in zip(lines[:, 0], lines[:, 1:], strict=True):
        rows.append(unfilter(int(kind), line, rows[-1]))
    pixels: NDArray[np.uint16] = np.stack(rows[1:]).view(">u2").astype(np.uint16)
    return pixels


def unfilter(kind: int, line: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PNG specification, section 9.2, for 2 bytes per pixel."""
    done = line.astype(int)
    for i in range(len(done)):
        a, b = (done[i - 2] if i > 1 else 0), int(above[i])
        c = int(above[i - 2]) if i > 1 else 0
        paeth = min((a, b, c), key=lambda n: abs(n - (a + b - c)))
        done[i] = (done[i] + (0, a, b, (a + b) // 2, paeth)[kind]) % 256
    return done.astype(np.uint8)


def test_three_files_hold_the_same_depth(tmp_path: Path, depth: NDArray[np.float32]) -> None:
    paths = write_depth(depth, tmp_path, "a.b")
    assert [path.name for path in paths] == [f"a.b{ending}" for ending in ENDINGS]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    expected = np.floor(depth.astype(np.float64) * 65535 + 0.5)
    np.testing.assert_array_equal(read_png16(paths[0]), expected)
    stored = np.load(paths[1])
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, depth)
    with Image.open(paths[2]) as colour:
        assert (colour.mode, colour.size) == ("RGB", (31, 19))


def test_the_ends_of_the_range_are_0_and_65535() -> None:
    values = np.array([[-0.1, 0.0, 0.5, 1.0, 1.1]], np.float32)
    np.testing.assert_array_equal(to_uint16(values), [[0, 0, 32768, 65535, 65535]])


def test_near_is_bright_far_is_dark_and_a_flat_picture_has_one_colour() -> None:
    ramp = np.linspace(0.2, 0.4, 50, dtype=np.float32)[None]
    light = colorize(ramp).astype(int).sum(axis=-1)[0]
    assert np.all(np.diff(light) < 0)
    np.testing.assert_array_equal(colorize(ramp)[0, [0, -1]], [[255, 244, 200], [28, 16, 68]])
    assert len(np.unique(colorize(np.full((4, 4), 0.5, np.float32)).reshape(-1, 3), axis=0)) == 1


def test_a_colour_lies_between_its_neighbours_as_it_should() -> None:
    stops = np.array([[255, 244, 200], [253, 196, 106], [240, 136, 78], [203, 79, 97]])
    ramp = np.linspace(0, 0.5, 3001)  # half of the way: the first four of seven stops
    expected = [np.interp(ramp * 6, np.arange(4), channel) for channel in stops.T]
    values = np.append(ramp, 1.0).astype(np.float32)[None]
    assert np.abs(colorize(values)[0, :-1] - np.stack(expected, axis=-1)).max() <= 1


def test_a_tall_picture_is_as_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 7), dtype=np.float32)
    whole = colorize(values), to_uint16(values)
    monkeypatch.setattr("apdepth_deploy.pictures.image._STRIP", 20)
    np.testing.assert_array_equal(colorize(values), whole[0])
    np.testing.assert_array_equal(to_uint16(values), whole[1])


def test_our_pictures_are_known_as_ours_and_no_others(
    tmp_path: Path, depth: NDArray[np.float32]
) -> None:
    paths = write_depth(depth, tmp_path, "a")
    for path in (paths[0], paths[2]):
        assert is_result(path)
        with Image.open(path) as image:
            assert image.info["Software"] == "apdepth-deploy"
        image = Image.open(path)
        image.info.clear()
        image.save(tmp_path / f"other{path.name}")
        assert not is_result(tmp_path / f"other{path.name}")
    paths[0].rename(tmp_path / "a.png")
    assert not is_result(tmp_path / "a.png") and not is_result(tmp_path / "no_depth.png")


def test_a_place_that_cant_be_written_is_named_and_left_alone(
    tmp_path: Path, depth: NDArray[np.float32]
) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", Path("/proc/x")):
        with pytest.raises(OutputError, match=f"can't write {folder}/a_depth.png"):
            write_depth(depth, folder, "a")
    assert (tmp_path / "file").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
