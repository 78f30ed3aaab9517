"""``infer`` as a process: streams that nobody reads, disks that fill up, stopped midway."""

from __future__ import annotations

import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.cli import main

Contents = Callable[[Path], dict[str, bytes]]
Picture = Callable[..., Path]
Results = Callable[[Path], list[str]]
Text = pytest.CaptureFixture[str]
INFER = [sys.executable, "-m", "apdepth_deploy", "infer"]
RESULTS = ("_color.png", "_depth.npy", "_depth.png")


def infer(bundle: Path, *arguments: Any) -> int:
    return main(["infer", str(bundle), *map(str, arguments)])


@pytest.mark.parametrize("closed", ["0>&- 1>&- 2>&-", "2>&-", "2>/dev/full"])
def test_depth_needs_nobody_who_listens(
    bundle: Path, photos: Path, tmp_path: Path, closed: str, results: Results
) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *INFER, bundle, photos]
    done = subprocess.run([*command, "-o", tmp_path / "out"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert results(tmp_path / "out") == ["a", "sub/b"]


def test_a_reader_that_has_enough_ends_no_work(
    bundle: Path, photos: Path, tmp_path: Path, results: Results
) -> None:
    command = ["sh", "-c", '"$@" 2>&1 | head -1', "sh", *INFER, bundle, photos]
    done = subprocess.run([*command, "-o", tmp_path / "out"], capture_output=True, check=False)
    assert done.stdout.count(b"\n") == 1
    assert results(tmp_path / "out") == ["a", "sub/b"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--backend", "nope"],
            "unknown backend 'nope': choose one of auto, onnxruntime, openvino, torch",
        ),
        (
            ["--device", "cuda"],
            "onnxruntime finds no CUDA device here: use --device cpu, or install",
        ),
        (
            ["--backend", "onnxruntime", "--precision", "bf16"],
            "ONNX Runtime on cpu runs fp32, fp16, not bf16",
        ),
    ],
)
def test_what_cant_run_here_is_one_line_within_two_seconds(
    micro_bundle: Path, photos: Path, tmp_path: Path, options: list[str], line: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*INFER, micro_bundle, photos, "-o", tmp_path / "out", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {line}") and done.stderr.count("\n") == 1
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


@pytest.mark.parametrize("output", ["{tmp}/photos/a.png", "{tmp}/photos/a.png/out", "/proc/x"])
def test_an_output_that_cant_be_written_is_said_before_the_work(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text, output: str, contents: Contents
) -> None:
    before = contents(tmp_path)
    place = output.format(tmp=tmp_path)
    assert infer(bundle, photos, "-o", place) == 2
    said = capsys.readouterr().err
    assert f"error: can't write {place}: " in said and "[1/2]" not in said
    assert contents(tmp_path) == before


def test_a_full_disk_midway_leaves_every_file_whole(
    bundle: Path,
    photos: Path,
    tmp_path: Path,
    contents: Contents,
    picture: Picture,
    results: Results,
) -> None:
    """The limit on a file's size stands for the disk's: the same error, at a known byte."""
    output = tmp_path / "out"
    picture(photos / "z.png", 300, 300)
    assert infer(bundle, photos, "-o", output) == 0
    before = contents(output)
    shutil.copy(photos / "a.png", photos / "b.png")
    command = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *INFER, bundle, photos, "-o", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    reason = "File too large. What stood there before is untouched"
    assert done.stderr.splitlines()[-1] == f"error: can't write {output}/z_depth.png: {reason}"
    after = contents(output)
    assert {name: after[name] for name in before} == before
    assert results(output) == ["a", "b", "sub/b", "z"]


SMALL_DISK = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = [*SMALL_DISK, "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs a mount of its own")
def test_a_disk_that_is_full_is_said_so(
    bundle: Path, photos: Path, tmp_path: Path, contents: Contents, picture: Picture
) -> None:
    """A real one, of 64 KiB, that two small pictures fit on and a third doesn't."""
    (tmp_path / "disk").mkdir()
    picture(photos / "z.png", 200, 200)
    script = """
        disk=$1 copy=$2; shift 2
        mount -t tmpfs -o size=64k tmpfs "$disk"
        "$@" -o "$disk/out" || echo "code $?"
        cp -r "$disk/out" "$copy"
    """
    command = [*SMALL_DISK, script, "sh", tmp_path / "disk", tmp_path / "copy"]
    command += [*INFER, bundle, photos]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "code 2\n"
    assert done.stderr.splitlines()[-1].startswith(f"error: can't write {tmp_path}/disk/out/z_")
    assert "No space left on device" in done.stderr.splitlines()[-1]
    left = [name for name in contents(tmp_path / "copy") if not name.startswith("z_")]
    assert sorted(left) == [f"{stem}{ending}" for stem in ("a", "sub/b") for ending in RESULTS]
    assert not list((tmp_path / "copy").rglob(".*"))


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored, and a child inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_stop_midway_leaves_only_whole_results(
    bundle: Path, tmp_path: Path, number: int, code: int, word: str, picture: Picture
) -> None:
    (tmp_path / "photos").mkdir()
    first = picture(tmp_path / "photos" / "p000.png", 200, 300)
    for index in range(1, 400):
        (first.parent / f"p{index:03}.png").symlink_to(first)
    process = subprocess.Popen(
        [*INFER, bundle, first.parent, "-o", tmp_path / "out"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[3/400]"):
            process.send_signal(number)
            break
    rest = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == code
    assert rest[-1] == f"error: {word}; nothing half-written is left behind"
    assert all(line.startswith("[") for line in rest[:-1])
    whole = [p for p in (tmp_path / "out").iterdir() if p.name.startswith("p")]
    assert 3 <= len(whole) < 600 and len(whole) == len(list((tmp_path / "out").iterdir()))
    for path in whole:
        assert path.stat().st_size == (tmp_path / "out" / f"p000{path.name[4:]}").stat().st_size


def test_a_terminal_gets_a_bar(bundle: Path, photos: Path, tmp_path: Path) -> None:
    here, there = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    command = [*INFER, bundle, photos, "-o", tmp_path / "out"]
    done = subprocess.run(
        command, stderr=there, stdout=subprocess.PIPE, env=environment, check=False
    )
    os.close(there)
    with os.fdopen(here, "rb", buffering=0) as terminal:
        said = terminal.read(100_000)
    assert done.returncode == 0
    assert b"depth" in said and b"100%" in said and b"[1/2]" not in said
