"""How long a bundle takes: several backends in turns, in one process, on one frame.

Measures and returns numbers; ``command`` prints them, ``report`` draws them.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from apdepth_deploy.bundle import Bundle, Engine, Graph
from apdepth_deploy.errors import BackendError, ParityError, UsageError
from apdepth_deploy.machine.devices import gpu_facts, nvidia_gpus
from apdepth_deploy.pictures.image import ImageArray, read_image, resize_image
from apdepth_deploy.verify import sample_frames

from ...choice import load
from ...engines.chain import Chain
from .layers import Layer, as_layers
from .machine import PeakMemory, machine_facts, versions
from .results import Measured, Memory, Plan
from .roofline import (
    Peak,
    Roofline,
    chain_bytes,
    chain_gflop,
    chain_weights,
    cpu_peak,
    gpu_peak,
    roofline,
)
from .timing import (
    Clock,
    Progress,
    Stage,
    Timing,
    time_in_turns,
    time_stages,
)

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Subject:
    """A loaded, warm chain, and what its loading took."""

    chain: Chain
    precision: str
    reason: str
    warnings: tuple[str, ...]
    load_seconds: float
    first_ms: float
    host_growth: int | None
    gpu_growth: int | None

    @property
    def label(self) -> str:
        return f"{self.chain.backend} {self.precision}"

    @property
    def gpu(self) -> int | None:
        """Index of the GPU it runs on; None for a CPU."""
        kind, _, index = self.chain.device.partition(":")
        return int(index or 0) if kind == "cuda" else None


def profile_bundle(
    folder: Path, plan: Plan, progress: Progress, clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """Measure a bundle; returns JSON data, as docs/profiling.md describes it.

    Raises:
        BundleError, BackendError, UsageError, CheckpointError: as ``load``.
        ImageError: a picture that can't be read. ParityError: depth that is not finite.
    """
    return _Bench(Bundle.open(folder), plan, progress, clock).measure()


class _Bench:
    """One run of ``profile``."""

    def __init__(self, bundle: Bundle, plan: Plan, progress: Progress, clock: Clock) -> None:
        self.bundle, self.plan, self.progress, self.clock = bundle, plan, progress, clock
        self.frames = _frames(bundle, plan.image)
        self.machine = machine_facts()
        self.peaks: dict[str, Peak] = {}

    def measure(self) -> dict[str, Any]:
        subjects = [
            self.prepare(backend, precision)
            for backend in self.plan.backends
            for precision in self.plan.precisions
        ]
        _refuse_twins(subjects)
        on_gpus = [subject.gpu for subject in subjects if subject.gpu is not None]
        before, missing = gpu_facts(on_gpus[0]) if on_gpus else (None, "nothing ran on a GPU")
        self.progress(f"{self.plan.runs} runs of " + " and ".join(s.label for s in subjects))
        works = [self.one_run(subject.chain) for subject in subjects]
        seconds = time_in_turns(works, self.plan.runs, self.progress, self.clock)
        after = gpu_facts(on_gpus[0])[0] if on_gpus else None
        for subject in subjects:
            if subject.chain.device not in self.peaks:
                self.peaks[subject.chain.device] = self.peak(subject, after)
        base = float(np.median(seconds[0]))
        measured = [
            self.finish(subject, taken, float(np.median(taken)) / base)
            for subject, taken in zip(subjects, seconds, strict=True)
        ]
        return {
            "schema_version": SCHEMA_VERSION,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "bundle": _bundle_facts(self.bundle),
            "frame": _frame_facts(self.frames, self.plan.image),
            "runs": self.plan.runs,
            "warm_up": self.plan.warm_up,
            "machine": self.machine,
            "gpu": {"before": before, "after": after} if before else None,
            "gpu_missing": missing or None,
            "versions": versions(),
            "backends": [dataclasses.asdict(result) for result in measured],
        }

    def prepare(self, backend: str, precision: str | None) -> Subject:
        """Load one chain and warm it up."""
        plan, clock = self.plan, self.clock
        self.progress(f"loading and warming up {backend} {precision or ''}".rstrip())
        used, memory, start = _gpu_used(plan.device), PeakMemory(), clock()
        predictor = load(
            self.bundle.folder,
            backend,
            precision=precision,
            device=plan.device,
            checkpoint=plan.checkpoint,
        )
        chain, loaded = predictor.chain, clock()
        depth = chain.run(self.frames)["decoder"]
        first = clock()
        if not np.isfinite(depth).all():
            raise ParityError(
                f"{chain.backend} {predictor.precision}: depth has NaN or Inf; `verify` the bundle"
            )
        chain.settle()  # what `infer` would end on is what is timed
        for _ in range(plan.warm_up):
            chain.run(self.frames)
        now = _gpu_used(plan.device)
        return Subject(
            chain=chain,
            precision=predictor.precision,
            reason=predictor.reason,
            warnings=predictor.warnings,
            load_seconds=loaded - start,
            first_ms=(first - loaded) * 1e3,
            host_growth=memory.growth(),
            gpu_growth=None if used is None or now is None else max(0, now - used),
        )

    def one_run(self, chain: Chain) -> Callable[[], object]:
        return lambda: chain.run(self.frames)

    def peak(self, subject: Subject, facts: dict[str, Any] | None) -> Peak:
        """What the subject's device can do at best."""
        if subject.gpu is None:
            self.progress("measuring what the CPU can do")
            return cpu_peak(self.machine["cpu"])
        name = facts and facts["name"]
        gpus = nvidia_gpus()
        return gpu_peak(name or (gpus[subject.gpu]["name"] if gpus else "unknown GPU"), facts)

    def finish(self, subject: Subject, seconds: list[float], ratio: float) -> Measured:
        """What is measured of one chain by itself, after all have run in turns."""
        chain, batch, notes = subject.chain, self.frames.shape[0], list(subject.warnings)
        device = chain.device_seconds(self.frames, self.plan.runs)
        if device is None:
            place = "a CPU has no copies to leave out" if subject.gpu is None else "not offered"
            notes.append(f"{subject.label}, without host copies: {place}")
        return Measured(
            label=subject.label,
            backend=chain.backend,
            device=chain.device,
            precision=subject.precision,
            reason=subject.reason,
            load_seconds=subject.load_seconds,
            first_ms=subject.first_ms,
            ratio=ratio,
            host=Timing.of(seconds, batch),
            device_only=Timing.of(device, batch) if device else None,
            stages=self.stages(subject, notes),
            layers=self.layers(subject, notes) if self.plan.layers else None,
            memory=self.memory(subject),
            roofline=self.roofline(subject, seconds, device, notes),
            notes=tuple(notes),
        )

    def stages(self, subject: Subject, notes: list[str]) -> tuple[Stage, ...] | None:
        """From the staged graphs, also where the fused one was timed."""
        found = self.staged(subject)
        if isinstance(found, str):
            notes.append(f"{subject.label}, stages: {found}")
            return None
        self.progress(f"stages of {subject.label}")
        graphs = self.bundle.chain_graphs("staged", subject.precision)
        gflop = {graph.name: chain_gflop([graph]) for graph in graphs}
        return time_stages(found, self.frames, self.plan.runs, gflop, self.clock)

    def staged(self, subject: Subject) -> Chain | str:
        """The subject's staged chain, or why there is none."""
        if subject.chain.graphs != ("fused",):
            return subject.chain
        if subject.chain.backend == "torch":
            return "the PyTorch model is timed as a whole"
        try:
            predictor = load(
                self.bundle.folder,
                subject.chain.backend,
                precision=subject.precision,
                graph="staged",
                device=self.plan.device,
            )
        except BackendError as error:
            return str(error)
        return predictor.chain

    def layers(self, subject: Subject, notes: list[str]) -> tuple[Layer, ...] | None:
        self.progress(f"layers of {subject.label}")
        seconds = subject.chain.layer_seconds(self.frames, min(self.plan.runs, 10))
        if seconds is None:
            notes.append(f"{subject.label}, layers: this engine can't tell them apart")
            return None
        return as_layers(seconds)

    def memory(self, subject: Subject) -> Memory:
        engines = _engines(self.bundle, subject)
        graphs = _graphs(self.bundle, subject.precision)
        told = sum(engine.weights_bytes for engine in engines)
        return Memory(
            host_growth=subject.host_growth,
            gpu_growth=subject.gpu_growth if subject.gpu is not None else None,
            weights=told or chain_weights(graphs, subject.precision),
            activations=max((e.activation_bytes for e in engines), default=None),
        )

    def roofline(
        self, subject: Subject, host: list[float], device: list[float] | None, notes: list[str]
    ) -> Roofline | None:
        graphs = _graphs(self.bundle, subject.precision)
        gflop = chain_gflop(graphs)
        if not gflop:
            notes.append(f"{subject.label}, roofline: the manifest doesn't say a call's arithmetic")
            return None
        moved = chain_bytes(graphs, subject.precision)
        median, basis = (host, "host") if device is None else (device, "device")
        peak = self.peaks[subject.chain.device]
        return roofline(gflop, moved, float(np.median(median)), basis, peak)


