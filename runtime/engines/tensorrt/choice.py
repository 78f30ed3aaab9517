"""Which engines of a bundle run here, or a line that says why none does: before any is loaded.

An engine is bound to its TensorRT's version, the operating system and kinds of GPU. Everything is
read off the manifest; knows nothing about running.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from apdepth_deploy.bundle import KINDS, Bundle, Engine
from apdepth_deploy.errors import BackendError, BundleError
from apdepth_deploy.machine.devices import nvidia_gpus
from apdepth_deploy.machine.gpus import rtx_supports, sm
from apdepth_deploy.machine.tensorrt import installed, known_bad, load_tensorrt, platform

from ..cuda import driver_version
from ..verdicts import Place, Verdict, hashes, kept

#: What a GPU runs best, best first.
_PREFERRED = ("fp16", "bf16", "fp32")


class UnfitError(BackendError):
    """No engine runs here. ``why`` is the reason alone, without what to do about it."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(f"{why}: {remedy}")
        self.why = why


@dataclasses.dataclass(frozen=True)
class Choice:
    """Engines from frame to depth, in order, and the GPU to run them on.

    Attributes:
        kind: "fused" or "staged".
        version: TensorRT's; gpu: {"name", "compute_capability"}; ordinal: which one it is.
        warning: what is known to go wrong with this TensorRT on this GPU.
        checked: the plans were compared with the manifest's SHA-256.
    """

    kind: str
    precision: str
    engines: tuple[Engine, ...]
    target: str
    version: str
    gpu: dict[str, Any]
    ordinal: int
    warning: str | None
    checked: bool = False

    @property
    def place(self) -> Place:
        """What decides what the engines compute."""
        return place_of_gpu(self.gpu, self.version)

    @property
    def batch(self) -> Any:
        return self.engines[0].batch

    @property
    def height(self) -> Any:
        return self.engines[0].height

    @property
    def width(self) -> Any:
        return self.engines[0].width


def choose_engines(
    bundle: Bundle,
    target: str,
    precision: str | None = None,
    kind: str | None = None,
    ordinal: int = 0,
    *,
    trusting: bool = True,
) -> Choice:
    """The engines that fit this machine: the best precision, fused before staged.

    Args:
        kind: only "fused" ones, or only "staged" ones.
        trusting: also those that `verify` has found to miss on this machine.

    Raises UnfitError naming both sides of what doesn't fit, and what mends it.
    """
    gpus = nvidia_gpus()
    engines = [engine for engine in bundle.engines if engine.target == target]
    if not gpus and not (engines and installed(target)):  # neither would help
        raise _no_gpu(target)
    capability = gpus[ordinal]["compute_capability"] if ordinal < len(gpus) else None
    if not engines:
        raise UnfitError(
            f"{bundle.folder} has no {target} engine", build_line(bundle, target, capability)
        )
    version = load_tensorrt(target).__version__

    def keep(fits: Callable[[Engine], bool], why: Callable[[Iterable[Engine]], str]) -> None:
        nonlocal engines
        kept = [engine for engine in engines if fits(engine)]
        if not kept:
            raise UnfitError(why(engines), build_line(bundle, target, capability, engines))
        engines = kept

    keep(
        lambda engine: precision in (None, engine.precision),
        lambda all_: (
            f"its {target} engines are {_list(e.precision for e in all_)}, not {precision}"
        ),
    )
    keep(
        lambda engine: engine.version == version,
        lambda all_: (
            f"{_names(all_)} was built by {target} {_list(e.version for e in all_)} "
            f"and this is {version}"
        ),
    )
    keep(
        lambda engine: engine.platform == platform(),
        lambda all_: (
            f"{_names(all_)} was built for {_list(e.platform for e in all_)} "
            f"and this is {platform()}"
        ),
    )
    if not gpus:
        raise _no_gpu(target)
    if capability is None:
        raise UnfitError(
            f"there is no cuda:{ordinal}, only {len(gpus)} NVIDIA GPU(s)", "use --device cuda"
        )
    keep(
        lambda engine: capability in engine.compute_capabilities,
        lambda all_: (
            f"{_names(all_)} was built for compute capability "
            f"{_list(c for e in all_ for c in e.compute_capabilities)} and cuda:{ordinal} "
            f"({gpus[ordinal]['name']}) has {capability}"
        ),
    )
    place = None if trusting else place_of_gpu(gpus[ordinal], version)
    kind, chosen = _chain(bundle, engines, target, capability, kind, place)
    warning = known_bad(target, version, (capability,))
    return Choice(
        kind, chosen[0].precision, chosen, target, version, gpus[ordinal], ordinal, warning
    )


