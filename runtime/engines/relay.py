"""ONNX Runtime for the first frames, OpenVINO for those after: the one starts sooner, the other is
faster.

OpenVINO takes seconds to compile a graph: it does so after some frames, in a process of its own. A
thread could not be ended, so that the program's exit would wait; and OpenVINO sets the locale of
the whole process to "C" as long as it compiles. What was compiled is then read back between two
frames, a fraction of a second. docs/performance.md has the figures.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import IO

from apdepth_deploy.bundle import Bundle, Graph
from apdepth_deploy.errors import ApDepthError, BackendError
from apdepth_deploy.machine.telemetry import import_openvino
from apdepth_deploy.pictures.image import ImageArray

from .cache import why_unwritable
from .chain import Chain, Finished, FloatArray, one_line
from .onnxruntime_backend import takes_path
from .openvino_compile import Job, is_whole, new_entry, openvino_folder

#: Frames before OpenVINO compiles: fewer are done sooner without.
PATIENCE = 20
#: Bytes of weights up to which both engines may stand in memory for a moment.
MOST_BYTES = 256 << 20

_FILL = """
import sys
from apdepth_deploy.runtime.engines.openvino_compile import fill_in_this_process
fill_in_this_process(*sys.argv[1:])
"""


def can_relay(bundle: Bundle, graphs: tuple[Graph, ...]) -> bool:
    """Whether ONNX Runtime can start on the graphs, and leave room, and this program is a Python
    that can be started once more (a host that embeds one, or a frozen program, is not)."""
    name = Path(sys.executable or "").stem.lower()
    return (
        importlib.util.find_spec("onnxruntime") is not None
        and takes_path(bundle.folder)
        and sum(bundle.manifest["files"][graph.data]["size"] for graph in graphs) <= MOST_BYTES
        and name.startswith(("python", "pypy"))
        and not getattr(sys, "frozen", False)
    )


class Relay(Chain):
    """A chain that is replaced by a faster one of the same graphs. May be shared by threads.

    ``backend`` and ``reason`` are those of the one that runs. A forked process keeps its own.
    """

    def __init__(
        self, first: Chain, jobs: tuple[Job, ...], second: Callable[[Path], Chain]
    ) -> None:
        """
        Args:
            first: runs from the start, with its ``reason`` set.
            jobs: what is to be compiled; second: opens the other chain on what was kept.
        """
        self._adopt(first)
        trouble = why_unwritable(openvino_folder())
        if trouble:
            self.warnings = (f"what OpenVINO compiles can't be kept for the next start: {trouble}",)
        self._frames = itertools.count(1)
        self._lock = threading.Lock()
        self._steps = _steps(jobs, second)
        self._pid = os.getpid()
        self._close = weakref.finalize(self, _end, self._steps, self._pid)  # also at exit

    def run(self, frames: ImageArray, finished: Finished | None = None) -> Mapping[str, FloatArray]:
        """See ``Chain.run``."""
        results = self._runner.run(frames, finished)
        if next(self._frames) >= PATIENCE and self._lock.acquire(blocking=False):
            try:
                self._step()
            finally:
                self._lock.release()
        return results

    def settle(self) -> None:
        """See ``Chain.settle``."""
        with self._lock:
            while self._step():
                time.sleep(0.02)

    def close(self) -> None:
        """See ``Chain.close``; the chain that runs stays."""
        with self._lock:
            self._close()
        self._runner.close()

    def layer_seconds(self, frames: ImageArray, runs: int) -> list[tuple[str, float]] | None:
        """See ``Chain.layer_seconds``."""
        return self._runner.layer_seconds(frames, runs)

    def _step(self) -> bool:
        """Go on with the hand-over; whether there is more to do."""
        if self._pid != os.getpid():
            return False
        try:
            chain = next(self._steps)
        except StopIteration:
            return False
        except (ApDepthError, OSError, RuntimeError, MemoryError) as error:
            self.reason += f"; openvino could not take over: {one_line(error)}"
            return False
        if chain is not None:
            self._adopt(chain)
        return True

    def _adopt(self, chain: Chain) -> None:
        self.graphs = chain.graphs
        self.batch, self.height, self.width = chain.batch, chain.height, chain.width
        self._runner, self.precision = chain, chain.precision
        self.backend, self.device, self.reason = chain.backend, chain.device, chain.reason


def _steps(
    jobs: tuple[Job, ...], second: Callable[[Path], Chain]
) -> Generator[Chain | None, None, None]:
    """None for each step on the way to the second chain, then the chain.

    Raises BackendError where a graph isn't compiled in the end, and what ``second`` raises.
    """
    with _place() as root:
        for job in jobs:
            if not is_whole(job.entry(root)):
                yield from _compiling(job, root)
        import_openvino()
        yield None
        yield second(root)
    _return_memory()


def _compiling(job: Job, root: Path) -> Iterator[None]:
    with new_entry(job.entry(root)) as folder:
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            words = json.dumps(dataclasses.asdict(job)), str(folder)
            with _python(_FILL, *words, stderr=said) as process:
                while process.poll() is None:
                    yield
            said.seek(0)
            last = said.read().strip().rpartition("\n")[2]
        if not is_whole(folder):
            raise BackendError(last or f"its compilation ended with {process.returncode}")


@contextlib.contextmanager
def _python(script: str, *arguments: str, stderr: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that finds the modules that this one does; killed where it isn't waited for."""
    path = {"PYTHONPATH": os.pathsep.join(map(str, sys.path)), "PYTHONSAFEPATH": "1"}
    with subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env={**os.environ, **path},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _end(steps: Generator[Chain | None, None, None], pid: int) -> None:
    """What was begun is taken back, by the process that began it."""
    if pid == os.getpid():
        with contextlib.suppress(ValueError):  # a thread of a program that ends is at it
            steps.close()


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    """Where compiled graphs are kept, or a folder for the moment."""
    folder = openvino_folder()
    if folder is not None and not why_unwritable(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="apdepth-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


def _return_memory() -> None:
    """glibc keeps what was freed for later, here the whole of the first engine."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
