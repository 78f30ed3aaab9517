"""TensorRT for RTX compiles its kernels on the GPU that runs them; here they are kept on disk.

One file per engine, GPU, driver and TensorRT. A missing, damaged or foreign file costs the time to
compile again, never more: it is replaced by a good one. Knows nothing about engines' contents.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apdepth_deploy.errors import OutputError
from apdepth_deploy.files import atomic_file
from apdepth_deploy.machine.gpus import sm

from ..cache import prune, touch

_DIGEST = hashlib.sha256().digest_size


def cache_name(gpu: Mapping[str, Any], driver: str, version: str, plan_sha256: str) -> str:
    """A file name that no other GPU, driver, TensorRT or engine has."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", gpu["name"]).strip("-")
    return (
        f"{name}.{sm(gpu['compute_capability'])}.driver{driver}.trtrtx{version}"
        f".{plan_sha256[:16]}.cache"
    )


class RuntimeCache:
    """TensorRT's IRuntimeCache and the file it is kept in. Safe to use from several threads.

    Attributes:
        loaded: whether kernels compiled earlier were taken over.
    """

    def __init__(self, cache: Any, path: Path | None) -> None:
        """Fill TensorRT's ``cache`` from ``path``, if what lies there is whole and fits.

        Without a path nothing is kept.
        """
        self._cache = cache
        self._path = path
        self._lock = threading.Lock()
        blob = _read(path) if path else None
        self.loaded = blob is not None and bool(cache.deserialize(blob))
        self._saved = blob if self.loaded else None
        if path and self.loaded:
            touch(path)

    def save(self) -> None:
        """Write what TensorRT has compiled, if that is news. A disk that refuses is no error."""
        if self._path is None:
            return
        with self._lock:
            serialized = self._cache.serialize()
            blob = b"" if serialized is None else bytes(memoryview(serialized))
            if not blob or blob == self._saved:
                return
            try:
                with atomic_file(self._path) as temporary:
                    temporary.write_bytes(hashlib.sha256(blob).digest() + blob)
                prune(self._path.parent.glob("*.cache"))
            except OutputError:
                return  # the next start compiles again
            self._saved = blob


def _read(path: Path) -> bytes | None:
    """The kernels, where the file is there and whole: damaged bytes must not reach TensorRT."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    blob = data[_DIGEST:]
    return blob if hashlib.sha256(blob).digest() == data[:_DIGEST] and blob else None
