"""``infer``: many pictures, some of them bad, on disks that fill up, stopped midway."""

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

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.cli import main
from apdepth_deploy.errors import BackendError
from apdepth_deploy.pictures.image import read_image
from apdepth_deploy.runtime.feeds.search import find_images
from apdepth_deploy.runtime.infer.folder import infer_folder

Contents = Callable[[Path], dict[str, bytes]]

MakeBundle = Callable[..., Path]
Text = pytest.CaptureFixture[str]

INFER = [sys.executable, "-m", "apdepth_deploy", "infer"]
RESULTS = ("_color.png", "_depth.npy", "_depth.png")


@pytest.fixture
def bundle(mean_bundle: MakeBundle) -> Path:
    return mean_bundle(1, 64, 96)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png 40x30, sub/b.jpg 20x50 and a text beside them."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    picture(folder / "a.png", 30, 40)
    picture(folder / "sub" / "b.jpg", 50, 20)
    (folder / "notes.txt").write_text("no picture")
    return folder


def picture(path: Path, height: int = 32, width: int = 32) -> Path:
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def infer(bundle: Path, *arguments: Any) -> int:
    return main(["infer", str(bundle), *map(str, arguments)])


def results(output: Path) -> list[str]:
    """Names of the pictures whose three results are there, and of nothing else."""
    found = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
    stems = sorted({name.removesuffix("_depth.npy") for name in found if name.endswith(".npy")})
    assert found == sorted(stem + ending for stem in stems for ending in RESULTS)
    return stems