def check_hashes(bundle: Bundle, choice: Choice) -> Choice:
    """The choice, checked. Raises BundleError where a plan isn't what was built."""
    for engine in choice.engines:
        try:
            bundle.check_hash(engine.file)
        except BundleError as error:
            line = build_line(bundle, choice.target, choice.gpu["compute_capability"])
            raise BundleError(f"{error}. For the engine alone: {line}") from error
    return dataclasses.replace(choice, checked=True)


def place_of_gpu(gpu: Mapping[str, Any], version: str) -> Place:
    return Place(f"{gpu['name']} ({gpu['compute_capability']})", driver_version(), version)


def verdict_of(bundle: Bundle, engines: Sequence[Engine], place: Place) -> Verdict | None:
    """What is known of engines: by `verify` on this machine, else by `build` on one like it."""
    target, precision = engines[0].target, engines[0].precision
    files = hashes(bundle, (engine.file for engine in engines))
    verdict = kept(target, precision, place, files)
    here = dataclasses.asdict(place)
    if verdict is None and all(one.verified and one.verified_on == here for one in engines):
        return Verdict(target, engines[0].graph, precision, place, files, "")
    return verdict


def doubt(bundle: Bundle, choice: Choice) -> str | None:
    """What a user has to know of engines that no comparison here has proven; None for others."""
    verdict = verdict_of(bundle, choice.engines, choice.place)
    if verdict is None:
        return (
            f"the {choice.kind} {choice.precision} engine was never verified on this GPU, driver "
            f"and TensorRT: `apdepth-deploy verify {bundle.folder} --backend {choice.target}`"
        )
    return None if verdict.passed else f"{_missed(choice.kind, verdict)}: its depth is wrong"


def _missed(kind: str, verdict: Verdict) -> str:
    return (
        f"the {kind} {verdict.precision} engine strays from PyTorch on this GPU, driver and "
        f"TensorRT, first in stage {verdict.stage!r} (`verify`, {verdict.made[:10]})"
    )


def build_line(
    bundle: Bundle, target: str, capability: str | None, engines: Iterable[Engine] = ()
) -> str:
    """The command that makes a fitting engine for this GPU, or for those of ``engines``.

    Where TensorRT for RTX doesn't run on this GPU, that is standard TensorRT's.
    """
    if target == "tensorrt-rtx" and capability and not rtx_supports(capability):
        target = "tensorrt"
    capabilities = [capability] if capability else _unique(engines, "compute_capabilities")
    gpus = "".join(f" --gpu {sm(one)}" for one in capabilities)
    return f"`apdepth-deploy build {bundle.folder} --target {target}{gpus}`"


def _unique(engines: Iterable[Engine], field: str) -> list[str]:
    return list(dict.fromkeys(one for engine in engines for one in getattr(engine, field)))


def _no_gpu(target: str) -> UnfitError:
    return UnfitError(
        f"{target} needs an NVIDIA GPU and its driver, and this machine has none",
        "use --backend onnxruntime, or auto",
    )


def _chain(
    bundle: Bundle,
    engines: list[Engine],
    target: str,
    capability: str,
    wanted: str | None,
    place: Place | None,
) -> tuple[str, tuple[Engine, ...]]:
    """("fused" or "staged", an engine for every graph of it); where a place is given, none that
    missed there."""
    found = {engine.label: engine for engine in reversed(engines)}
    missed = ""
    for precision in _PREFERRED:
        for kind in KINDS if wanted is None else (wanted,):
            graphs = bundle.chain_graphs(kind, precision)
            chosen = tuple(found[graph.label] for graph in graphs if graph.label in found)
            if not graphs or len(chosen) < len(graphs):
                continue
            verdict = place and verdict_of(bundle, chosen, place)
            if not verdict or verdict.passed:
                return kind, chosen
            missed = missed or _missed(kind, verdict)
    if missed:
        raise UnfitError(missed, build_line(bundle, target, capability))
    raise UnfitError(
        f"{_names(engines)}, which fit here, are no {wanted or 'whole'} way from frame to depth",
        build_line(bundle, target, capability),
    )


def _names(engines: Iterable[Engine]) -> str:
    return _list(engine.label for engine in engines)


def _list(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
