"""Bundle -> engines in the bundle. Needs TensorRT and onnx; neither torch nor, for RTX, a GPU."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx

from apdepth_deploy.bundle import ITEM_SIZE, Bundle, Engine, Graph, file_entry
from apdepth_deploy.bundle.onnx_file import check_weights
from apdepth_deploy.errors import BackendError, ExportError, UsageError
from apdepth_deploy.files import atomic_file
from apdepth_deploy.machine.devices import nvidia_gpus
from apdepth_deploy.machine.gpus import compute_capability, rtx_supports, sm
from apdepth_deploy.machine.tensorrt import (
    TARGETS,
    known_bad,
    load_tensorrt,
    platform,
    rtx_capabilities,
)

from .engine_builder import Plan, build_plan
from .engine_verify import verify_built

#: What TensorRT for RTX builds for where nothing is asked: the RTX 30, 40 and 50 series.
RTX_SERIES = ("8.6", "8.9", "12.0")

_TYPE_NAMES = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16"}

Progress = Callable[[str], None]


def build_engines(
    bundle: str | Path,
    target: str,
    gpus: Sequence[str] = (),
    *,
    graphs: Sequence[str] = (),
    precisions: Sequence[str] = (),
    workspace: int | None = None,
    progress: Progress = lambda message: None,
) -> list[Engine]:
    """Build an engine from each graph of a bundle and enter it in the manifest.

    An engine of the same name is replaced. Each is entered as soon as it is built: a failure
    leaves those before it.

    Args:
        bundle: the folder that ``export`` wrote.
        target: "tensorrt-rtx" or "tensorrt".
        gpus: compute capabilities or product names, all in one engine; or "current", the GPU
            here. By default the RTX 30, 40 and 50 series for TensorRT for RTX, and the GPU here
            for TensorRT.
        graphs: "fused", "staged"; by default all there are. precisions: likewise.
        workspace: bytes of scratch memory that a layer may take; None = TensorRT's default.
        progress: called with a line before each engine; its ``detail``, if it has one, with what
            the builder is doing.

    Raises:
        UsageError: an argument that can't work. BackendError: TensorRT is not installed, or can't
            build for that GPU here. BundleError: a damaged bundle. ExportError: the builder fails.
        OutputError: the engine can't be written. ParityError: the engines stray from PyTorch on
        the GPU here; they are in the bundle, marked as not verified.
    """
    trt, capabilities = prepare_target(target, gpus)
    opened = Bundle.open(bundle)
    chosen = _choose(opened, graphs, precisions)
    warnings = known_bad(target, trt.__version__, capabilities), _not_for_this_gpu(target)
    for warning in filter(None, warnings):
        progress(f"warning: {warning}")
    engines = []
    for graph in chosen:
        for file in (graph.file, graph.data):
            opened.check_hash(file)
        check_weights(opened.path(graph.file), opened.path(graph.data))
        names = ", ".join(sm(capability) for capability in capabilities)
        progress(f"building {graph.label} for {names} with {target} {trt.__version__}")
        engine, plan = _build(opened, graph, trt, target, capabilities, workspace, progress)
        _enter(opened.folder, engine, plan)
        progress(_summary(engine))
        engines.append(engine)
    return verify_built(opened.folder, target, engines, progress)


def prepare_target(target: str, gpus: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    """(TensorRT's module, compute capabilities to build for), or the reason why not.

    Raises UsageError and BackendError as ``build_engines`` does.
    """
    if target not in TARGETS:
        raise UsageError(f"unknown target {target!r}: choose one of {', '.join(TARGETS)}")
    current = "current" in gpus
    if current and len(gpus) > 1:
        raise UsageError(
            "--gpu current stands alone: an engine is for the GPU here, or for named ones"
        )
    asked = [] if current else sorted({compute_capability(gpu) for gpu in gpus}, key=float)
    if target == "tensorrt":
        return load_tensorrt(target), _of_this_gpu(asked)
    chosen = _of_this_gpu(()) if current else tuple(asked or RTX_SERIES)
    _require_rtx(chosen)
    trt = load_tensorrt(target)
    known = rtx_capabilities(trt)
    unknown = [] if current else [capability for capability in chosen if capability not in known]
    if unknown:
        raise BackendError(
            f"TensorRT for RTX {trt.__version__} builds for compute capabilities "
            f"{', '.join(known)}, not {unknown[0]}: use --gpu current on that GPU"
        )
    return trt, chosen


def _require_rtx(capabilities: Sequence[str]) -> None:
    for capability in capabilities:
        if not rtx_supports(capability):
            raise BackendError(
                f"TensorRT for RTX does not run on compute capability {capability}: "
                "use --target tensorrt on that GPU"
            )


def _not_for_this_gpu(target: str) -> str | None:
    """What a user has to know who builds on a GPU that can't run the result."""
    here = [gpu["compute_capability"] for gpu in nvidia_gpus()][:1]
    if target == "tensorrt" or all(map(rtx_supports, here)):
        return None
    return (
        f"the GPU here (compute capability {here[0]}) does not run TensorRT for RTX: "
        "these engines are for others, and --target tensorrt builds for it"
    )


def _of_this_gpu(asked: Sequence[str]) -> tuple[str, ...]:
    """Standard TensorRT builds on the GPU that the engine is for; so does "current"."""
    here = [gpu["compute_capability"] for gpu in nvidia_gpus()]
    or_rtx = ", or use --target tensorrt-rtx" if all(map(rtx_supports, asked)) else ""
    if not here:
        raise BackendError(
            "this engine is built on the GPU it is for, and there is none here: build on the "
            f"target machine{or_rtx and or_rtx + ' with a named --gpu'}"
        )
    if asked and list(asked) != here[:1]:
        raise BackendError(
            f"TensorRT builds for the GPU here ({here[0]}), not for {', '.join(asked)}: build on "
            f"that machine{or_rtx}"
        )
    return (here[0],)


def _choose(bundle: Bundle, kinds: Sequence[str], precisions: Sequence[str]) -> list[Graph]:
    chosen = [
        graph
        for graph in bundle.graphs
        if (not kinds or graph.kind in kinds) and (not precisions or graph.precision in precisions)
    ]
    if not chosen:
        there = ", ".join(graph.label for graph in bundle.graphs) or "none"
        raise UsageError(f"no such graph in {bundle.folder}; it has {there}")
    return chosen


def _build(
    bundle: Bundle,
    graph: Graph,
    trt: Any,
    target: str,
    capabilities: tuple[str, ...],
    workspace: int | None,
    progress: Progress,
) -> tuple[Engine, Plan]:
    detail = getattr(progress, "detail", lambda line: None)
    path = bundle.path(graph.file)
    asked = capabilities if target == "tensorrt-rtx" else ()
    try:
        plan = build_plan(trt, path, graph, asked, workspace, detail)
    except ExportError as error:
        if "7.5" in capabilities:
            raise ExportError(
                f"{error}. Not every graph builds for Turing: leave sm75 out"
            ) from error
        raise
    gpus = "+".join(sm(capability) for capability in capabilities)
    short = TARGETS[target][2]
    engine = Engine(
        graph=graph.name,
        precision=graph.precision,
        target=target,
        version=trt.__version__,
        compute_capabilities=capabilities,
        platform=platform(),
        file=f"engines/{graph.label}.{gpus}.{short}{trt.__version__}.engine",
        batch=graph.batch,
        height=graph.height,
        width=graph.width,
        weights=count_weights(path),
        weights_bytes=plan.weights_bytes,
        activation_bytes=plan.activation_bytes,
        layers=plan.layers,
        seconds=round(plan.seconds, 1),
    )
    return engine, plan


def count_weights(path: Path) -> dict[str, int]:
    """Floating-point weights of an ONNX graph by type: {"fp16": 540_000, "fp32": 170}."""
    counts: Counter[str] = Counter()
    for tensor in onnx.load(str(path), load_external_data=False).graph.initializer:
        name = _TYPE_NAMES.get(onnx.TensorProto.DataType.Name(tensor.data_type))
        if name is not None:
            counts[name] += math.prod(tensor.dims)
    return dict(counts)


def _enter(folder: Path, engine: Engine, plan: Plan) -> None:
    """Write the plan, then the manifest; at every moment the manifest tells the truth."""
    bundle = Bundle.open(folder)  # as it is now: another build may have written meanwhile
    with atomic_file(bundle.path(engine.file)) as temporary:
        with temporary.open("wb") as file:
            file.write(plan.data)
        if engine.file in bundle.manifest["files"]:
            _forget(bundle, engine.file)
            bundle.write_manifest()
    bundle.manifest["engines"].append(dataclasses.asdict(engine))
    bundle.manifest["files"][engine.file] = file_entry(bundle.path(engine.file))
    bundle.write_manifest()


def _forget(bundle: Bundle, file: str) -> None:
    manifest = bundle.manifest
    del manifest["files"][file]
    manifest["engines"] = [entry for entry in manifest["engines"] if entry["file"] != file]


def _summary(engine: Engine) -> str:
    """One line on an engine, with a warning where the builder widened the weights."""
    held = engine.weights_bytes / 1e6
    line = (
        f"built in {engine.seconds} s: {held:,.1f} MB of weights, "
        f"{engine.activation_bytes / 1e6:,.1f} MB of activations"
    )
    expected = sum(ITEM_SIZE[name] * count for name, count in engine.weights.items()) / 1e6
    if held > 1.5 * expected + 1:
        line += (
            f"; warning: the graph has {expected:,.1f} MB of weights: TensorRT did not keep "
            f"{engine.precision}"
        )
    return line