def _frames(bundle: Bundle, image: Path | None) -> ImageArray:
    """uint8 [B,H,W,3] of the (opt) size that the graphs take."""
    batch, height, width = bundle.frame_shape
    if image is None:
        return sample_frames((batch, height, width))["photo"]
    return np.repeat(resize_image(read_image(image), height, width)[None], batch, axis=0)


def _refuse_twins(subjects: list[Subject]) -> None:
    labels = [(subject.chain.backend, subject.precision) for subject in subjects]
    for backend, precision in labels:
        if labels.count((backend, precision)) > 1:
            raise UsageError(f"{backend} {precision} is named twice: name each backend once")


def _gpu_used(device: str) -> int | None:
    """Bytes in use on the GPU that "cuda:N" names, else on the first; None without one."""
    number = device.partition(":")[2]
    facts = gpu_facts(int(number) if number.isdecimal() else 0)[0] if nvidia_gpus() else None
    return facts["memory_used_bytes"] if facts else None


def _graphs(bundle: Bundle, precision: str) -> tuple[Graph, ...]:
    """The chain of a precision, fused before staged; where the bundle has none (torch runs fp32
    from any bundle), that of another: the arithmetic and the number of weights are the same."""
    chains = sorted(bundle.chains, key=lambda chain: (chain[1] != precision, chain[0] != "fused"))
    return bundle.chain_graphs(*chains[0])


