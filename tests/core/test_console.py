"""Streams that are closed, broken or full, and names that a terminal would obey."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apdepth_deploy import cli, console
from apdepth_deploy.console import printable, quiet, say

PROGRAM = [sys.executable, "-m", "apdepth_deploy"]
CLOSED = [set_ for n in (1, 2, 3) for set_ in itertools.combinations((0, 1, 2), n)]


def closing(streams: tuple[int, ...], *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run with those standard streams closed, as a shell's ``2>&-`` does."""
    closed = " ".join(f"{stream}>&-" for stream in streams)
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    return subprocess.run(shell, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("streams", CLOSED)
def test_help_and_errors_need_no_stream(streams: tuple[int, ...], tmp_path: Path) -> None:
    helped = closing(streams, *PROGRAM, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert ("Usage: apdepth-deploy" in helped.stdout) == (1 not in streams)
    failed = closing(streams, *PROGRAM, "inspect", tmp_path)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("error: ") == (2 not in streams)


def test_a_closed_streams_number_goes_to_no_file(tmp_path: Path) -> None:
    """A library that complains on 2 would write into it."""
    script = (
        "import os, sys\n"
        "from apdepth_deploy.console import open_streams\n"
        "open_streams()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w')\n"
        "os.write(2, b'a complaint')\n"
        "print('a word', file=sys.stderr)\n"
        "sys.exit(file.fileno() < 3)\n"
    )
    for streams in ((2,), (0, 1, 2)):
        assert closing(streams, sys.executable, "-c", script).returncode == 0
        assert (tmp_path / "file").read_text() == ""


def test_a_program_without_streams_of_its_own_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    say("nobody")
    with console.steps() as progress:
        progress("nobody")
    assert cli.main(["inspect", "/nowhere"]) == 2
    for name in ("stdin", "stdout", "stderr"):
        getattr(sys, name).close()


@pytest.mark.parametrize("target", ["pipe", "/dev/full"])
def test_work_goes_on_when_nobody_listens(target: str) -> None:
    script = (
        "import sys\n"
        "from apdepth_deploy.console import say\n"
        "for word in 'abc': say(word)\n"
        "print('done', file=sys.stdout)\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    stderr = writing if target == "pipe" else os.open(target, os.O_WRONLY)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=False)
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_name_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\nb\x1b[2J\x7f\u202e\u2028\udcff.png") == (
        r"a\nb\x1b[2J\x7f\u202e\u2028\udcff.png"
    )
    assert printable("Übung 写真　é 1.png") == "Übung 写真　é 1.png"
    say("a\x1b[2J\nb")
    assert capsys.readouterr().err == "a\\x1b[2J\\nb\n"
    assert cli.main(["inspect", "/no\x1b[31mwhere\n"]) == 2
    assert capsys.readouterr().err.startswith(r"error: /no\x1b[31mwhere\n is no bundle")


def test_quiet_drops_what_libraries_print_and_nothing_after(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyError), quiet():
        os.write(2, b"a library")
        raise KeyError
    os.write(2, b"we")
    assert capfd.readouterr().err == "we"