def test_a_folder_is_searched_and_its_tree_kept(bundle: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "depth"
    assert infer(bundle, photos, "-o", output) == 0
    assert results(output) == ["a", "sub/b"]
    predictor = load(bundle)
    for name, size in (("a.png", (30, 40)), ("sub/b.jpg", (50, 20))):
        depth = np.load(output / f"{name[:-4]}_depth.npy")
        assert depth.shape == size
        np.testing.assert_array_equal(depth, predictor(read_image(photos / name)))
        with Image.open(output / f"{name[:-4]}_depth.png") as image:
            np.testing.assert_array_equal(np.asarray(image), np.rint(depth.astype(float) * 65535))


def test_files_and_globs_are_named_by_their_stem(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert infer(bundle, photos / "a.png", f"{photos}/**/*.jpg", "-o", output) == 0
    assert results(output) == ["a", "b"]


def test_a_picture_named_twice_is_done_once(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text
) -> None:
    assert infer(bundle, photos / "a.png", photos, f"{photos}/a*", "-o", tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("2 of 2 pictures done")


def test_endings_tell_pictures_of_one_stem_apart(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    picture(photos / "a.jpg")
    assert infer(bundle, photos, "-o", tmp_path / "out") == 0
    assert results(tmp_path / "out") == ["a.jpg", "a.png", "sub/b"]


def test_two_pictures_of_one_name_are_refused(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text
) -> None:
    (tmp_path / "other").mkdir()
    picture(tmp_path / "other" / "a.png")
    output = tmp_path / "out"
    assert infer(bundle, photos, tmp_path / "other", "-o", output) == 2
    assert (
        "two pictures would write a.png_depth.png: run them apart, or name the folder"
        in capsys.readouterr().err
    )
    assert not output.exists()


@pytest.mark.parametrize("pattern", ["*.gif", "**/*.xyz", "empty", "nothing-[0-9].png"])
def test_a_pattern_without_pictures_is_refused(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text, pattern: str
) -> None:
    (photos / "empty").mkdir()
    assert infer(bundle, photos / "a.png", photos / pattern, "-o", tmp_path / "out") == 2
    assert f"{photos}/{pattern}: no picture there (.bmp, .jfif" in capsys.readouterr().err


def test_hidden_files_and_earlier_results_are_left_out(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "._a.png").write_bytes(b"what macOS leaves on a card")
    (photos / ".thumbnails").mkdir()
    picture(photos / ".thumbnails" / "a.png")
    picture(photos / "truth_depth.png")
    for _ in range(2):
        assert infer(bundle, photos, "-o", photos) == 0
        assert infer(bundle, photos, "-o", photos / "out") == 0
    assert results(photos / "out") == ["a", "sub/b", "truth_depth"]


def test_a_result_never_takes_a_pictures_place(
    bundle: Path, photos: Path, capsys: Text, contents: Contents
) -> None:
    picture(photos / "a_depth.png")
    before = contents(photos)
    assert infer(bundle, photos, "-o", photos) == 2
    assert "a_depth.png would take the place of a picture" in capsys.readouterr().err
    assert contents(photos) == before


def test_a_bad_picture_stops_no_other_and_is_named_last(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text
) -> None:
    (photos / "aa.png").write_text("text")
    (photos / "bad.jpg").write_bytes((photos / "sub" / "b.jpg").read_bytes()[:700])
    picture(photos / "small.png", 1, 1)
    output = tmp_path / "out"
    assert infer(bundle, photos, tmp_path / "missing.png", "-o", output) == 1
    assert results(output) == ["a", "sub/b"]
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert lines[1] == "warning: the weights are random: this depth means nothing"
    assert lines[2:8] == [
        f"[{number}/6] {path}"
        for number, path in enumerate(
            [
                *(photos / name for name in ("a.png", "aa.png", "bad.jpg", "small.png")),
                photos / "sub" / "b.jpg",
                tmp_path / "missing.png",
            ],
            start=1,
        )
    ]
    assert lines[8] == f"failed: {photos}/aa.png: not a picture that can be read"
    assert lines[9].startswith(f"failed: {photos}/bad.jpg: damaged or truncated")
    assert lines[10].startswith(f"failed: {photos}/small.png: 1x1 pixels is too small")
    assert lines[11:] == [f"failed: {tmp_path}/missing.png: no such file"]
    assert said.out == f"2 of 6 pictures done, depth in {output}\n"


def test_a_name_too_long_for_results_stops_no_other(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text
) -> None:
    long = picture(photos / ("x" * 248 + ".png"))
    picture(photos / "z.png")
    (tmp_path / "out" / "z_depth.npy").mkdir(parents=True)  # and this one's place is taken
    assert infer(bundle, photos, "-o", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.out.startswith("2 of 4 pictures done")
    failed = [line for line in said.err.splitlines() if line.startswith("failed")]
    assert failed[0].startswith(f"failed: {long}: can't write {tmp_path}/out/xxx")
    assert failed[1].startswith(f"failed: {photos}/z.png: can't write {tmp_path}/out/z_depth.npy")
    assert "File name too long" in failed[0] and "Is a directory" in failed[1]


NARROW = """
import resource, sys
from pathlib import Path
from apdepth_deploy import load
from apdepth_deploy.runtime.feeds.search import find_images
from apdepth_deploy.runtime.infer.folder import infer_folder
bundle, photos, output, megabytes = sys.argv[1:]
predictor = load(bundle, backend="onnxruntime")
jobs = find_images([photos]).jobs
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + (int(megabytes) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(*infer_folder(predictor, jobs, Path(output)), sep="\\n")
"""


@pytest.mark.parametrize("megabytes", [150, 650])
def test_a_picture_too_large_for_memory_stops_no_other(
    bundle: Path, photos: Path, tmp_path: Path, megabytes: int
) -> None:
    """With little room even reading fails; with more, what comes after."""
    Image.new("1", (12000, 9000)).save(photos / "large.png")
    words = [str(bundle), str(photos), str(tmp_path / "out"), str(megabytes)]
    command = [sys.executable, "-c", NARROW, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (failure,) = done.stdout.splitlines()
    assert failure.startswith(f"{photos}/large.png: not enough memory")
    assert {"a", "sub/b"} <= {
        str(p)[:-10] for p in relative(tmp_path / "out") if p.suffix == ".npy"
    }


def relative(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*")]


@pytest.mark.parametrize("words", ["std::bad_alloc", "Failed to allocate memory for requested"])
def test_an_engine_without_memory_stops_no_other(photos: Path, tmp_path: Path, words: str) -> None:
    """Stands for an engine: none can be brought to this for one of two pictures."""

    def predictor(image: Any) -> Any:
        if image.shape[0] == 30:
            raise BackendError(f"failed on ['image']: {words}")
        return image[..., 0].astype(np.float32) / 255

    jobs = find_images([str(photos)]).jobs
    failures = infer_folder(predictor, jobs, tmp_path / "out")  # type: ignore[arg-type]
    assert failures == [f"{photos}/a.png: not enough memory for a picture of this size"]
    assert results(tmp_path / "out") == ["sub/b"]
    words = "the GPU is lost"
    with pytest.raises(BackendError, match=words):
        infer_folder(predictor, jobs, tmp_path / "out")  # type: ignore[arg-type]


def test_the_first_of_several_pictures_is_taken_and_this_is_said(
    bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    frames = [Image.new("L", (96, 64), grey) for grey in (51, 204)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert infer(bundle, tmp_path / "a.tif", "-o", tmp_path / "out") == 0
    assert (
        f"{tmp_path}/a.tif: holds several pictures: the first is taken" in capsys.readouterr().err
    )
    assert np.load(tmp_path / "out" / "a_depth.npy").mean() == pytest.approx(0.2)


def test_what_libtiff_prints_doesnt_come_between_our_lines(
    bundle: Path, tmp_path: Path, capfd: Text
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.tif", compression="tiff_adobe_deflate")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[200:400] = b"\xff" * 200
    (tmp_path / "a.tif").write_bytes(data)
    assert infer(bundle, tmp_path / "a.tif", "-o", tmp_path / "out") == 1
    lines = capfd.readouterr().err.splitlines()[2:]
    assert lines[0] == f"[1/1] {tmp_path}/a.tif"
    assert len(lines) == 2 and lines[1].startswith(
        f"failed: {tmp_path}/a.tif: damaged or truncated"
    )


@pytest.mark.parametrize("closed", ["0>&- 1>&- 2>&-", "2>&-", "2>/dev/full"])
def test_depth_needs_nobody_who_listens(
    bundle: Path, photos: Path, tmp_path: Path, closed: str
) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *INFER, bundle, photos]
    done = subprocess.run([*command, "-o", tmp_path / "out"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert results(tmp_path / "out") == ["a", "sub/b"]


def test_a_reader_that_has_enough_ends_no_work(bundle: Path, photos: Path, tmp_path: Path) -> None:
    command = ["sh", "-c", '"$@" 2>&1 | head -1', "sh", *INFER, bundle, photos]
    done = subprocess.run([*command, "-o", tmp_path / "out"], capture_output=True, check=False)
    assert done.stdout.count(b"\n") == 1
    assert results(tmp_path / "out") == ["a", "sub/b"]


def test_depth_that_is_not_a_number_is_a_failure_and_is_not_written(
    mean_bundle: MakeBundle, photos: Path, tmp_path: Path, capsys: Text
) -> None:
    assert infer(mean_bundle(1, 64, 96, 0.0), photos, "-o", tmp_path / "out") == 1
    assert results(tmp_path / "out") == []
    assert f"failed: {photos}/a.png: depth has NaN or Inf" in capsys.readouterr().err


def test_a_turned_photo_gives_upright_depth(bundle: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert infer(bundle, tmp_path / "a.jpg", "-o", tmp_path / "out") == 0
    assert np.load(tmp_path / "out" / "a_depth.npy").shape == (40, 20)


def test_trained_weights_give_no_warning_and_precision_is_as_asked(
    micro_bundle: Path, photos: Path, tmp_path: Path, capsys: Text
) -> None:
    assert infer(micro_bundle, photos, "-o", tmp_path / "out", "--precision", "fp16") == 0
    said = capsys.readouterr().err
    assert said.startswith("openvino on cpu, fp16 fused graph computed in fp32: the faster one")
    assert said.splitlines()[1].startswith("[1/2]")
    found = np.load(tmp_path / "out" / "a_depth.npy")
    expected = load(micro_bundle, precision="fp16")(read_image(photos / "a.png"))
    np.testing.assert_array_equal(found, expected)


def test_the_torch_backend_gives_the_same_depth(
    micro_bundle: Path, micro_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    options = ("--backend", "torch", "--checkpoint", micro_checkpoint)
    assert infer(micro_bundle, photos, "-o", tmp_path / "torch", *options) == 0
    assert infer(micro_bundle, photos, "-o", tmp_path / "onnx") == 0
    torch, onnx = (np.load(tmp_path / name / "a_depth.npy") for name in ("torch", "onnx"))
    np.testing.assert_allclose(torch, onnx, atol=1e-4, rtol=0)


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
    bundle: Path, photos: Path, tmp_path: Path, contents: Contents
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
    bundle: Path, photos: Path, tmp_path: Path, contents: Contents
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
    bundle: Path, tmp_path: Path, number: int, code: int, word: str
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
