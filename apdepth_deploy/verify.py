"""Parity: the PyTorch float32 model against every graph of a bundle, stage by stage.

The place where the model and the runtime meet; thresholds stand here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.bundle import SEAMS, Bundle
from apdepth_deploy.bundle.golden import Golden, write_golden
from apdepth_deploy.errors import CheckpointError, ParityError
from apdepth_deploy.pictures.image import ImageArray, read_image, resize_image

if TYPE_CHECKING:
    from apdepth_deploy.model import ApDepth
    from apdepth_deploy.runtime.engines.verdicts import Verdict

Array = NDArray[np.float32]
#: (batch, height, width)
Size = tuple[int, int, int]
Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Bounds on a result's absolute difference from PyTorch, as shares of its largest magnitude.

    Depth is in [0, 1], and its magnitude is taken as 1.
    """

    max_abs: float | None
    mean_abs: float


#: By precision. float32 differs by summation order only; float16 carries 11 bits and bfloat16 8,
#: so a rounding is 2^-11 and 2^-8 of a value and errors grow over some hundred layers. Single
#: pixels may differ by more (an edge, a clip), so half precision is held to its mean.
THRESHOLDS = {
    "fp32": Threshold(max_abs=1e-3, mean_abs=1e-4),
    "fp16": Threshold(max_abs=None, mean_abs=2e-3),
    "bf16": Threshold(max_abs=None, mean_abs=1.6e-2),
}


@dataclasses.dataclass(frozen=True)
class Record:
    """How far one stage's result of one graph lies from PyTorch's, on one frame.

    ``psnr`` is in dB over the reference's range (None where they are equal); ``bad`` counts NaN and
    Inf; ``scale`` is what the thresholds are multiplied with.
    """

    graph: str
    precision: str
    backend: str
    frame: str
    stage: str
    max_abs: float
    mean_abs: float
    psnr: float | None
    bad: int
    scale: float
    passed: bool


@dataclasses.dataclass(frozen=True)
class Reference:
    """PyTorch's float32 results: {frame name: frame}, {frame name: {stage: result}}."""

    frames: Mapping[str, ImageArray]
    results: Mapping[str, Mapping[str, Array]]


def sample_frames(shape: Size, *ends: Size) -> dict[str, ImageArray]:
    """A photo and uniform noise of (batch, height, width), and noise at the ends of a range.

    uint8 [B,H,W,3] each.
    """
    resource = importlib.resources.files("apdepth_deploy") / "data" / "bicycle.jpg"
    with importlib.resources.as_file(resource) as path:
        photo = resize_image(read_image(path), *shape[1:])
    frames = {"photo": np.repeat(photo[None], shape[0], axis=0), "random": _noise(shape)}
    names = ("smallest", "largest")[: len(ends)]
    return frames | {name: _noise(end) for name, end in zip(names, ends, strict=True)}


def _noise(shape: Size) -> ImageArray:
    # Of 16 levels: golden frames pack into half the size.
    return 17 * np.random.default_rng(0).integers(0, 16, (*shape, 3), dtype=np.uint8)


def reference_results(model: ApDepth, shape: Size, *ends: Size) -> Reference:
    """Run the PyTorch model stage by stage on ``sample_frames``."""
    import torch

    frames = sample_frames(shape, *ends)
    results = {}
    with torch.inference_mode():
        for name, frame in frames.items():
            stages = model.stages(torch.from_numpy(frame))
            results[name] = {stage: result.numpy() for stage, result in stages.items()}
    return Reference(frames, results)


def verify_bundle(
    bundle: Bundle, reference: Reference, progress: Progress = lambda message: None
) -> list[Record]:
    """Measure every graph of a bundle and write the record into its manifest.

    Errors add up from stage to stage: each stage gets what the graph's own earlier stages gave.
    """
    from apdepth_deploy.runtime import open_chain

    records: list[Record] = []
    for graph, precision in bundle.chains:
        progress(f"verifying {graph}.{precision}")
        chain = open_chain(bundle, graph, precision, probe=True)
        for name, frame in reference.frames.items():
            results = chain.run(frame)
            for stage, expected in reference.results[name].items():
                records.append(
                    compare(
                        expected, results[stage], (graph, precision, chain.backend, name, stage)
                    )
                )
        del chain
    bundle.manifest["parity"] = [dataclasses.asdict(record) for record in records]
    bundle.write_manifest()
    return records


