"""From a checkpoint to a bundle, in one call. Writes graphs; knows nothing about running them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir

from apdepth_deploy.bundle import (
    KINDS,
    PRECISIONS,
    Bundle,
    Graph,
    file_entry,
    is_bundle,
    new_manifest,
)
from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import atomic_folder
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import licenses, load_model
from apdepth_deploy.spec import ModelSource, ModelSpec, frame_size, prior_licence
from apdepth_deploy.verify import (
    add_golden_frames,
    raise_on_miss,
    reference_results,
    verify_bundle,
)

from .estimate import describe
from .folding import fold
from .folding.record import folding_record
from .graphs import FUSED, FusedGraph, StageGraph, save, tensor_info, trace
from .metadata import stamp
from .precision import prepare
from .shapes import FrameShape

OPSETS = range(18, 24)

Progress = Callable[[str], None]


def export_bundle(
    source: ModelSource | ApDepth | str,
    output: str | Path,
    *,
    kinds: Sequence[str] = ("fused",),
    precisions: Sequence[str] = ("fp16",),
    shape: FrameShape | None = None,
    opset: int = 21,
    folding: bool = True,
    verify: bool = True,
    license: str | None = None,
    progress: Progress = lambda message: None,
) -> Bundle:
    """Export a model and, unless ``verify`` is False, prove every graph equal to PyTorch.

    Args:
        source: a ``ModelSource``, a model (left as it is), or a checkpoint folder or hub id.
        output: the bundle's folder; an existing bundle there is replaced, at the very end.
        kinds: "fused" (frame in, depth out), "staged" (one graph per stage), or both.
        precisions: any of "fp32", "fp16", "bf16".
        shape: frame sizes; the default is one frame of the largest size that the model was trained
            at, or of 480x640 where it doesn't say.
        opset: ONNX opset, 18 to 23.
        folding: work out at export what is constant at inference (exact; docs/folding.md).
        verify: measure parity and write it into the manifest, and golden frames into the bundle.
        license: of the weights, for the manifest; by default what the checkpoint's card says.
        progress: called with a line before each long step.

    Raises:
        UsageError: an argument that can't work. CheckpointError: the source can't be loaded.
        ExportError: the model can't be traced, or not for that range.
        OutputError: the bundle can't be written.
        ParityError: a graph strays from PyTorch; nothing is written then.
    """
    source = _as_source(source)
    _check_choices(kinds, precisions, opset)
    with atomic_folder(Path(output), replaces=is_bundle) as folder:
        progress(f"loading {source.label}")
        model = load_model(source)
        shape = shape or FrameShape.fixed(1, *model.spec.default_size)
        _check_shape(model.spec, shape)
        for line in _notes(model.spec, shape):
            progress(line)
        progress(describe(model.spec, kinds, precisions, shape, verify))
        record = folding_record(model.spec, shape.opt, folding)
        for name, reason in record["skipped"].items():
            progress(f"note: {name} was not folded: {reason}")
        reference = None
        if verify:
            progress("running the PyTorch model on the sample frames")
            reference = reference_results(model, shape.opt, *shape.ends)
        bundle = Bundle(folder, new_manifest(model.spec, source.to_json()))
        bundle.manifest["folding"] = record
        bundle.manifest["license"] = licenses(source, model.spec, license)
        for number, precision in enumerate(precisions):
            if number:
                model = load_model(source)
            if folding:
                fold(model)
            prepare(model, precision, shape.opt[1:] if shape.is_fixed else None)
            for graph in _graphs(model, kinds):
                progress(f"tracing {graph.name}.{precision}")
                _add_graph(bundle, graph, precision, shape, opset, record["after"]["gflop"])
        del model, graph  # two models and a session at once would not fit where one does
        bundle.write_manifest()
        if reference is not None:
            raise_on_miss(verify_bundle(bundle, reference, progress))
            add_golden_frames(bundle, reference)
        stamp(bundle)
        bundle.write_manifest()
    return Bundle.open(output)


def _as_source(source: ModelSource | ApDepth | str) -> ModelSource:
    if isinstance(source, ApDepth):
        return ModelSource(source.spec.name, model=source)
    return source if isinstance(source, ModelSource) else ModelSource(str(source))


def _check_choices(kinds: Sequence[str], precisions: Sequence[str], opset: int) -> None:
    for name, chosen, known in (("graph", kinds, KINDS), ("precision", precisions, PRECISIONS)):
        unknown = [choice for choice in chosen if choice not in known]
        if unknown or not chosen:
            found = ", ".join(unknown) or "none"
            raise UsageError(f"{name}: {found}; choose from {', '.join(known)}")
    if opset not in OPSETS:
        raise UsageError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, not {opset}")


def _check_shape(spec: ModelSpec, shape: FrameShape) -> None:
    shape.check(spec.latent_stride, spec.coarsest_stride)
    if not shape.is_fixed and spec.prior is not None and spec.conventions.prior_side is not None:
        raise UsageError(
            "a prior with a fixed side needs a fixed frame size: drop --dynamic, "
            "or use conventions without prior_side"
        )


def _notes(spec: ModelSpec, shape: FrameShape) -> Iterator[str]:
    """What a user has to know of the weights before using them."""
    size = shape.opt[1:]
    if spec.trained_at and size not in spec.trained_at:
        known = " and ".join(map(frame_size, spec.trained_at))
        yield (
            f"warning: frames of {frame_size(size)}: the model was trained at {known}, and what it "
            f"has not seen costs accuracy; {frame_size(spec.default_size)} is the default"
        )
    licence = prior_licence(spec)
    if licence and "NC" in licence:
        yield f"note: Depth Anything V2 of this size is licensed {licence}: no commercial use"


def _graphs(model: ApDepth, kinds: Sequence[str]) -> Iterator[FusedGraph | StageGraph]:
    if "fused" in kinds:
        yield FusedGraph(model)
    if "staged" in kinds:
        for name in model.stage_names:
            yield StageGraph(model, name)


def _add_graph(
    bundle: Bundle,
    graph: FusedGraph | StageGraph,
    precision: str,
    shape: FrameShape,
    opset: int,
    gflop: Mapping[str, float],
) -> None:
    """Trace one graph, write it into the bundle's folder and describe it in the manifest.

    ``gflop`` is the whole chain's, by stage.
    """
    spec = graph.model.spec
    name = f"onnx/{graph.name}.{precision}.onnx"
    path = bundle.path(name)
    path.parent.mkdir(exist_ok=True)
    onnx_model = trace(graph, shape, opset)
    data = save(onnx_model, path)
    entry = Graph(
        name=graph.name,
        precision=precision,
        file=name,
        data=f"onnx/{data.name}",
        opset=opset,
        inputs=tuple(tensor_info(tensor, spec, shape) for tensor in graph.inputs),
        outputs=(tensor_info(graph.outputs[-1], spec, shape),),
        batch=shape.batch.to_json(),
        height=shape.height.to_json(),
        width=shape.width.to_json(),
        parameters=_count_weights(onnx_model),
        nodes=sum(1 for _ in onnx_model.graph),
        gflop={k: v for k, v in gflop.items() if graph.name in (FUSED, k)},
    )
    bundle.manifest["graphs"].append(dataclasses.asdict(entry))
    for file in (entry.file, entry.data):
        bundle.manifest["files"][file] = file_entry(bundle.path(file))


def _count_weights(model: onnx_ir.Model) -> int:
    """Floating-point values held by the graph."""
    values = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
    return sum(int(v.size) for v in values if v.dtype.is_floating_point())
