"""Golden frames: what is written is what is read, to 16 bits; what is damaged is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apdepth_deploy.bundle import Bundle, file_entry
from apdepth_deploy.bundle.golden import Golden, read_golden, write_golden
from apdepth_deploy.errors import BundleError


@pytest.fixture
def golden() -> Golden:
    """Ramps and noise; the prior's three channels are equal."""
    rng = np.random.default_rng(0)
    results = {
        "prior": np.repeat(rng.uniform(-1, 1, (1, 16, 24)), 3, axis=0),
        "latents": rng.normal(0, 3, (8, 2, 3)),
        "depth": np.linspace(0, 1, 16 * 24).reshape(16, 24),
    }
    scales = {name: float(np.abs(value).max()) for name, value in results.items()}
    singles = {name: value.astype(np.float32) for name, value in results.items()}
    return Golden("photo", rng.integers(0, 256, (16, 24, 3), np.uint8), singles, scales)


@pytest.fixture
def written(bundle: Path, golden: Golden) -> Bundle:
    opened = Bundle.open(bundle)
    opened.manifest["golden"] = {"frames": [write_golden(opened, golden)], "thresholds": {}}
    opened.write_manifest()
    return Bundle.open(bundle)


def test_a_frame_comes_back_whole_and_results_to_sixteen_bits(
    written: Bundle, golden: Golden
) -> None:
    (found,) = read_golden(written)
    np.testing.assert_array_equal(found.image, golden.image)
    assert found.results.keys() == golden.results.keys()
    for name, expected in golden.results.items():
        result = found.results[name]
        assert (result.dtype, result.shape) == (np.float32, expected.shape)
        assert 0 < np.abs(result - expected).max() <= golden.scales[name] / 65534 * 1.001
    assert found.scales == golden.scales
    with np.load(written.path("golden/photo.npz")) as stored:  # equal channels once
        assert stored["prior"].shape == (1, 16, 24)


def test_a_bundle_of_before_has_none(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    del opened.manifest["golden"]
    opened.write_manifest()
    with pytest.raises(BundleError, match="has no golden frames: export it again, without --no-v"):
        read_golden(Bundle.open(bundle))


def huge(path: Path) -> None:
    """Of few bytes, a gigabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", bytes(1 << 24))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b"PK no archive"), "no golden frame: "),
        (lambda path: np.savez(path, image=np.zeros((16, 72), np.uint8)), "prior is not a file"),
        (lambda path: np.savez(path, image=np.zeros((16, 71), np.uint8)), r"uint8 \[16, 71\]"),
        (lambda path: np.savez(path, image=np.array([{}])), "no golden frame: Object arrays"),
        (huge, "more than a frame and its results"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(
    written: Bundle, damage: Callable[[Path], Any], says: str
) -> None:
    path = written.path("golden/photo.npz")
    damage(path)
    written.manifest["files"]["golden/photo.npz"] = file_entry(path)
    with pytest.raises(BundleError, match=says):
        read_golden(written)


def test_a_flipped_bit_is_found(written: Bundle) -> None:
    path = written.path("golden/photo.npz")
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"golden/photo\.npz is damaged"):
        read_golden(written)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: g.pop("thresholds"), "'thresholds' of golden is missing"),
        (lambda g: g["frames"][0].update(height=[8, 8, 8]), r"'height' of golden\.frames\[0\]"),
        (lambda g: g["frames"][0].update(file="golden/none.npz"), "no hash for golden/none.npz"),
        (lambda g: g["frames"][0].update(height=2**20, width=2**20), "more than 2147483647 val"),
        (
            lambda g: g["frames"][0]["tensors"]["depth"].update(scale=-1),
            r"'scale' of golden\.frames\[0\]\.tensors\['depth'\]",
        ),
        (
            lambda g: g["thresholds"].update(fp32={"mean_abs": "none"}),
            r"'mean_abs' of golden\.thresholds\['fp32'\]",
        ),
    ],
)
def test_what_the_manifest_says_of_them_is_checked(
    bundle: Path, change: Callable[[Any], Any], says: str
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest["golden"])
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=says):
        Bundle.open(bundle)
