"""``infer`` over pictures of which some are bad: they stop no other, and are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.cli import main
from apdepth_deploy.errors import BackendError
from apdepth_deploy.runtime.feeds.search import find_images
from apdepth_deploy.runtime.infer.folder import infer_folder

MakeBundle = Callable[..., Path]
Picture = Callable[..., Path]
Results = Callable[[Path], list[str]]
Text = pytest.CaptureFixture[str]


def infer(bundle: Path, *arguments: Any) -> int:
    return main(["infer", str(bundle), *map(str, arguments)])


def test_a_bad_picture_stops_no_other_and_is_named_last(
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text, picture: Picture, results: Results
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
    bundle: Path, photos: Path, tmp_path: Path, capsys: Text, picture: Picture
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
def test_an_engine_without_memory_stops_no_other(
    photos: Path, tmp_path: Path, words: str, results: Results
) -> None:
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


def test_depth_that_is_not_a_number_is_a_failure_and_is_not_written(
    mean_bundle: MakeBundle, photos: Path, tmp_path: Path, capsys: Text, results: Results
) -> None:
    assert infer(mean_bundle(1, 64, 96, 0.0), photos, "-o", tmp_path / "out") == 1
    assert results(tmp_path / "out") == []
    assert f"failed: {photos}/a.png: depth has NaN or Inf" in capsys.readouterr().err