def compare(
    expected: Array, found: Array, key: tuple[str, str, str, str, str], scale: float | None = None
) -> Record:
    """One record; ``key`` is (graph, precision, backend, frame, stage), ``scale`` the largest
    magnitude of PyTorch's result where ``expected`` was rounded.

    Differences are over the finite values; one that is not finite is a miss by itself.
    """
    graph, precision, backend, frame, stage = key
    if expected.shape != found.shape:
        raise CheckpointError(
            f"stage {stage!r} gives {list(expected.shape)} in PyTorch and {list(found.shape)} in "
            f"{graph}.{precision}: this is not the checkpoint that was exported"
        )
    finite = np.isfinite(found)
    bad = int(finite.size - np.count_nonzero(finite))
    difference = np.abs(found[finite].astype(np.float64) - expected[finite])
    max_abs = float(difference.max(initial=0.0))
    mean_abs = float(difference.mean()) if difference.size else 0.0
    if scale is None:
        scale = scale_of(stage, expected)
    limit = THRESHOLDS[precision]
    passed = bad == 0 and mean_abs <= limit.mean_abs * scale
    if limit.max_abs is not None:
        passed = passed and max_abs <= limit.max_abs * scale
    psnr = _psnr(difference, float(np.ptp(expected)))
    return Record(
        graph, precision, backend, frame, stage, max_abs, mean_abs, psnr, bad, scale, passed
    )


def scale_of(stage: str, expected: Array) -> float:
    """What a stage's thresholds are multiplied with."""
    return 1.0 if stage == "decoder" else float(np.abs(expected).max())


def add_golden_frames(bundle: Bundle, reference: Reference) -> None:
    """Put the photo and the noise into a bundle, with PyTorch's results and the thresholds.

    The manifest is to be written by the caller.
    """
    frames = []
    for name in ("photo", "random"):
        first = {stage: result[0] for stage, result in reference.results[name].items()}
        golden = Golden(
            name,
            reference.frames[name][0],
            {SEAMS[stage]: result for stage, result in first.items()},
            {SEAMS[stage]: scale_of(stage, result) for stage, result in first.items()},
        )
        frames.append(write_golden(bundle, golden))
    thresholds = {name: dataclasses.asdict(limit) for name, limit in THRESHOLDS.items()}
    bundle.manifest["golden"] = {"frames": frames, "thresholds": thresholds}


def verify_backend(
    bundle: Bundle,
    backend: str,
    device: str = "auto",
    precision: str | None = None,
    progress: Progress = lambda message: None,
    graph: str | None = None,
) -> list[tuple[Verdict, list[Record]]]:
    """Compare every chain that a backend runs here with the golden frames, without torch.

    The verdicts are kept on this machine, for ``load`` and ``doctor``.

    Args:
        backend, device: as for ``load``; precision, graph: that one alone.

    Raises:
        BundleError: no golden frames, or a damaged file. UsageError: an unknown backend, device,
        precision or graph. BackendError: the backend runs no chain of the bundle here.
    """
    from apdepth_deploy.runtime.engines.verdicts import keep
    from apdepth_deploy.runtime.judging import golden_runs

    judged = []
    for begun, runs in golden_runs(bundle, backend, device, precision, progress, graph):
        key = begun.graph, begun.precision, backend
        records = [
            compare(run.expected, run.found, (*key, run.frame, run.stage), run.scale)
            for run in runs
        ]
        missed = [record.stage for record in records if not record.passed]
        verdict = dataclasses.replace(begun, stage=missed[0] if missed else "")
        if trouble := keep(verdict):
            progress(f"note: the verdict isn't kept: {trouble}")
        judged.append((verdict, records))
    return judged


def _psnr(difference: NDArray[np.float64], value_range: float) -> float | None:
    if not difference.any() or value_range == 0.0:
        return None
    return 20.0 * math.log10(value_range / float(np.sqrt(np.mean(difference**2))))


def raise_on_miss(records: Iterable[Record]) -> None:
    """Raises ParityError naming the first graph and stage that strays."""
    for record in records:
        if not record.passed:
            limit = THRESHOLDS[record.precision]
            found = f"{record.bad} NaN/Inf" if record.bad else f"mean {record.mean_abs:.2e}"
            raise ParityError(
                f"{record.graph}.{record.precision} strays from PyTorch, first in stage "
                f"{record.stage!r} ({record.frame} frame): {found}, max {record.max_abs:.2e}; "
                f"allowed: mean {limit.mean_abs * record.scale:.2e}, "
                + ("" if limit.max_abs is None else f"max {limit.max_abs * record.scale:.2e}, ")
                + "no NaN/Inf"
            )


def records_of(manifest: Mapping[str, Any]) -> list[Record]:
    """The parity record that a manifest carries."""
    return [Record(**entry) for entry in manifest["parity"]]
