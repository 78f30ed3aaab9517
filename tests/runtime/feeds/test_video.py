"""Videos of all sorts, made here: their frames, upright, in order, with their times and colours."""

from __future__ import annotations

import gc
import runpy
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.runtime.feeds.video import Frame, Video, open_video

av = pytest.importorskip("av")
CLIPS = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "clips.py")))


def frames_of(path: Path, every: int = 1) -> list[Frame]:
    with open_video(path) as video:
        return list(video.frames(every))


def what_is_there(path: Path) -> tuple[list[Frame], str]:
    """The frames of a damaged video, and what is said at their end."""
    found = []
    with open_video(path) as video, pytest.raises(ImageError) as caught:
        for frame in video.frames():
            found.append(frame)
    return found, str(caught.value)


@pytest.mark.parametrize("ending", ["mkv", "avi"])
@pytest.mark.parametrize("size", [(48, 64), (47, 61), (17, 131)])
def test_frames_are_those_that_were_written(
    tmp_path: Path, ending: str, size: tuple[int, int]
) -> None:
    images = CLIPS.scenes(4, *size, noise=60.0)
    path = CLIPS.write(tmp_path / f"a.{ending}", images)
    found = frames_of(path)
    for number, (frame, image) in enumerate(zip(found, images, strict=True)):
        np.testing.assert_array_equal(frame.picture.image, image)
        assert frame.picture.image.flags["C_CONTIGUOUS"] and frame.picture.orientation == 1
        assert (frame.number, frame.seconds) == (number, pytest.approx(number / 10))


def test_each_third_frame_keeps_its_number_and_its_time(tmp_path: Path) -> None:
    images = CLIPS.scenes(8)
    found = frames_of(CLIPS.write(tmp_path / "a.mkv", images), every=3)
    assert [frame.number for frame in found] == [0, 3, 6]
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.3, 0.6])
    np.testing.assert_array_equal(found[1].picture.image, images[3])
    with pytest.raises(UsageError, match="not each 0th"), open_video(tmp_path / "a.mkv") as video:
        next(video.frames(0))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "libx264"), ("a.webm", "libvpx-vp9")],
)
def test_frames_come_as_they_are_shown(tmp_path: Path, name: str, codec: str) -> None:
    """Brighter and brighter, through a codec that may store later frames first."""
    images = [np.full((32, 48, 3), 20 + 10 * k, np.uint8) for k in range(20)]
    options = (
        {"x264-params": "bframes=3:b-adapt=0:scenecut=0"}
        if codec == "libx264"
        else {"cpu-used": "8"}
    )
    path = CLIPS.write(tmp_path / name, images, codec, "yuv420p", **options)
    with av.open(str(path)) as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert (stored != sorted(stored)) == (name in ("a.mp4", "a.mkv")), "B-frames"
    found = frames_of(path)
    means = [float(frame.picture.image.mean()) for frame in found]
    np.testing.assert_allclose(means, 20 + 10 * np.arange(20), atol=2.5)
    times = [frame.seconds - found[0].seconds for frame in found]
    np.testing.assert_allclose(times, np.arange(20) / 10, atol=1e-6)


@pytest.mark.parametrize("name", ["a.mkv", "a.mov"])
def test_a_variable_rate_is_kept(tmp_path: Path, name: str) -> None:
    ticks = [0, 1, 5, 6, 20, 50]
    codec = ("libx264", "yuv420p") if name == "a.mov" else ("ffv1", "bgr0")
    path = CLIPS.write(tmp_path / name, CLIPS.scenes(6), *codec, ticks=ticks)
    assert [frame.seconds for frame in frames_of(path)] == pytest.approx(np.array(ticks) / 10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_video_comes_upright(tmp_path: Path, orientation: int) -> None:
    """As Pillow turns a picture that says the same by EXIF."""
    matrix = {1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1)}
    matrix |= {5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0)}
    image = CLIPS.scenes(1, 40, 64)[0]
    path = CLIPS.write(tmp_path / "a.mp4", [image], "libx264rgb", "rgb24", qp="0")
    (frame,) = frames_of(CLIPS.turn(path, *matrix[orientation]))
    photo = Image.fromarray(image)
    photo.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(photo))
    np.testing.assert_array_equal(frame.picture.image, expected)
    assert frame.picture.orientation == orientation


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize(("matrix", "kr", "kb"), [(5, 0.299, 0.114), (1, 0.2126, 0.0722)])
def test_matrix_and_range_are_heeded(
    tmp_path: Path, matrix: int, kr: float, kb: float, full: bool
) -> None:
    """Against the formula of ITU-R BT.601 and BT.709."""
    planes = np.array([100, 90, 160])
    frame = av.VideoFrame(32, 32, "yuv444p")
    for plane, value in zip(frame.planes, planes.tolist(), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    path = CLIPS.write_frames(tmp_path / "a.mkv", [frame], "ffv1", "yuv444p")
    y, u, v = (
        (planes - [0, 128, 128]) / 255 if full else (planes - [16, 128, 128]) / [219, 224, 224]
    )
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    found = frames_of(path)[0].picture.image
    expected = np.broadcast_to(255 * np.array([red, green, blue]), found.shape)
    np.testing.assert_allclose(found, expected, atol=1.0)


@pytest.mark.parametrize(("pix_fmt", "white"), [("gray", 255), ("gray16le", 65535)])
def test_grey_becomes_three_equal_channels(tmp_path: Path, pix_fmt: str, white: int) -> None:
    ramp = np.linspace(0, white, 64 * 32).round().reshape(32, 64)
    ramp = ramp.astype(np.uint8 if white == 255 else np.uint16)
    frame = av.VideoFrame.from_ndarray(ramp, format=pix_fmt)
    path = CLIPS.write_frames(tmp_path / "a.mkv", [frame], "ffv1", pix_fmt)
    image = frames_of(path)[0].picture.image
    np.testing.assert_allclose(image, np.repeat(ramp[..., None] / (white / 255), 3, -1), atol=1.5)


@pytest.mark.parametrize("part", [0.9, 0.5])
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "movflags"),
    [
        ("a.mkv", "ffv1", "bgr0", ""),
        ("a.webm", "libvpx-vp9", "yuv420p", ""),
        ("a.avi", "mjpeg", "yuvj420p", ""),
        ("a.mp4", "libx264", "yuv420p", "faststart"),
        ("b.mp4", "libx264", "yuv420p", "frag_keyframe+empty_moov"),
        ("a.mov", "mjpeg", "yuvj420p", "faststart"),
    ],
)
def test_a_truncated_video_gives_its_frames_and_then_says_so(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, movflags: str, part: float
) -> None:
    images = CLIPS.scenes(30, 32, 48, noise=60.0)
    options = {"cpu-used": "8"} if codec == "libvpx-vp9" else {}
    path = CLIPS.write(tmp_path / name, images, codec, pix_fmt, movflags=movflags, **options)
    whole = frames_of(path)
    assert len(whole) == 30
    found, said = what_is_there(CLIPS.cut(path, part))
    assert 3 <= len(found) < 30 and len(found) >= 15 * part
    for frame, expected in zip(found, whole, strict=False):
        np.testing.assert_array_equal(frame.picture.image, expected.picture.image)
    assert said.startswith(f"{path}: damaged or truncated: {len(found)} frames can be read, to ")


