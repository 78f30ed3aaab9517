"""The predictor: pictures of any size to depth of that size, from any thread."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import ApDepthError, Predictor, load
from apdepth_deploy.errors import BundleError, ImageError
from apdepth_deploy.pictures.image import resize_depth, resize_image

MakeBundle = Callable[..., Path]


@pytest.fixture(scope="module")
def predictor(micro_bundle: Path) -> Predictor:
    """One engine from first to last, so that equal frames give equal depth."""
    return load(micro_bundle, "onnxruntime")


def mean(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What ``mean_bundle`` gives where nothing is resized."""
    return np.asarray(image.astype(np.float64).mean(axis=-1) / 255.0)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_depth_has_the_pictures_size_and_stays_in_range(predictor: Predictor) -> None:
    assert predictor.frame_size == (64, 96)
    for size in ((64, 96), (70, 101), (33, 200), (16, 16), (480, 640)):
        depth = predictor(noise(*size))
        assert depth.shape == size and depth.dtype == np.float32
        assert np.isfinite(depth).all() and depth.min() >= 0.0 and depth.max() <= 1.0
        assert np.ptp(depth) > 0.0
        depth *= 2.0  # the caller's own, whatever its size


def test_a_picture_is_resized_to_the_frame_and_its_depth_back(
    predictor: Predictor, photo: NDArray[np.uint8]
) -> None:
    frame = resize_image(photo, 64, 96)
    expected = resize_depth(predictor(frame), *photo.shape[:2])
    np.testing.assert_array_equal(predictor(photo), expected)


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[::2, 1::2], np.s_[..., ::-1]])
def test_a_view_into_a_larger_array_is_read_as_it_looks(
    predictor: Predictor, photo: NDArray[np.uint8], view: Any
) -> None:
    assert not photo[view].flags.c_contiguous
    np.testing.assert_array_equal(predictor(photo[view]), predictor(photo[view].copy()))


def test_a_frame_sized_view_and_a_read_only_array_are_taken(predictor: Predictor) -> None:
    frame = noise(64, 96)
    expected = predictor(frame)
    np.testing.assert_array_equal(predictor(np.asfortranarray(frame)), expected)
    frame.setflags(write=False)
    np.testing.assert_array_equal(predictor(frame), expected)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 96, 3), np.float32),
        np.zeros((64, 96), np.uint8),
        np.zeros((64, 96, 4), np.uint8),
        np.zeros((1, 64, 96, 3), np.uint8),
        np.zeros((15, 96, 3), np.uint8),
        "photo.jpg",
    ],
)
def test_what_is_no_picture_is_refused(predictor: Predictor, image: Any) -> None:
    with pytest.raises(ImageError):
        predictor(image)


def test_threads_share_a_predictor(predictor: Predictor) -> None:
    frames = [noise(64 + n, 96) for n in range(4)]
    expected = [predictor(frame) for frame in frames]
    wrong: list[int] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for turn in range(12):
            which = (number + turn) % 4
            if not np.array_equal(predictor(frames[which]), expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_staged_bundle_gives_the_fused_graphs_depth(
    tmp_path: Path, micro_bundle: Path, photo: NDArray[np.uint8], precision: str
) -> None:
    staged = Path(shutil.copytree(micro_bundle, tmp_path / "staged"))
    manifest = json.loads((staged / "manifest.json").read_text())
    manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["name"] != "fused"]
    manifest["files"] = {k: v for k, v in manifest["files"].items() if "fused" not in k}
    (staged / "manifest.json").write_text(json.dumps(manifest))
    for file in staged.glob("onnx/fused*"):
        file.unlink()
    predictor = load(staged, precision=precision)
    assert "staged" in predictor.reason
    expected = load(micro_bundle, precision=precision)(photo)
    np.testing.assert_allclose(
        predictor(photo), expected, atol={"fp32": 1e-5, "fp16": 0.02}[precision]
    )


def test_a_fixed_batch_is_filled(mean_bundle: MakeBundle) -> None:
    image = noise(64, 96)
    depth = load(mean_bundle(2, 64, 96))(image)
    assert depth.shape == (64, 96)
    np.testing.assert_allclose(depth, mean(image), atol=1e-6)


def test_within_its_range_a_picture_keeps_its_size(mean_bundle: MakeBundle) -> None:
    predictor = load(mean_bundle([2, 3, 4], [64, 72, 128], [64, 96, 160]))
    assert predictor.frame_size is None
    image = noise(72, 160)
    np.testing.assert_allclose(predictor(image), mean(image), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        ((64, 64), (64, 64)),
        ((67, 93), (64, 96)),
        ((69, 91), (72, 88)),
        ((16, 17), (64, 64)),
        ((1000, 2000), (128, 160)),
    ],
)
def test_outside_it_a_picture_gets_the_nearest_size_that_is_taken(
    mean_bundle: MakeBundle, size: tuple[int, int], frame: tuple[int, int]
) -> None:
    image = noise(*size)
    depth = load(mean_bundle(1, [64, 72, 128], [64, 96, 160]))(image)
    expected = mean(resize_image(image, *frame)).astype(np.float32)
    np.testing.assert_allclose(depth, resize_depth(expected, *size), atol=1e-6)


def test_one_fixed_side_stays_fixed(mean_bundle: MakeBundle) -> None:
    image = noise(100, 120)
    depth = load(mean_bundle(1, 64, [64, 96, 160]))(image)
    expected = mean(resize_image(image, 64, 120)).astype(np.float32)
    np.testing.assert_allclose(depth, resize_depth(expected, 100, 120), atol=1e-6)


def test_a_graph_that_disagrees_with_its_manifest_fails_in_words(mean_bundle: MakeBundle) -> None:
    folder = mean_bundle(1, 64, 96)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["graphs"][0]["height"] = 72
    path.write_text(json.dumps(manifest))
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(BundleError, match="frames of 1x72x96") as caught:
            load(folder, backend)
        assert isinstance(caught.value, ApDepthError) and "\n" not in str(caught.value)