def _engines(bundle: Bundle, subject: Subject) -> list[Engine]:
    """What the manifest says of the engines that run, where the backend has engines."""
    gpus = nvidia_gpus()
    here = gpus[subject.gpu]["compute_capability"] if gpus and subject.gpu is not None else None
    names = {graph.name for graph in _graphs(bundle, subject.precision)}
    fits = {
        engine.graph: engine
        for engine in bundle.engines
        if (engine.target, engine.precision) == (subject.chain.backend, subject.precision)
        and engine.graph in names
        and here in (None, *engine.compute_capabilities)
    }
    return list(fits.values())


def _bundle_facts(bundle: Bundle) -> dict[str, Any]:
    return {
        "folder": str(bundle.folder),
        "spec": bundle.spec.name,
        "random_weights": bundle.random_weights,
        "graphs": [
            {
                "graph": graph.name,
                "precision": graph.precision,
                "parameters": graph.parameters,
                "nodes": graph.nodes,
                "gflop": chain_gflop([graph]),
            }
            for graph in bundle.graphs
        ],
    }


def _frame_facts(frames: ImageArray, image: Path | None) -> dict[str, Any]:
    batch, height, width = frames.shape[:3]
    name = "the photo in the package" if image is None else str(image)
    return {"batch": batch, "height": height, "width": width, "image": name}
