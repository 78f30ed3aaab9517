"""Kernels on disk: taken where they fit, compiled again where not, and never half a file."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apdepth_deploy import load
from apdepth_deploy.runtime.engines.cache import cache_folder
from apdepth_deploy.runtime.engines.tensorrt.runtime_cache import RuntimeCache, cache_name

Add = Callable[..., Path]
MakeBundle = Callable[..., Path]
FRAME = np.full((32, 48, 3), 51, np.uint8)


def run(folder: Path) -> bool:
    """One prediction, right; whether kernels were taken over from the disk."""
    predictor: Any = load(folder, "tensorrt-rtx")
    np.testing.assert_allclose(predictor(FRAME), 0.2, atol=1e-6)
    return bool(predictor.chain._engines[0].cache.loaded)


@pytest.fixture
def bundle(gpu: Any, mean_bundle: MakeBundle, add_engines: Add) -> Path:
    return add_engines(mean_bundle(1, 32, 48))


def test_kernels_are_kept_for_this_gpu_driver_and_version(
    gpu: Any, bundle: Path, caches: Path
) -> None:
    assert not run(bundle)
    (file,) = caches.iterdir()
    version = gpu.trt.__version__
    assert file.name.startswith(f"NVIDIA-Test-GPU.sm89.driver13000.trtrtx{version}.")
    before = file.stat()
    assert run(bundle)
    after = file.stat()
    assert after.st_ino == before.st_ino  # not rewritten


@pytest.mark.parametrize("damage", [b"", b"short", "flip", "cut"])
def test_a_damaged_file_is_replaced_and_never_reaches_tensorrt(
    gpu: Any, bundle: Path, caches: Path, damage: Any
) -> None:
    run(bundle)
    (file,) = caches.iterdir()
    good = file.read_bytes()
    bad = {"flip": good[:-1] + bytes([good[-1] ^ 1]), "cut": good[:-3]}.get(damage, damage)
    file.write_bytes(bad)
    predictor: Any = load(bundle, "tensorrt-rtx")
    assert predictor.chain._engines[0].cache._cache._given is None
    predictor(FRAME)
    assert file.read_bytes() == good


def test_what_another_driver_compiled_is_compiled_again(gpu: Any, bundle: Path) -> None:
    run(bundle)
    gpu.trt._kernels = b"for a newer driver:"
    assert not run(bundle)
    assert run(bundle)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cant_be_written_is_no_error(bundle: Path, caches: Path) -> None:
    caches.mkdir(parents=True)
    caches.chmod(0o500)
    assert not run(bundle)


def test_that_nothing_can_be_kept_is_said_once(
    gpu: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    warning, _ = load(bundle, "tensorrt-rtx").warnings
    assert warning.startswith("TensorRT compiles kernels at every start, for none can be kept: /pr")


def test_unchecked_the_key_is_the_plan_that_is_there(gpu: Any, bundle: Path, caches: Path) -> None:
    run(bundle)
    plan = next((bundle / "engines").iterdir())
    plan.write_bytes(plan.read_bytes() + b" ")
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][f"engines/{plan.name}"]["size"] += 1
    path.write_text(json.dumps(manifest))
    predictor: Any = load(bundle, "tensorrt-rtx", check_hashes=False)
    assert not predictor.chain._engines[0].cache.loaded
    predictor(FRAME)
    digests = {file.name.split(".")[-2] for file in caches.iterdir()}
    assert hashlib.sha256(plan.read_bytes()).hexdigest()[:16] in digests and len(digests) == 2


@pytest.mark.parametrize("obstacle", ["file", "folder"])
def test_what_stands_in_the_way_is_no_error(bundle: Path, caches: Path, obstacle: str) -> None:
    if obstacle == "file":
        caches.parent.mkdir()
        caches.touch()
    else:
        run(bundle)
        (file,) = caches.iterdir()
        file.unlink()
        file.mkdir()
    assert not run(bundle)


def test_without_a_home_nothing_is_kept(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", lambda path: (_ for _ in ()).throw(RuntimeError()))
    assert cache_folder() is None
    assert not run(bundle)


def test_names_differ_where_kernels_do() -> None:
    gpu = {"name": "NVIDIA GeForce RTX 4090", "compute_capability": "8.9"}
    names = {
        cache_name(gpu, "13000", "1.7", "a" * 64),
        cache_name({**gpu, "name": "NVIDIA L4"}, "13000", "1.7", "a" * 64),
        cache_name(gpu, "12090", "1.7", "a" * 64),
        cache_name(gpu, "13000", "1.8", "a" * 64),
        cache_name(gpu, "13000", "1.7", "b" * 64),
    }
    assert len(names) == 5 and not any("/" in name or " " in name for name in names)


WRITER = """
import sys
from pathlib import Path
from apdepth_deploy.runtime.engines.tensorrt.runtime_cache import RuntimeCache

class Kernels:
    count = 0
    def deserialize(self, blob):
        assert len(set(blob)) == 1 and len(blob) > 100_000, "a torn file was read"
        return True
    def serialize(self):
        self.count += 1
        return bytes([int(sys.argv[2])]) * (100_000 + self.count)

for _ in range(60):
    cache = RuntimeCache(Kernels(), Path(sys.argv[1]))
    cache.save()
    cache.save()
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    """Whoever is last wins; nobody ever reads a mixture."""
    path = tmp_path / "kernels.cache"
    commands = [[sys.executable, "-c", WRITER, str(path), str(number)] for number in (1, 2)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    for writer in writers:
        _, errors = writer.communicate()
        assert (writer.returncode, errors) == (0, b"")
    assert [file.name for file in tmp_path.iterdir()] == ["kernels.cache"]

    class Kernels:
        def deserialize(self, blob: bytes) -> bool:
            return len(set(blob)) == 1

    assert RuntimeCache(Kernels(), path).loaded
