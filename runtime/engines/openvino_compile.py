"""Graphs compiled by OpenVINO, and kept for the next start under what they were compiled from.

OpenVINO's own cache goes by a file's date, and takes what it finds. So each graph has a folder of
its own, named by the content of its files, its settings, the processor and OpenVINO's version; it
appears whole and is compared with its SHA-256 before OpenVINO sees it. The C and C++ library
(runtime/cpp/src/openvino_cache.cpp) keeps and finds the same.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apdepth_deploy.bundle import Bundle, Graph, version
from apdepth_deploy.errors import ApDepthError, BundleError, OutputError
from apdepth_deploy.files import atomic_folder, sha256
from apdepth_deploy.machine.devices import usable_cores
from apdepth_deploy.machine.telemetry import import_openvino

from .cache import cache_folder, prune, touch, why_unwritable
from .chain import one_line

#: In each folder, the SHA-256 of the other files.
_SEAL = "sha256.json"
#: Where the frames' size varies OpenVINO keeps so many prepared kernels, and by default 5,000: they
#: took 660 MB after 60 sizes instead of 290. One size needs some hundred at most.
_KERNELS = 300


@dataclasses.dataclass(frozen=True)
class Job:
    """One graph to compile.

    Attributes:
        graph, data: its files, absolute; digests: their SHA-256.
        settings: OpenVINO's, for its CPU.
    """

    graph: str
    data: str
    digests: tuple[str, str]
    settings: dict[str, Any]

    @classmethod
    def of(cls, bundle: Bundle, graph: Graph, settings: dict[str, Any], checked: bool) -> Job:
        """``checked``: the files were compared with the manifest."""
        files = [bundle.path(name).resolve() for name in (graph.file, graph.data)]
        entries = [bundle.manifest["files"][name] for name in (graph.file, graph.data)]
        digests = [entry["sha256"] for entry in entries] if checked else map(sha256, files)
        if isinstance(graph.height, list) or isinstance(graph.width, list):
            settings = {**settings, "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS}
        first, second = digests
        return cls(str(files[0]), str(files[1]), (first, second), settings)

    def entry(self, root: Path) -> Path:
        """Where it is kept below ``root``. OpenVINO also compares the file's path and date."""
        date = Path(self.graph).stat().st_mtime_ns
        parts = (
            *(version("openvino"), _processor(), usable_cores(), date),
            dataclasses.astuple(self),
        )
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))  # as C++ writes it
        return root / hashlib.sha256(text.encode()).hexdigest()[:32]

    def check(self) -> None:
        """Raises BundleError where the files are no longer those that were opened."""
        try:
            found = sha256(Path(self.graph)), sha256(Path(self.data))
        except OSError:  # it was taken away
            found = None
        if found != self.digests:
            raise BundleError(f"{self.graph} changed while it was opened: load the bundle again")


@functools.cache
def core() -> Any:
    """The openvino.Core of this process, kept to its end.

    A core gives its thread a stack for signal handlers, and at its end puts back the one that it
    found. Of two cores the second found the first one's: ended in the order of their beginning they
    leave a stack that is no longer there, and the next signal, Ctrl-C for one, is a crash.
    """
    return import_openvino().Core()


def openvino_folder() -> Path | None:
    """Where compiled graphs are kept; None without a home."""
    folder = cache_folder()
    return folder and folder / "openvino"


def compiled(job: Job, root: Path | None) -> tuple[Any, str]:
    """(openvino.CompiledModel, why it isn't kept below ``root``, or "").

    Raises RuntimeError where OpenVINO refuses the graph, BundleError where it changed meanwhile.
    """
    trouble = why_unwritable(root)
    if root is None or trouble:
        return _compile(job), trouble
    entry = job.entry(root)
    if is_whole(entry):
        touch(entry)
        return _compile(job, entry), ""
    model = None
    try:
        with new_entry(entry) as folder:
            model = _compile(job, folder)
            _seal(job, folder)
    except (OutputError, RuntimeError) as error:
        model = model or _compile(job)
        return model, "" if is_whole(entry) else one_line(error)  # "": another process was sooner
    return model, ""


@contextmanager
def new_entry(entry: Path) -> Iterator[Path]:
    """An empty folder, which takes the entry's place at the end."""
    with atomic_folder(entry, replaces=lambda damaged: True) as folder:
        yield folder
    prune(entry.parent.iterdir())


def _seal(job: Job, folder: Path) -> None:
    """Raises BundleError where the graph changed meanwhile, OSError where there was no room."""
    job.check()
    digests = _digests(folder)
    if not digests:  # OpenVINO removes what it couldn't write to the end, and says nothing
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    (folder / _SEAL).write_text(json.dumps(digests), encoding="utf-8")


def is_whole(entry: Path) -> bool:
    """Whether a folder holds what was sealed in it, to the byte, and nothing else."""
    try:
        sealed = json.loads((entry / _SEAL).read_text(encoding="utf-8"))
        return bool(sealed) and sealed == _digests(entry)
    except (OSError, ValueError):
        return False


def _compile(job: Job, cache: Path | None = None) -> Any:
    settings = job.settings if cache is None else {**job.settings, "CACHE_DIR": str(cache)}
    return core().compile_model(Path(job.graph), "CPU", settings)


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in folder.iterdir() if file.name != _SEAL}


def _processor() -> str:
    """What OpenVINO's choice of instructions depends on: the model, and what is switched on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    first = lines[: lines.index("")] if "" in lines else lines
    told = [line for line in first if line.startswith(("model name", "flags", "Features", "CPU "))]
    return "\n".join(told) or f"{platform.machine()} {platform.processor()}"


def fill_in_this_process(job: str, folder: str) -> None:
    """A whole process: fill a ``new_entry`` for a ``Job`` given as JSON; failures go to stderr."""
    fields = json.loads(job)
    fields["digests"] = tuple(fields["digests"])
    try:
        _compile(Job(**fields), Path(folder))
        _seal(Job(**fields), Path(folder))
    except (ApDepthError, RuntimeError, OSError, MemoryError) as error:
        sys.exit(one_line(error))
