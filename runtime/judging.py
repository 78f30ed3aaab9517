"""A bundle's golden frames through the chains that a backend runs on this machine, without torch.

Knows nothing about thresholds (``apdepth_deploy.verify``), nor how a file holds a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.bundle import SEAMS, Bundle, axis_sizes
from apdepth_deploy.bundle.golden import Golden, read_golden
from apdepth_deploy.errors import BackendError, UsageError
from apdepth_deploy.machine.tensorrt import TARGETS

from .choice import BACKENDS, check_names
from .engines.chain import STAGE_OF, Chain
from .engines.tensorrt.backend import open_tensorrt
from .engines.verdicts import Verdict, hashes
from .engines.wanted import Wanted

#: torch is what they are compared with.
JUDGED = tuple(name for name in BACKENDS if name != "torch")
#: What a fused graph alone shows: whatever went wrong in it, it went wrong on the way to depth.
_WHOLE = "depth"

Progress = Callable[[str], None]


class Run(NamedTuple):
    """One stage's result beside PyTorch's: both float32, with the batch.

    ``frame``: the golden frame's name, "NAME alone" where the stage got PyTorch's own results, or
    "batch" for different frames at once; ``scale``: the largest magnitude of PyTorch's result.
    """

    frame: str
    stage: str
    expected: NDArray[np.float32]
    found: NDArray[np.float32]
    scale: float


def golden_runs(
    bundle: Bundle,
    backend: str,
    device: str,
    precision: str | None,
    progress: Progress,
    graph: str | None = None,
) -> Iterator[tuple[Verdict, Iterator[Run]]]:
    """(what runs where, with ``stage`` still "", its runs) of each chain that the backend takes.

    The runs are to be read before the next chain is asked for. Raises as ``verify.verify_backend``.
    """
    if backend not in JUDGED:
        raise UsageError(f"can't judge backend {backend!r}: choose one of {', '.join(JUDGED)}")
    wanted = Wanted(precision, graph, device)
    check_names(backend, wanted)
    golden = read_golden(bundle)
    folder = str(bundle.folder.absolute())
    for kind, chain in _chains(bundle, backend, wanted, progress):
        with closing(chain):
            progress(f"comparing {kind}.{chain.precision} with the golden frames")
            files = hashes(bundle, chain.files)
            verdict = Verdict(backend, kind, chain.precision, chain.place(), files, "", folder)
            yield verdict, _runs(chain, kind, golden)


def _chains(
    bundle: Bundle, backend: str, wanted: Wanted, progress: Progress
) -> Iterator[tuple[str, Chain]]:
    """(kind, opened) one after the other; what the backend doesn't run is told. Raises BackendError
    where that is all of them."""
    refused: list[BackendError] = []
    opened = 0
    precision = wanted.precision
    chains = [chain for chain in bundle.chains if wanted.graph in (None, chain[0])]
    asked = [chain for chain in chains if precision in (None, chain[1])]
    if precision is not None and not asked:  # an arithmetic, not a graph's: the backend decides
        asked = [(kind, precision) for kind in dict(chains)]
    for kind, one in asked:
        wanted = dataclasses.replace(wanted, precision=one, graph=kind)
        try:
            if backend in TARGETS:
                chain: Chain = open_tensorrt(backend, bundle, wanted, probe=True)
            else:
                chain = BACKENDS[backend](bundle, wanted)
        except BackendError as error:
            refused.append(error)
            continue
        opened += 1
        yield kind, chain
    if not opened and refused:
        raise refused[0]
    for reason in refused:
        progress(f"note: {reason}")


def _runs(chain: Chain, kind: str, golden: Sequence[Golden]) -> Iterator[Run]:
    """Staged graphs alone first, then all of them in use, at last different frames at once."""
    smallest, _, largest = axis_sizes(chain.batch)
    for one in golden if kind == "staged" else ():
        yield from _alone(chain, one, smallest)
    for one in golden:
        yield from _in_use(chain, kind, one.name, [one] * smallest)
    if largest > 1:
        mixed = [golden[number % len(golden)] for number in range(largest)]
        yield from _in_use(chain, kind, "batch", mixed)


def _alone(chain: Chain, golden: Golden, copies: int) -> Iterator[Run]:
    tensors: dict[str, NDArray[Any]] = {"image": golden.image, **golden.results}
    given = {name: np.repeat(value[None], copies, axis=0) for name, value in tensors.items()}
    for graph in chain.graphs:
        for name, found in chain.run_graph(graph, given).items():
            frame, scale = f"{golden.name} alone", golden.scales[name]
            yield Run(frame, STAGE_OF[name], given[name], found, scale)


def _in_use(chain: Chain, kind: str, frame: str, golden: Sequence[Golden]) -> Iterator[Run]:
    found = chain.run(np.stack([one.image for one in golden]))
    for stage, name in SEAMS.items():
        if stage in found and name in golden[0].results:
            expected = np.stack([one.results[name] for one in golden])
            scale = max(one.scales[name] for one in golden)
            named = _WHOLE if kind == "fused" else stage
            yield Run(frame, named, expected, found[stage], scale)
