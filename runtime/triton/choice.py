"""Which form of a bundle Triton serves, from which graphs or engines, and where.

Everything is read off the manifest; the server may be another machine than this one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from apdepth_deploy.bundle import KINDS, PRECISIONS, Bundle, Engine, Graph
from apdepth_deploy.errors import BackendError, UsageError
from apdepth_deploy.machine.tensorrt import known_bad

from ..engines.wanted import PREFERRED

BACKENDS = ("auto", "tensorrt", "onnxruntime", "python")

#: ("fused" or "staged", precision).
Chain = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the user asked for; None = whatever suits.

    Attributes:
        backend: one of ``BACKENDS``.
        devices: "cpu"; or "cuda" for every GPU of the server; or some of "cuda:0", "cuda:1", ...
        instances: copies of each model on each device.
        name: the model's in requests.
    """

    backend: str = "auto"
    precision: str | None = None
    graph: str | None = None
    devices: tuple[str, ...] = ()
    instances: int = 1
    name: str = "apdepth"

    def fits(self, chain: Chain) -> bool:
        kind, precision = chain
        return self.graph in (None, kind) and self.precision in (None, precision)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is served.

    Attributes:
        backend: "tensorrt", "onnxruntime" or "python".
        chain: ("fused" or "staged", precision); graphs: its graphs in order.
        engines: for tensorrt, those of every graph: one or more, for different GPUs.
        gpus: None = the CPU, () = every GPU of the server, or their numbers.
        notes: what the user has to know of it, in words.
    """

    backend: str
    chain: Chain
    graphs: tuple[Graph, ...]
    engines: tuple[Engine, ...]
    gpus: tuple[int, ...] | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        place = "cpu"
        if self.gpus is not None:
            place = ", ".join(f"cuda:{n}" for n in self.gpus) or "every GPU"
        return f"{self.backend} on {place}, {' '.join(self.chain)}"


def choose(bundle: Bundle, wanted: Wanted) -> Choice:
    """The best of what was asked for: TensorRT first, fp16 on GPUs, fused before staged.

    Raises UsageError for options that can't work, BackendError where the bundle lacks what they
    need.
    """
    _check(wanted)
    plans = _plans(bundle)
    backend = wanted.backend
    if backend == "auto":
        usable = "cpu" not in wanted.devices and any(map(wanted.fits, plans))
        backend = "tensorrt" if usable else "onnxruntime"
    gpus = _gpus(wanted.devices or (("cpu",) if backend == "python" else ("cuda",)))
    if backend == "tensorrt":
        if gpus is None:
            raise UsageError("tensorrt runs on NVIDIA GPUs, not on cpu: use --backend onnxruntime")
        if not plans:
            raise BackendError(_no_plan(bundle))
    chains = list(plans) if backend == "tensorrt" else bundle.chains
    chain = _best(chains, "cpu" if gpus is None else "cuda", wanted, f"{bundle.folder}: {backend}")
    engines = plans[chain] if backend == "tensorrt" else ()
    notes = tuple(_notes(bundle, backend, engines))
    return Choice(backend, chain, bundle.chain_graphs(*chain), engines, gpus, notes)


def _check(wanted: Wanted) -> None:
    choices = {
        "backend": (wanted.backend, BACKENDS),
        "precision": (wanted.precision, (None, *PRECISIONS)),
        "graph": (wanted.graph, (None, *KINDS)),
    }
    for what, (value, allowed) in choices.items():
        if value not in allowed:
            there = ", ".join(name for name in allowed if name)
            raise UsageError(f"unknown {what} {value!r}: choose one of {there}")
    if wanted.instances < 1:
        raise UsageError(f"--instances must be at least 1, not {wanted.instances}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", wanted.name):
        raise UsageError(f"--name {wanted.name!r} is not made of letters, digits, _ . and -")


def _gpus(devices: Sequence[str]) -> tuple[int, ...] | None:
    """None for the CPU, () for every GPU, or their numbers."""
    for device in devices:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise UsageError(f"unknown device {device!r}: choose cpu, cuda, or cuda:N for each GPU")
    if set(devices) == {"cpu"}:
        return None
    if len(set(devices)) > 1 and {"cpu", "cuda"} & set(devices):
        raise UsageError(f"--device {' and '.join(devices)} don't go together: cuda is every GPU")
    return tuple(sorted({int(device[5:]) for device in devices if device != "cuda"}))


def _best(chains: Sequence[Chain], place: str, wanted: Wanted, who: str) -> Chain:
    for precision in PREFERRED[place]:
        for kind in KINDS:
            if wanted.fits((kind, precision)) and (kind, precision) in chains:
                return kind, precision
    there = ", ".join(" ".join(chain) for chain in chains) or "nothing"
    asked = " ".join(word for word in (wanted.graph, wanted.precision) if word)
    raise BackendError(
        f"{who} on {place} can take {there} of it, and wanted is "
        f"{asked or ' or '.join(PREFERRED[place])}: export that, or change --precision, --graph "
        "or --device"
    )


def _plans(bundle: Bundle) -> dict[Chain, tuple[Engine, ...]]:
    """Whole chains of standard TensorRT engines, of the newest version where there are several."""
    built = [engine for engine in bundle.engines if engine.target == "tensorrt"]
    found = {}
    for version in sorted({engine.version for engine in built}, key=_numbers):
        for chain in bundle.chains:
            labels = {graph.label for graph in bundle.chain_graphs(*chain)}
            engines = [e for e in built if e.version == version and e.label in labels]
            if {engine.label for engine in engines} == labels:
                found[chain] = tuple(engines)
    return found


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _no_plan(bundle: Bundle) -> str:
    rtx = any(engine.target == "tensorrt-rtx" for engine in bundle.engines)
    others = ", only tensorrt-rtx ones, which Triton's tensorrt backend can't load" if rtx else ""
    instead = "python --device cuda" if rtx else "onnxruntime"
    return (
        f"{bundle.folder} has no standard TensorRT engine for a whole way from frame to depth"
        f"{others}: `apdepth-deploy build {bundle.folder} --target tensorrt` on a GPU like the "
        f"server's, or use --backend {instead}"
    )


def _notes(bundle: Bundle, backend: str, engines: Sequence[Engine]) -> Iterator[str]:
    if backend == "tensorrt":
        version, platform = engines[0].version, engines[0].platform
        capabilities = sorted({c for engine in engines for c in engine.compute_capabilities})
        yield (
            f"the server must have TensorRT {version} on {platform} and GPUs of compute "
            f"capability {', '.join(capabilities)}: anything else refuses the plan"
        )
        bad = known_bad("tensorrt", version, tuple(capabilities))
        if bad:
            yield bad
    elif backend == "python":
        yield "the server's Python must have apdepth-deploy and an engine library installed"
    elif any(engine.target == "tensorrt-rtx" for engine in bundle.engines):
        yield (
            "the tensorrt-rtx engines are not served: Triton's tensorrt backend loads standard "
            "TensorRT only; --backend python --device cuda runs them"
        )
    if bundle.random_weights:
        yield "the weights are random: this depth means nothing"
