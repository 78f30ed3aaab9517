"""Pictures to infer from, and what must be there afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeBundle = Callable[..., Path]
RESULTS = ("_color.png", "_depth.npy", "_depth.png")


@pytest.fixture
def bundle(mean_bundle: MakeBundle) -> Path:
    return mean_bundle(1, 64, 96)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png 40x30, sub/b.jpg 20x50 and a text beside them."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    _picture(folder / "a.png", 30, 40)
    _picture(folder / "sub" / "b.jpg", 50, 20)
    (folder / "notes.txt").write_text("no picture")
    return folder


def _picture(path: Path, height: int = 32, width: int = 32) -> Path:
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def _results(output: Path) -> list[str]:
    found = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
    stems = sorted({name.removesuffix("_depth.npy") for name in found if name.endswith(".npy")})
    assert found == sorted(stem + ending for stem in stems for ending in RESULTS)
    return stems


@pytest.fixture
def picture() -> Callable[..., Path]:
    """(path, height=32, width=32) -> the path, where a picture of noise now is."""
    return _picture


@pytest.fixture
def results() -> Callable[[Path], list[str]]:
    """Names of the pictures whose three results are in a folder, and nothing else."""
    return _results
