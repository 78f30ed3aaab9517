"""A backend on this machine against a bundle's golden frames, without torch: its verdict is kept.

Thresholds are those of ``apdepth_deploy.verify``; knows nothing about how a file holds a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.bundle import SEAMS, Bundle, axis_sizes
from apdepth_deploy.bundle.golden import Golden, read_golden
from apdepth_deploy.errors import BackendError, UsageError
from apdepth_deploy.machine.tensorrt import TARGETS
from apdepth_deploy.verify import Record, compare

from .choice import BACKENDS, check_names
from .engines.chain import STAGE_OF, Chain
from .engines.tensorrt.backend import open_tensorrt
from .engines.verdicts import Verdict, hashes, keep
from .engines.wanted import Wanted

#: torch is what they are compared with.
JUDGED = tuple(name for name in BACKENDS if name != "torch")
#: What a fused graph alone shows: whatever went wrong in it, it went wrong on the way to depth.
_WHOLE = "depth"


def judge(
    bundle: Bundle,
    backend: str,
    device: str = "auto",
    precision: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> list[tuple[Verdict, list[Record]]]:
    """Every chain of a bundle that the backend runs here, compared with the golden frames.

    Args:
        precision: that one alone. Others as in ``load``.

    Raises:
        BundleError: no golden frames, or a damaged file. UsageError: an unknown backend, device or
        precision. BackendError: the backend runs no chain of the bundle here.
    """
    if backend not in JUDGED:
        raise UsageError(f"can't judge backend {backend!r}: choose one of {', '.join(JUDGED)}")
    check_names(backend, Wanted(precision, device=device))
    golden = read_golden(bundle)
    found = []
    for kind, chain in _chains(bundle, backend, device, precision, progress):
        with closing(chain):
            progress(f"comparing {kind}.{chain.precision} with the golden frames")
            records = compare_chain(chain, kind, golden)
            missed = [record.stage for record in records if not record.passed]
            verdict = Verdict(
                backend,
                kind,
                chain.precision,
                chain.place(),
                hashes(bundle, chain.files),
                missed[0] if missed else "",
                str(bundle.folder.absolute()),
            )
            if trouble := keep(verdict):
                progress(f"note: the verdict isn't kept: {trouble}")
            found.append((verdict, records))
    return found


def _chains(
    bundle: Bundle,
    backend: str,
    device: str,
    precision: str | None,
    progress: Callable[[str], None],
) -> Iterator[tuple[str, Chain]]:
    """(kind, opened) one after the other; what the backend doesn't run is told. Raises BackendError
    where that is all of them."""
    refused: list[BackendError] = []
    opened = 0
    asked = [(k, p) for k, p in bundle.chains if precision in (None, p)]
    if precision is not None and not asked:  # an arithmetic, not a graph's: the backend decides
        asked = [(kind, precision) for kind in dict(bundle.chains)]
    for kind, one in asked:
        wanted = Wanted(precision=one, graph=kind, device=device)
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


def compare_chain(chain: Chain, kind: str, golden: Sequence[Golden]) -> list[Record]:
    """How far a chain strays from the golden results, stage by stage.

    Staged graphs run alone first, each on PyTorch's own results of the stages before: a frame
    called "photo alone". Then all of them in use, and at last different frames at once where the
    chain takes several.
    """
    smallest, _, largest = axis_sizes(chain.batch)
    records: list[Record] = []
    for one in golden if kind == "staged" else ():
        records += _alone(chain, one, smallest)
    for one in golden:
        records += _in_use(chain, kind, one.name, [one] * smallest)
    if largest > 1:
        mixed = [golden[number % len(golden)] for number in range(largest)]
        records += _in_use(chain, kind, "batch", mixed)
    return records


def _alone(chain: Chain, golden: Golden, copies: int) -> Iterator[Record]:
    tensors: dict[str, NDArray[Any]] = {"image": golden.image, **golden.results}
    given = {name: np.repeat(value[None], copies, axis=0) for name, value in tensors.items()}
    for graph in chain.graphs:
        for name, found in chain.run_graph(graph, given).items():
            key = "staged", chain.precision, chain.backend, f"{golden.name} alone", STAGE_OF[name]
            yield compare(given[name], found, key, golden.scales[name])


def _in_use(chain: Chain, kind: str, frame: str, golden: Sequence[Golden]) -> Iterator[Record]:
    found = chain.run(np.stack([one.image for one in golden]))
    for stage, name in SEAMS.items():
        if stage not in found or name not in golden[0].results:
            continue
        expected = np.stack([one.results[name] for one in golden])
        scale = max(one.scales[name] for one in golden)
        record = compare(
            expected, found[stage], (kind, chain.precision, chain.backend, frame, stage), scale
        )
        yield dataclasses.replace(record, stage=_WHOLE) if kind == "fused" else record
