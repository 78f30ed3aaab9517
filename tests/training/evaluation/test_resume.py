"""What is kept between evaluations into one folder, and what an odd sample costs.

The model is a graph whose depth is the mean of R, G and B over 255, at the pictures' own size.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.cli import main

MEAN = Path(__file__).parents[3] / "runtime/cpp/tests/data/mean_bundle"
SIZE = 16, 24
Text = pytest.CaptureFixture[str]


def write_pair(folder: Path, number: int, seed: int = 0) -> None:
    rng = np.random.default_rng((number, seed))
    depth = rng.uniform(1000, 8000, SIZE)
    image = (depth[..., None] / 40 + rng.uniform(-30, 30, (*SIZE, 3))).clip(0, 255)
    Image.fromarray(image.astype(np.uint8)).save(folder / f"{number}_rgb.png")
    Image.fromarray(depth.astype(np.uint16)).save(folder / f"{number}_depth.png")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number in range(5):
        write_pair(folder, number)
    return folder


def evaluate(data: Path, output: Path, *options: str) -> int:
    words = ["evaluate", str(MEAN), str(data), "-o", str(output), "--backend", "onnxruntime"]
    return main([*words, "--grid", "0", *options])


def found(output: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((output / "results.json").read_text())
    return data


def names(output: Path) -> list[str]:
    lines = (output / "frames.jsonl").read_text().splitlines()[1:]
    return [json.loads(line)["name"] for line in lines]


def by_hand(predicted: np.ndarray, metres: np.ndarray, valid: np.ndarray) -> float:
    """AbsRel after the best scale and shift."""
    p, g = predicted[valid].astype(float), metres[valid].astype(float)
    scale, shift = np.polyfit(p, g, 1)
    return float(np.mean(np.abs(np.maximum(scale * p + shift, 1e-3) - g) / g))


def expected(folder: Path, *numbers: int) -> float:
    errors = []
    for number in numbers:
        image = np.asarray(Image.open(folder / f"{number}_rgb.png")).astype(float).mean(axis=2)
        metres = np.asarray(Image.open(folder / f"{number}_depth.png")) / 1000.0
        errors.append(by_hand(image, metres, metres > 0))
    return float(np.mean(errors))


def test_a_mended_sample_is_read_again(pairs: Path, tmp_path: Path, capsys: Text) -> None:
    torn = pairs / "1_rgb.png"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:60])
    assert evaluate(pairs, tmp_path / "out", "--bad-samples", "0") == 2
    assert "1_rgb.png: damaged" in capsys.readouterr().err
    assert evaluate(pairs, tmp_path / "out") == 0
    assert found(tmp_path / "out")["frames"] == 4
    assert found(tmp_path / "out")["abs_rel"] == pytest.approx(expected(pairs, 0, 2, 3, 4))
    torn.write_bytes(whole)
    capsys.readouterr()
    assert evaluate(pairs, tmp_path / "out", "--bad-samples", "0") == 0
    assert "4 frames were done already" in capsys.readouterr().err
    assert found(tmp_path / "out")["skipped"] == [] and names(tmp_path / "out")[1] == "1_rgb.png"
    assert found(tmp_path / "out")["abs_rel"] == pytest.approx(expected(pairs, 0, 1, 2, 3, 4))


@pytest.mark.parametrize("changed", ["rgb", "depth"])
def test_a_changed_sample_is_scored_again(pairs: Path, tmp_path: Path, changed: str) -> None:
    assert evaluate(pairs, tmp_path / "out") == 0
    path = pairs / f"2_{changed}.png"
    before = path.stat()
    other = tmp_path / "other"
    other.mkdir()
    write_pair(other, 2, seed=1)
    shutil.copyfile(other / path.name, path)
    # As where a build gives all files one date: neither date nor, here, a byte more or less tells.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert evaluate(pairs, tmp_path / "out") == 0
    assert found(tmp_path / "out")["abs_rel"] == pytest.approx(expected(pairs, 0, 1, 2, 3, 4))
    assert len(names(tmp_path / "out")) == 5


def test_another_list_counts_its_own_frames(pairs: Path, tmp_path: Path) -> None:
    def by_list(*numbers: int) -> Any:
        lines = [f"{n}_rgb.png {n}_depth.png\n" for n in numbers]
        (tmp_path / "list.txt").write_text("".join(lines))
        assert evaluate(pairs, tmp_path / "out", "--list", str(tmp_path / "list.txt")) == 0
        assert names(tmp_path / "out") == [f"{n}_rgb.png" for n in numbers]
        return found(tmp_path / "out")["abs_rel"]

    for numbers in ((0, 1, 2), (3, 1), (4, 3, 2, 1, 0)):
        assert by_list(*numbers) == pytest.approx(expected(pairs, *numbers))


def test_a_limit_leaves_what_is_there(pairs: Path, tmp_path: Path, capsys: Text) -> None:
    assert evaluate(pairs, tmp_path / "out") == 0
    assert evaluate(pairs, tmp_path / "out", "--limit", "2") == 0
    assert found(tmp_path / "out")["frames"] == 2
    assert found(tmp_path / "out")["abs_rel"] == pytest.approx(expected(pairs, 0, 1))
    capsys.readouterr()
    assert evaluate(pairs, tmp_path / "out") == 0
    assert "5 frames were done already" in capsys.readouterr().err
    assert found(tmp_path / "out")["abs_rel"] == pytest.approx(expected(pairs, 0, 1, 2, 3, 4))


def test_another_scale_of_depth_is_another_set(pairs: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full(SIZE, 3, np.uint16)).save(pairs / "0_depth.png")  # 3 mm, or 0.3
    assert evaluate(pairs, tmp_path / "out") == 0
    assert evaluate(pairs, tmp_path / "out", "--depth-scale", "10000") == 0
    assert found(tmp_path / "out")["frames"] == 4  # below 1 mm no depth is known


def test_another_place_is_not_mixed_in(pairs: Path, tmp_path: Path, capsys: Text) -> None:
    assert evaluate(pairs, tmp_path / "out", "--limit", "1") == 0
    before = (tmp_path / "out" / "frames.jsonl").read_text()
    shutil.copytree(pairs, tmp_path / "copy")
    assert evaluate(tmp_path / "copy", tmp_path / "out") == 2
    assert "another model or set" in capsys.readouterr().err
    assert (tmp_path / "out" / "frames.jsonl").read_text() == before


@pytest.mark.parametrize("line", ["[1]", "{", "\x00", '{"abs_rel": 0.1', '"x"'])
def test_a_line_that_a_crash_left_is_no_result(pairs: Path, tmp_path: Path, line: str) -> None:
    assert evaluate(pairs, tmp_path / "out") == 0
    path = tmp_path / "out" / "frames.jsonl"
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(first + second + line + "\n" + "".join(rest[1:]))
    assert evaluate(pairs, tmp_path / "out") == 0
    assert path.read_text().splitlines(keepends=True) == [first, second, *rest]


def kitti(folder: Path) -> Path:
    """Two frames whose near half tells Eigen's part from Garg's; returns their list."""
    lines = []
    for number in range(2):
        rng = np.random.default_rng(number)
        metres = np.linspace(60, 3, 375)[:, None] + rng.uniform(0, 2, (375, 1242))
        image = np.broadcast_to(255 - 4 * metres[..., None], (375, 1242, 3)) ** 1.5 / 16
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        Image.fromarray((metres * 256).astype(np.uint16)).save(folder / f"{number}_d.png")
        lines.append(f"{number}.png {number}_d.png 721.5\n")
    (folder / "kitti.txt").write_text("".join(lines))
    return folder / "kitti.txt"


def test_one_set_by_other_rules_is_another(tmp_path: Path, capsys: Text) -> None:
    listed = ("--list", str(kitti(tmp_path)))
    assert evaluate(tmp_path, tmp_path / "out", "--set", "kitti", *listed) == 0
    eigen = found(tmp_path / "out")
    assert evaluate(tmp_path, tmp_path / "out", "--set", "kitti-garg", *listed) == 2
    assert "another model or set" in capsys.readouterr().err
    assert evaluate(tmp_path, tmp_path / "garg", "--set", "kitti-garg", *listed) == 0
    garg = found(tmp_path / "garg")
    assert (eigen["set"], garg["set"]) == ("KITTI", "KITTI (Garg)")
    assert garg["abs_rel"] != pytest.approx(eigen["abs_rel"], rel=0.01)


MISTAKES: list[tuple[Callable[[str], str], str]] = [
    (lambda name: f"/{name}", "without a slash in front"),
    (lambda name: f"pairs\\{name}", "forward slashes"),
    (lambda name: f"/data/pairs/{name}", "without a slash in front"),
    (lambda name: f"pairs/{name}", "names are relative to this folder"),
]


@pytest.mark.parametrize(("mistake", "hint"), MISTAKES)
@pytest.mark.parametrize("bad_samples", ["0", "10"])
def test_not_one_frame_says_why_and_the_next_run_works(
    pairs: Path,
    tmp_path: Path,
    capsys: Text,
    mistake: Callable[[str], str],
    hint: str,
    bad_samples: str,
) -> None:
    options = ("--list", str(tmp_path / "list.txt"), "--bad-samples", bad_samples)
    lines = [[f"{n}_rgb.png", f"{n}_depth.png"] for n in range(5)]
    (tmp_path / "list.txt").write_text("\n".join(" ".join(map(mistake, line)) for line in lines))
    assert evaluate(pairs, tmp_path / "out", *options) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    count = 1 if bad_samples == "0" else 5
    assert last.startswith(f"error: RGB-D: not one of {count} frames can be evaluated: ")
    assert "0_rgb.png" in last and hint in last
    assert not (tmp_path / "out" / "results.json").exists()
    (tmp_path / "list.txt").write_text("\n".join(" ".join(line) for line in lines))
    assert evaluate(pairs, tmp_path / "out", *options) == 0
    assert found(tmp_path / "out")["frames"] == 5


def test_a_wrong_root_corrected_works_into_the_same_folder(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("0_rgb.png 0_depth.png\n")
    listed = ("--list", str(tmp_path / "list.txt"))
    assert evaluate(tmp_path, tmp_path / "out", *listed) == 2
    assert evaluate(pairs, tmp_path / "out", *listed) == 0
    assert found(tmp_path / "out")["abs_rel"] == pytest.approx(expected(pairs, 0))


def test_sixteen_bits_of_grey_are_what_infer_sees(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).uniform(1000, 8000, SIZE).astype(np.uint16)
    grey = (depth * 7.0 + np.random.default_rng(1).uniform(0, 3000, SIZE)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "0_rgb.png")
    Image.fromarray(depth).save(tmp_path / "0_depth.png")
    assert evaluate(tmp_path, tmp_path / "out") == 0
    known = np.full(SIZE, fill_value=True)
    error = by_hand(grey / 257.0, depth / 1000.0, known)
    assert error < 0.2 and found(tmp_path / "out")["abs_rel"] == pytest.approx(error, rel=0.02)


def unusual(folder: Path) -> dict[str, bytes]:
    """Files that stand in a set by mistake, by what is wrong with them."""
    np.save(folder / "x.npy", np.ones((*SIZE, 3), np.float32))
    arrays = {
        "rank": np.ones((*SIZE, 3), np.float32),
        "shape": np.ones(SIZE[::-1], np.float32),
        "point": np.float32(1),
        "nan": np.full(SIZE, np.nan, np.float32),
        "zero": np.zeros(SIZE, np.float32),
        "pickle": np.array([{}], dtype=object),
        "text": np.full(SIZE, "1.0"),
    }
    files = {"empty": b"", "torn": b"\x93NUMPY"}
    for name, array in arrays.items():
        np.save(folder / "x.npy", array, allow_pickle=True)
        files[name] = (folder / "x.npy").read_bytes()
    return files


def test_an_odd_sample_costs_itself_alone_diode(tmp_path: Path) -> None:
    files = unusual(tmp_path)
    Image.fromarray(np.arange(384, dtype=np.uint8).reshape(SIZE)).save(tmp_path / "rgb.png")
    np.save(tmp_path / "depth.npy", np.linspace(1, 9, 384, dtype=np.float32).reshape(*SIZE, 1))
    np.save(tmp_path / "mask.npy", np.ones(SIZE, bool))
    lines = ["rgb.png depth.npy mask.npy"]
    for name, data in files.items():
        (tmp_path / f"{name}.npy").write_bytes(data)
        lines += [f"rgb.png {name}.npy mask.npy", f"rgb.png depth.npy {name}.npy"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    options = ("--set", "diode", "--list", str(tmp_path / "list.txt"), "--bad-samples", "20")
    assert evaluate(tmp_path, tmp_path / "out", *options) == 0
    assert found(tmp_path / "out")["frames"] == 1
    assert len(found(tmp_path / "out")["skipped"]) == 2 * len(files)


@pytest.mark.parametrize("name", ["nyu", "kitti", "kitti-garg", "eth3d", "scannet", "rgbd"])
def test_an_odd_sample_costs_itself_alone(tmp_path: Path, name: str) -> None:
    size = {"nyu": (480, 640), "eth3d": SIZE}.get(name, (352, 1216))
    metres = np.linspace(2, 9, size[0] * size[1]).reshape(size)
    units = (metres * (256 if name.startswith("kitti") else 1000)).astype(np.uint16)
    Image.fromarray((metres * 20).astype(np.uint8)).save(tmp_path / "rgb.png")
    if name == "eth3d":
        metres.astype("<f4").tofile(tmp_path / "depth.png")
        (tmp_path / "zero.png").write_bytes(b"\0" * 4 * metres.size)
        (tmp_path / "nan.png").write_bytes(np.full(size, np.nan, "<f4").tobytes())
    else:
        Image.fromarray(units).save(tmp_path / "depth.png")
        Image.fromarray(units * 0).save(tmp_path / "zero.png")
        Image.fromarray(units.astype(np.uint8)).save(tmp_path / "nan.png")
    Image.fromarray(units[:32, :40]).save(tmp_path / "small.png")
    (tmp_path / "empty.png").touch()
    odd = ["empty.png", "small.png", "zero.png", "nan.png", "none.png"]
    lines = ["rgb.png depth.png 1.0", *(f"rgb.png {other} 1.0" for other in odd)]
    lines += ["empty.png depth.png 1.0", "small.png small.png 1.0"]
    if name in ("scannet", "rgbd"):
        lines.pop()  # they are of any size
    (tmp_path / "list.txt").write_text("\n".join(lines))
    options = ("--set", name, "--list", str(tmp_path / "list.txt"))
    assert evaluate(tmp_path, tmp_path / "out", *options) == 0
    assert found(tmp_path / "out")["frames"] == 1
    assert len(found(tmp_path / "out")["skipped"]) == len(lines) - 1


def test_a_picture_too_narrow_for_the_model_costs_itself_alone(tmp_path: Path) -> None:
    """DIODE's pictures are brought to 640 pixels: of 16x6400 nothing is left to look at."""
    for name, size in (("a", SIZE), ("b", (16, 6400))):
        values = np.linspace(1, 9, size[0] * size[1], dtype=np.float32).reshape(size)
        Image.fromarray((values * 20).astype(np.uint8)).save(tmp_path / f"{name}.png")
        np.save(tmp_path / f"{name}.npy", values)
        np.save(tmp_path / f"{name}_mask.npy", np.ones(size))
    (tmp_path / "list.txt").write_text("a.png a.npy a_mask.npy\nb.png b.npy b_mask.npy\n")
    options = ("--set", "diode", "--list", str(tmp_path / "list.txt"))
    assert evaluate(tmp_path, tmp_path / "out", *options) == 0
    (reason,) = found(tmp_path / "out")["skipped"]
    assert reason.startswith("b.png: ") and "too small" in reason


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "names no sample"), ("\n \n", "names no sample"), ("a.png None 1\n", "no sample")],
)
def test_an_empty_list_is_no_success(tmp_path: Path, capsys: Text, text: str, message: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    options = ("--set", "kitti", "--list", str(tmp_path / "list.txt"))
    assert evaluate(tmp_path, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--grid", "--bad-samples"])
def test_numbers_below_nothing_are_refused(
    pairs: Path, tmp_path: Path, capsys: Text, option: str
) -> None:
    assert evaluate(pairs, tmp_path / "out", option, "-1") == 2
    assert "no number below 0" in capsys.readouterr().err
