"""Newest frame only, and numbers of a fixed size."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from apdepth_deploy.errors import ImageError, OutputError
from apdepth_deploy.runtime.feeds.depth_video import read_depth_video
from apdepth_deploy.runtime.feeds.newest import Reader, Slot
from apdepth_deploy.runtime.feeds.source import source_of
from apdepth_deploy.runtime.live.rates import Latencies, Rates
from apdepth_deploy.runtime.live.videos import ColourVideo, DepthVideo

av = pytest.importorskip("av")


def test_what_comes_takes_the_place_of_what_waits() -> None:
    slot: Slot[int] = Slot()
    assert slot.take(0.01) is None and not slot.over
    for number in range(5):
        slot.put(number)
    assert (slot.waiting, slot.dropped) == (1, 4)
    slot.close()
    assert not slot.over and slot.take() == 4
    assert slot.over and slot.take() is None and slot.waiting == 0


def test_a_slow_taker_gets_the_frame_of_the_moment(clips: SimpleNamespace, tmp_path: Path) -> None:
    """A file of 50 a second plays at its pace; who looks every 0.2 s is never behind it."""
    images = [np.full((32, 32, 3), number, np.uint8) for number in range(50)]
    clip = clips.write(tmp_path / "clip.mkv", images, rate=50)
    seen, start = [], 0.0
    with Reader(source_of(str(clip)), print) as reader:
        while not reader.slot.over:
            frame = reader.slot.take(5)
            start = start or time.monotonic()
            if frame is not None:
                seen.append(frame.number)
                assert frame.picture().image[0, 0, 0] == frame.number
                assert frame.seconds == pytest.approx(frame.number / 50, abs=0.002)
                assert time.monotonic() - start > frame.seconds - 0.05, "not before its time"
                assert time.monotonic() - frame.captured < 0.2
            time.sleep(0.2)
    assert reader.failure is None
    assert seen[0] == 0 and seen[-1] == 49 and len(seen) < 12
    assert len(seen) + reader.slot.dropped == 50


def test_a_file_that_ends_early_is_the_readers_failure(
    clips: SimpleNamespace, tmp_path: Path
) -> None:
    clip = clips.write(tmp_path / "clip.mkv", clips.scenes(8, noise=60.0))
    with Reader(source_of(str(clips.cut(clip, 0.5))), print) as reader:
        while not reader.slot.over:
            reader.slot.take(5)
    assert isinstance(reader.failure, ImageError)


def test_quantiles_of_all_are_numpys_to_a_hundredth() -> None:
    seconds = np.random.default_rng(0).lognormal(-2.0, 0.7, 20_000)
    rates, counted = Rates(), Latencies()
    for one in seconds:
        counted.add(one)
        rates.add(one, 2 * one)
    for part in (0.5, 0.9, 0.99):
        assert counted.quantile(part) == pytest.approx(np.quantile(seconds, part), rel=0.011)
    second = rates.second(7)
    assert second.p99 == pytest.approx(1000 * np.quantile(seconds, 0.99))
    assert second.age == pytest.approx(2000 * seconds.max())
    assert (second.frames, second.dropped) == (20_000, 7)
    empty = rates.second(9)
    assert (empty.frames, empty.dropped) == (0, 2)
    assert empty.to_json()["latency_p50_ms"] is None and str(empty).startswith("0 frames/s")
    assert (rates.total(9).frames, rates.total(9).dropped) == (20_000, 9)


def test_a_disk_that_is_nearly_full_is_left_in_time(tmp_path: Path) -> None:
    """A file that leaves more than the disk has: it says so, and is whole all the same."""
    video = DepthVideo(tmp_path / "a.mkv", (0.0, 1.0), False, spare=1 << 60)
    video.write(np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.float32), 0.0)
    with pytest.raises(OutputError, match="MB are left on its disk: stopped while it is whole"):
        video.check_space()
    video.close()
    assert [frame.depth.max() for frame in read_depth_video(video.path)] == [0.0]


@pytest.mark.parametrize("kind", ["colour", "depth"])
def test_an_error_at_the_last_write_is_heard(
    kind: str, clips: SimpleNamespace, tmp_path: Path, file_limit: Any
) -> None:
    """FFmpeg's buffer is written out at the end: the disk may fill up there, and only there."""
    path = tmp_path / "a.mkv"
    path.write_text("before")
    make = {
        "colour": lambda: ColourVideo(path, (0.0, 1.0)),
        "depth": lambda: DepthVideo(path, (0.0, 1.0), False),
    }
    whole = make[kind]()
    for number, image in enumerate(images := clips.scenes(6, noise=60.0)):
        whole.write(image, image[..., 0] / np.float32(255), number / 10)
    whole.close()
    size = path.stat().st_size
    with file_limit(size - 20):
        video = make[kind]()
        for number, image in enumerate(images):
            video.write(image, image[..., 0] / np.float32(255), number / 10)
        with pytest.raises(OutputError, match=r"File too large\. What stood there before"):
            video.close()
        video.close()  # it is given up: nothing more to say
    assert path.stat().st_size == size and list(tmp_path.iterdir()) == [path]


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    video = DepthVideo(tmp_path / "a.mkv", (0.0, 1.0), False)
    video.close()
    assert list(tmp_path.iterdir()) == []


def test_other_videos_are_no_depth(clips: SimpleNamespace, tmp_path: Path) -> None:
    clip = clips.write(tmp_path / "clip.mkv", clips.scenes(1))
    with pytest.raises(ImageError, match="says no DEPTH_RANGE and DEPTH_UNIT"):
        next(read_depth_video(clip))
    (tmp_path / "text.mkv").write_text("text")
    with pytest.raises(ImageError, match=r"text\.mkv: no video"):
        next(read_depth_video(tmp_path / "text.mkv"))


def test_frames_at_one_moment_keep_their_order(tmp_path: Path) -> None:
    video = DepthVideo(tmp_path / "a.mkv", (0.0, 1.0), False)
    times: list[Any] = [5.0, 5.0, 5.0004, 5.1]
    for number, seconds in enumerate(times):
        depth = np.full((16, 16), number / 4, np.float32)
        video.write(np.zeros((16, 16, 3), np.uint8), depth, seconds)
    video.close()
    found = list(read_depth_video(video.path))
    assert [frame.seconds for frame in found] == [0.0, 0.001, 0.002, 0.1]
    assert [round(4 * float(frame.depth[0, 0])) for frame in found] == [0, 1, 2, 3]