def test_a_broken_frame_in_between_costs_itself_alone(tmp_path: Path) -> None:
    images = CLIPS.scenes(9, noise=60.0)
    path = CLIPS.write(tmp_path / "a.mov", images, "mjpeg", "yuvj444p")
    whole = frames_of(path)
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][4]
        data = bytearray(path.read_bytes())
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    found, said = what_is_there(path)
    assert "8 frames can be read, to 0.9 s; 1 frames or parts are lost" in said
    assert [frame.seconds for frame in found] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8]
    )
    np.testing.assert_array_equal(found[-1].picture.image, whole[-1].picture.image)


def text(path: Path) -> Path:
    path.write_text("no video " * 100)
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: CLIPS.silence(path), "a.mp4: has no video stream"),
        (text, "a.mp4: no video, or damaged or truncated: Invalid data"),
        (lambda path: path, "a.mp4: no such file"),
        (lambda path: path.mkdir(), "a.mp4: not a file"),
        (
            lambda path: CLIPS.cut(CLIPS.write(path, CLIPS.scenes(9), "libx264", "yuv420p"), 0.5),
            "a.mp4: no video, or damaged or truncated: Invalid data",
        ),
        (
            lambda path: CLIPS.write(path, CLIPS.scenes(1, 14, 32), "libx264rgb", "rgb24"),
            "a.mp4: 32x14 pixels is too small",
        ),
    ],
    ids=["sound", "text", "nothing", "folder", "no index", "small"],
)
def test_what_is_no_video_is_told_so(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "a.mp4")
    with pytest.raises(ImageError) as caught:
        frames_of(tmp_path / "a.mp4")
    assert str(caught.value).startswith(f"{tmp_path}/{said}")


def test_a_name_that_looks_like_an_address_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CLIPS.write(tmp_path / "b.mkv", CLIPS.scenes(2)).rename(tmp_path / "pipe:10%d.mkv")
    monkeypatch.chdir(tmp_path)
    assert len(frames_of(Path("pipe:10%d.mkv"))) == 2


def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Neither numpy's arrays nor FFmpeg's frames wait for Python to search for circles."""
    images = CLIPS.scenes(2, 120, 160)
    peaks = []
    gc.collect()
    gc.disable()
    try:
        for count in (4, 40):
            path = CLIPS.write(tmp_path / f"{count}.mkv", images * (count // 2))
            gc.collect()
            tracemalloc.start()
            with open_video(path) as video:
                assert sum(1 for _ in video.frames()) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert sum(type(held) is av.VideoFrame for held in gc.get_objects()) < 4
    finally:
        gc.enable()
    assert peaks[1] < peaks[0] + 120 * 160 * 3


def test_what_was_opened_elsewhere_is_read_too(tmp_path: Path) -> None:
    path = CLIPS.write(tmp_path / "a.mkv", CLIPS.scenes(3))
    with path.open("rb") as file, av.open(file, format="matroska") as container:
        video = Video(container, "camera 0")
        assert video.seconds == pytest.approx(0.3)
        assert len(list(video.frames())) == 3


def test_without_pyav_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = CLIPS.write(tmp_path / "a.mkv", CLIPS.scenes(1))
    monkeypatch.setitem(sys.modules, "av", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"pip install 'apdepth-deploy\[video\]'"):
        frames_of(path)
