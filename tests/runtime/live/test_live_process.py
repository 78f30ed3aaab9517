"""`live` as a process: streams that break, signals, disks that fill up."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

av = pytest.importorskip("av")


def played(path: Path) -> list[float]:
    """Times of a video's frames, all decoded; FFmpeg's own prober, where it is, agrees."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert not any(frame.is_corrupt for frame in frames)
    if shutil.which("ffprobe"):
        command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", path]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        assert told.stderr == ""
        assert int(json.loads(told.stdout)["streams"][0]["nb_read_frames"]) == len(frames)
    return [float(frame.pts * frame.time_base) for frame in frames]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_whole_files(
    live: Callable[..., Any], camera: Any, tmp_path: Path, number: int
) -> None:
    colour, depth = tmp_path / "a.mp4", tmp_path / "a.mkv"
    running = live(camera.address, "--record", colour, "--depth", depth)
    lines = running.lines()
    first = next(lines)
    assert 5 < first["frames"] <= 60 and first["latency_p50_ms"] <= first["age_ms"] < 1000
    running.process.send_signal(number)
    *_, last = lines
    code, said = running.end()
    assert code == 0, said
    assert last["final"] and last["failed"] == last["reopened"] == 0
    assert len(played(colour)) == last["frames"] and "secret" not in said
    times = played(depth)
    assert len(times) == last["frames"] and times == sorted(set(times))
    assert 0.5 < times[-1] < last["seconds"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "a.mp4"]


def test_a_stream_that_is_cut_three_times_goes_on(
    live: Callable[..., Any], camera: Any, tmp_path: Path
) -> None:
    depth = tmp_path / "a.mkv"
    running = live(camera.address, "--depth", depth)
    lines = running.lines()
    before = next(lines)["frames"]
    for cut in (1, 2, 3):
        camera.kill()
        running.wait_for("broke off", cut)
        camera.start()
        running.wait_for(": back after", cut)
    running.process.send_signal(signal.SIGINT)
    *_, last = lines
    code, said = running.end()
    assert (code, last["reopened"]) == (0, 3), said
    times = played(depth)
    assert len(times) == last["frames"] > before
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert sum(gap > 0.4 for gap in gaps) >= 3, "times are the stream's: each cut is a gap"


def test_a_full_disk_leaves_the_other_file_whole(
    live: Callable[..., Any], clips: SimpleNamespace, tmp_path: Path
) -> None:
    """A limit on a file's size stands for it: the same error, at a known byte."""
    clip = clips.write(tmp_path / "clip.mkv", clips.scenes(60, noise=8.0), rate=30)
    colour, depth = tmp_path / "a.mp4", tmp_path / "a.mkv"
    depth.write_text("what was there before")
    running = live(clip, "--record", colour, "--depth", depth, shell="ulimit -f 64;")
    code, said = running.end()
    assert code == 2
    assert said.splitlines()[-1] == (
        f"error: can't write {depth}: File too large. What stood there before is untouched"
    )
    assert len(played(colour)) > 5
    assert depth.read_text() == "what was there before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "a.mp4", "clip.mkv"]


def test_a_reader_of_the_numbers_may_leave(
    live: Callable[..., Any], camera: Any, tmp_path: Path
) -> None:
    """As by `| head -1`: the work ends, and the file is whole."""
    running = live(camera.address, "--depth", tmp_path / "a.mkv")
    next(running.lines())
    running.process.stdout.close()
    assert running.end()[0] == 1
    assert len(played(tmp_path / "a.mkv")) > 5
