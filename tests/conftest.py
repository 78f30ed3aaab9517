"""Shared parts: a micro model in every real layout, and one bundle of it per session."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import importlib.metadata
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch
from filelock import FileLock

from apdepth_deploy.spec import CONVENTIONS, PRESETS, ModelSpec, without_prior

# Networks this small spend their time waiting for each other's threads.
torch.set_num_threads(1)
# Tracing makes and drops so many objects that looking for circles takes a tenth of its time.
gc.set_threshold(100_000, 50, 100)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first where workers share the tests: they end together."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """What a fixture can't get is told once, at the fixture, not at each test that asks for it."""
    report = yield
    if call.excinfo is not None and isinstance(report.longrepr, tuple):
        for frame in call.excinfo.traceback:
            if Path(frame.path).name == "conftest.py":
                report.longrepr = (str(frame.path), frame.lineno + 1, report.longrepr[2])
    return report


ROOT = Path(__file__).parents[1]
#: Kept from run to run, for exporting takes longer than most that is tested with it.
MICRO = ROOT / "out" / "tests" / "micro"


def make_micro_spec(**changes: Any) -> ModelSpec:
    """The smallest model with every part of the real one: strides, skips, attentions, prior."""
    tiny = PRESETS["tiny"]
    unet = {
        **tiny.unet,
        "block_out_channels": [16, 32],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": [1, 2],
        "cross_attention_dim": 24,
        "norm_num_groups": 8,
    }
    vae = {**tiny.vae, "block_out_channels": [8, 8, 16, 16], "norm_num_groups": 4}
    assert tiny.prior is not None
    backbone = {
        **tiny.prior["backbone_config"],
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 1,
        "image_size": 70,
        "out_indices": [1, 2, 3, 4],
    }
    prior = {
        **tiny.prior,
        "backbone_config": backbone,
        "reassemble_hidden_size": 64,
        "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 16,
    }
    spec = ModelSpec("micro", unet, vae, prior, (2, 24), CONVENTIONS["v1.1"])
    return dataclasses.replace(spec, **changes)


@pytest.fixture(scope="session")
def micro_spec() -> ModelSpec:
    return make_micro_spec()


@pytest.fixture(scope="session")
def micro_bundle(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A verified bundle of the micro model, fused and staged, fp32 and fp16, 64x96. Read only.

    Exported where something that it is made from has changed; each run of the tests has a copy.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "micro" / "bundle"
    folder.parent.mkdir(exist_ok=True)
    MICRO.mkdir(parents=True, exist_ok=True)
    with FileLock(MICRO / "lock"):
        if not folder.exists():
            shutil.copytree(_kept_micro_bundle(), folder)
    return folder


def _kept_micro_bundle() -> Path:
    folder, made_from = MICRO / "bundle", MICRO / "made_from"
    origin = _origin()
    if not made_from.exists() or made_from.read_text() != origin:
        made_from.unlink(missing_ok=True)
        _export_micro(folder)
        made_from.write_text(origin)
    return folder


def _export_micro(folder: Path) -> None:
    from apdepth_deploy.export import FrameShape, export_bundle
    from apdepth_deploy.model import ApDepth

    export_bundle(
        ApDepth.from_spec(make_micro_spec()),
        folder,
        kinds=("fused", "staged"),
        precisions=("fp32", "fp16"),
        shape=FrameShape.fixed(1, 64, 96),
    )


def _origin() -> str:
    """SHA-256 of the sources that export, of what is installed, and of this file."""
    digest = hashlib.sha256(sys.version.encode())
    rooms = ROOT / "apdepth_deploy", ROOT / "export"
    sources = (path for room in rooms for path in room.rglob("*.py"))
    for path in sorted([*sources, Path(__file__)]):
        digest.update(path.read_bytes())
    installed = {f"{found.name} {found.version}" for found in importlib.metadata.distributions()}
    digest.update("\n".join(sorted(installed)).encode())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def bare_checkpoint(tmp_path_factory: pytest.TempPathFactory, micro_spec: ModelSpec) -> Path:
    """The micro model without a prior: the quickest whole model to export. Read only."""
    from apdepth_deploy.checkpoint import save_checkpoint
    from apdepth_deploy.model import ApDepth

    folder = tmp_path_factory.mktemp("bare") / "checkpoint"
    save_checkpoint(ApDepth.from_spec(without_prior(micro_spec)), folder)
    return folder


@pytest.fixture(scope="session")
def file_limit() -> Callable[[int], AbstractContextManager[None]]:
    """(bytes) -> a context in which a longer file can't be written, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

    return limited


@pytest.fixture
def photo() -> np.ndarray:
    """A picture-like array: smooth colour ramps with an edge, uint8 [70, 101, 3]."""
    y, x = np.mgrid[0:70, 0:101]
    ramp = np.stack([x * 2, y * 3, np.where(x > y, 200, 30)], axis=-1)
    return ramp.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """(script, check=True, **options of subprocess.run) -> a fresh interpreter that has run it."""

    def run(script: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=check, **options)

    return run


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder by its relative name."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    return read


@pytest.fixture(scope="session")
def write_hypersim() -> Callable[[Path, int], None]:
    """Writes ``RAW/ai_001_001`` as Hypersim is released: so many frames with a wall at 3 m."""
    return _write_hypersim


def _write_hypersim(raw: Path, frames: int) -> None:
    import h5py

    rows, columns = np.indices((768, 1024))
    x, y = columns + 0.5 - 512, rows + 0.5 - 384
    distance = 3.0 * np.sqrt(x**2 + y**2 + 886.81**2) / 886.81
    distance[0, 0] = np.nan
    entity = np.ones((768, 1024), np.int32)
    entity[-100:] = -1
    color = np.full((768, 1024, 3), 0.5) + columns[..., None] / 2048
    for folder, name, array in (
        ("final", "color", color.astype(np.float16)),
        ("geometry", "depth_meters", distance.astype(np.float16)),
        ("geometry", "render_entity_id", entity),
    ):
        place = raw / "ai_001_001" / "images" / f"scene_cam_00_{folder}_hdf5"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(frames):
            with h5py.File(place / f"frame.{number:04d}.{name}.hdf5", "w") as file:
                file.create_dataset("dataset", data=array, compression="gzip")
