"""Nothing half-written: whatever stops a write, the target is as it was or whole, and alone."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apdepth_deploy import files
from apdepth_deploy.errors import OutputError
from apdepth_deploy.files import atomic_file, atomic_folder, output_errors, sha256

RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def always(path: Path) -> bool:
    return True


def never(path: Path) -> bool:
    return False


@pytest.mark.usefixtures("umask")
def test_a_file_appears_whole_with_the_users_own_rights(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert tree(tmp_path) == {"new/file": b"whole"}
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_file_stays_as_it_was_when_its_writer_fails(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(error), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise error
    assert tree(tmp_path) == {"file": b"old"}


def test_a_name_as_long_as_the_system_takes_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    with atomic_file(target) as temporary:
        temporary.touch()
    assert target.exists()


@pytest.mark.usefixtures("umask")
def test_a_folder_appears_whole_with_the_users_own_rights(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    with atomic_folder(target, never) as temporary:
        (temporary / "a").write_text("1")
        assert not target.exists()
    assert tree(tmp_path) == {"new/folder/a": b"1"}
    assert target.stat().st_mode & 0o777 == 0o750


def test_a_folder_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with atomic_folder(target, always) as temporary:
        (temporary / "new").write_text("1")
        assert (target / "old").exists()
    assert tree(tmp_path) == {"folder/new": b"1"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_old_folder_stays_as_it_was_when_its_writer_fails(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(error), atomic_folder(target, always) as temporary:
        (temporary / "new").touch()
        raise error
    assert tree(tmp_path) == {"folder/old": b"1"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("moment", [1, 2])
def test_an_interrupt_between_the_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], moment: int
) -> None:
    """The moment is too short to hit from outside: here the n-th rename is followed by it."""
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    rename, count = Path.rename, 0

    def interrupted(path: Path, to: Path) -> Path:
        nonlocal count
        count += 1
        done = rename(path, to)
        if count == moment:
            raise error
        return done

    monkeypatch.setattr(Path, "rename", interrupted)
    with (
        pytest.raises((KeyboardInterrupt, OutputError)),
        atomic_folder(target, always) as temporary,
    ):
        (temporary / "new").touch()
    assert list(tree(tmp_path)) == ["folder/old" if moment == 1 else "folder/new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    before = tree(tmp_path)
    for name in ("file", "photos"):
        with (
            pytest.raises(OutputError, match=f"{name} exists .* choose another -o"),
            atomic_folder(tmp_path / name, never),
        ):
            raise AssertionError("found out after the work")
    assert tree(tmp_path) == before


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty", never) as temporary:
        (temporary / "new").touch()
    assert list(tree(tmp_path)) == ["empty/new"]


def test_the_folder_one_stands_in_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path(), Path("/proc")):
        with (
            pytest.raises(OutputError, match="name a folder inside it"),
            atomic_folder(place, always),
        ):
            raise AssertionError("found out after the work")
    assert not list(tmp_path.iterdir())


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real").write_text("old")
    (tmp_path / "link").symlink_to("elsewhere/real")
    (tmp_path / "dangling").symlink_to("elsewhere/new")
    for name in ("link", "dangling"):
        with atomic_file(tmp_path / name) as temporary:
            assert temporary.parent == (tmp_path / "elsewhere").resolve()
            temporary.write_text("whole")
        assert (tmp_path / name).is_symlink()
    assert tree(tmp_path / "elsewhere") == {"real": b"whole", "new": b"whole"}
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="loop: Too many levels"), atomic_file(tmp_path / "loop"):
        raise AssertionError("found out after the work")


def test_a_pipe_and_a_device_are_written_into_and_stay(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("pipe")
    for target in (pipe, tmp_path / "link"):
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        with atomic_file(target) as temporary:
            temporary.write_text("whole")
        assert os.read(reading, 100) == b"whole" and pipe.is_fifo()
        os.close(reading)
    here, there = os.openpty()
    with atomic_file(Path(os.ttyname(there))) as temporary:
        temporary.write_text("whole")
    assert os.read(here, 100) == b"whole"
    os.close(here), os.close(there)
    with atomic_file(Path("/dev/null")) as temporary:
        temporary.write_text("whole")
    assert Path("/dev/null").is_char_device()
    with (
        pytest.raises(OutputError, match="/dev/full: No space"),
        atomic_file(Path("/dev/full")) as t,
    ):
        t.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link"}


def test_a_socket_is_refused_and_stays(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with (
            pytest.raises(OutputError, match="socket: it is a disk or a socket"),
            atomic_file(tmp_path / "socket"),
        ):
            raise AssertionError("found out after the work")
        assert (tmp_path / "socket").is_socket()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_of_ones_own_is_not_replaced_by_root(tmp_path: Path) -> None:
    for name, kind, number in (("null", stat.S_IFCHR, (1, 3)), ("disk", stat.S_IFBLK, (7, 250))):
        try:
            os.mknod(tmp_path / name, kind | 0o600, os.makedev(*number))
        except PermissionError:
            pytest.skip("no devices may be made here")
    with atomic_file(tmp_path / "null") as temporary:
        temporary.write_text("whole")
    with pytest.raises(OutputError, match="it is a disk"), atomic_file(tmp_path / "disk"):
        raise AssertionError("found out after the work")
    assert (tmp_path / "null").is_char_device() and (tmp_path / "disk").is_block_device()


@pytest.mark.parametrize(
    ("name", "one"), [("x" * 256, True), ("a/b", True), ("/proc/x", False), ("folder", True)]
)
def test_what_is_wrong_with_one_name_is_told_from_what_is_with_all(
    tmp_path: Path, name: str, one: bool
) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError) as caught, atomic_file(tmp_path / name) as temporary:
        temporary.touch()
    assert files.concerns_one_name(caught.value) is one


def test_a_place_is_asked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new/file")
    for target in (tmp_path / "link", tmp_path / "file", Path("/dev/null")):
        files.check_writable(target)
    assert {path.name for path in tmp_path.iterdir()} == {"link", "new"}
    with pytest.raises(OutputError, match="can't write /proc/x"):
        files.check_writable(Path("/proc/x"))


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic_folder(tmp_path / "link", never) as temporary:
        (temporary / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "new").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"link", "real"}


@pytest.mark.parametrize("place", ["{tmp}/file/below", "/proc/x", "{tmp}/" + "x" * 256])
def test_a_place_that_cant_be_written_is_named_before_the_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    target = Path(place.format(tmp=tmp_path))
    with (
        pytest.raises(OutputError, match="can't write"),
        atomic_folder(target, always) as temporary,
    ):
        # A name too long can't be seen before the last rename.
        assert len(target.name) > 255, temporary
    with pytest.raises(OutputError, match="can't write"), atomic_file(target) as temporary:
        temporary.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, output_errors(tmp_path):
        Path("/dev/full").write_text("x")
    reason = "No space left on device. What stood there before is untouched"
    assert str(caught.value) == f"can't write {tmp_path}: {reason}"


LIMITED = """
import resource
import sys
from pathlib import Path
from apdepth_deploy.errors import OutputError
from apdepth_deploy.files import atomic_file, atomic_folder

resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
target = Path(sys.argv[1])
for writer in (lambda: atomic_file(target / "file"), lambda: atomic_folder(target, lambda _: True)):
    try:
        with writer() as temporary:
            part = temporary / "part" if temporary.is_dir() else temporary
            part.write_bytes(bytes(10_000))
    except OutputError as error:
        print(error)
"""


def test_a_limit_midway_through_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("old")
    command = [sys.executable, "-c", LIMITED, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("File too large. What stood there before is untouched\n") == 2
    assert tree(tmp_path) == {"target/file": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_refused(run_script: RunScript) -> None:
    script = (
        "from pathlib import Path\n"
        "from apdepth_deploy.files import atomic_file, atomic_folder\n"
        "import os; os.setuid(65534)\n"
        "for writer in (atomic_file, lambda path: atomic_folder(path, lambda _: True)):\n"
        "    try:\n"
        "        with writer(Path('/usr/apdepth-test')) as path: path.touch()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    done = run_script(script)
    line = "OutputError can't write /usr/apdepth-test"
    assert [text.split(":")[0] for text in done.stdout.splitlines()] == [line, line]
    assert done.stdout.count("Permission denied") == 2


def test_sha256_is_the_standard_one_over_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_CHUNK", 7)
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 10)
    known = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert sha256(path) == known.split()[0]
