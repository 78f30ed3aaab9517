"""One traced graph: the module to trace, its named tensors, and the ONNX file it becomes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import onnxscript.optimizer
import torch
from onnx_ir.passes import common as passes
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules import common as rules
from torch import Tensor, nn

from apdepth_deploy.bundle import SEAMS, TensorInfo
from apdepth_deploy.errors import ExportError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import ModelSpec

from .shapes import Extent, FrameShape

FUSED = "fused"

#: The downsampling convolutions' paddings, and what decomposing leaves behind.
_REWRITES = [
    rules.normalize_pad_format_conv_rule,
    rules.fuse_pad_into_conv_rule,
    rules.add_0_rule,
    rules.sub_0_rule,
    rules.mul_by_1_rule,
    rules.div_by_1_rule,
    rules.transpose_transpose_rule,
    rules.no_op_transpose_rule,
    rules.no_op_cast_rule,
]


class FusedGraph(nn.Module):
    """uint8 frames [B,H,W,3] -> every stage's result, depth [B,H,W] last."""

    name = FUSED
    inputs = ("image",)

    def __init__(self, model: ApDepth) -> None:
        super().__init__()
        self.model = model
        self.outputs = tuple(SEAMS[stage] for stage in model.stage_names)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.stages(image).values())


class StageGraph(nn.Module):
    """One stage, between its seams."""

    def __init__(self, model: ApDepth, name: str) -> None:
        super().__init__()
        self.model = model
        self.name = name
        self.inputs = {
            "prior": ("image",),
            "encoder": ("image",) if model.prior is None else ("image", "prior"),
            "unet": ("latents",),
            "decoder": ("depth_latent",),
        }[name]
        self.outputs = (SEAMS[name],)

    def forward(self, *tensors: Tensor) -> Tensor:
        given = dict(zip(self.inputs, tensors, strict=True))
        earlier = {stage: given[seam] for stage, seam in SEAMS.items() if seam in given}
        return self.model.stage(self.name, given.get("image"), earlier)


def tensor_shape(name: str, spec: ModelSpec, batch: Any, h: Any, w: Any) -> tuple[Any, ...]:
    """Shape of a named tensor for ``batch`` frames of h x w latents; numbers or torch Dims."""
    stride = spec.latent_stride
    latent_channels = int(spec.vae["latent_channels"])
    return {
        "image": (batch, stride * h, stride * w, 3),
        "prior": (batch, 3, stride * h, stride * w),
        "latents": (batch, int(spec.unet["in_channels"]), h, w),
        "depth_latent": (batch, latent_channels, h, w),
        "depth": (batch, stride * h, stride * w),
    }[name]


def tensor_info(name: str, spec: ModelSpec, shape: FrameShape) -> TensorInfo:
    """What the manifest says of a named tensor: a range is [min, opt, max]."""
    stride = spec.latent_stride
    axes = zip(*(_triple(n) for n in (shape.batch, shape.height, shape.width)), strict=True)
    sizes = [tensor_shape(name, spec, b, h // stride, w // stride) for b, h, w in axes]
    dims = tuple(Extent(*axis).to_json() for axis in zip(*sizes, strict=True))
    return TensorInfo(name, "uint8" if name == "image" else "float32", dims)


def _triple(extent: Extent) -> tuple[int, int, int]:
    return extent.min, extent.opt, extent.max


def trace(graph: FusedGraph | StageGraph, shape: FrameShape, opset: int) -> onnx_ir.Model:
    """Trace a graph to ONNX in memory; weights stay in the module's tensors.

    A fused graph keeps the seams as named inner values, so that ``verify`` can look at them.

    Raises ExportError where the exporter gives up.
    """
    spec = graph.model.spec
    sizes = _example_sizes(shape, spec.latent_stride)
    examples = tuple(_example(name, tensor_shape(name, spec, *sizes)) for name in graph.inputs)
    dims = _dims(shape, spec.latent_stride)
    dynamic = tuple(tensor_shape(name, spec, *dims) for name in graph.inputs)
    if isinstance(graph, StageGraph):
        dynamic = (dynamic,)
    try:
        with _quiet():
            # Given a module, torch.onnx.export tries several ways to capture it; this one works.
            captured = torch.export.export(
                graph,
                examples,
                dynamic_shapes=None if shape.is_fixed else dynamic,
                strict=False,
            )
            _check_guards(captured, graph, shape)
            program = torch.onnx.export(
                captured,
                dynamo=True,
                opset_version=opset,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                verbose=False,
                optimize=False,
            )
    except Exception as error:  # the exporter's own errors share no base class
        reason = " ".join(str(error).split())[:400]
        raise ExportError(f"{graph.name} could not be traced at opset {opset}: {reason}") from error
    assert program is not None
    model = program.model
    _tidy(model)
    del model.graph.outputs[:-1]  # only now: what is no output may lose its name to a tidier graph
    return model


def _tidy(model: onnx_ir.Model) -> None:
    """Fold shapes and small constants, drop what is unused, fuse paddings into convolutions.

    The exporter's own optimiser does the same and 50 rewrites more, none of which finds anything
    here, in half a minute.
    """
    passes.InlinePass()(model)
    onnxscript.optimizer.fold_constants(model)
    RewritePass(_REWRITES)(model)
    for clean in (
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.ClearMetadataAndDocStringPass(),
    ):
        clean(model)


def _check_guards(
    captured: torch.export.ExportedProgram, graph: FusedGraph | StageGraph, shape: FrameShape
) -> None:
    """Raises where tracing silently fixed a size inside the range: the depth would be wrong."""
    guards = getattr(captured.module(), "_guards_fn", None)
    if guards is None:
        return
    spec = graph.model.spec
    triples = [_triple(n) for n in (shape.batch, shape.height, shape.width)]
    for b, height, width in zip(*triples, strict=True):
        h, w = height // spec.latent_stride, width // spec.latent_stride
        guards(*(torch.empty(tensor_shape(n, spec, b, h, w), device="meta") for n in graph.inputs))


def _example_sizes(shape: FrameShape, stride: int) -> tuple[int, int, int]:
    """Sizes to trace with: torch.export takes a 1 for a constant, so a ranged batch is 2."""
    batch, height, width = shape.opt
    return (batch if shape.batch.is_fixed else max(batch, 2)), height // stride, width // stride


def _example(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=torch.uint8 if name == "image" else torch.float32)


def _dims(shape: FrameShape, stride: int) -> tuple[Any, ...]:
    """batch, h, w as torch Dims where they range, as numbers where they are fixed."""

    def dim(name: str, extent: Extent, step: int) -> Any:
        if extent.is_fixed:
            return extent.opt // step
        return torch.export.Dim(name, min=extent.min // step, max=extent.max // step)

    return (
        dim("batch", shape.batch, 1),
        dim("h", shape.height, stride),
        dim("w", shape.width, stride),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on what it doesn't need (torchvision) and on its internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def save(model: onnx_ir.Model, path: Path) -> Path:
    """Write ``path`` and its weights beside it in one file; returns the weights' path."""
    data = path.with_suffix(".data")
    onnx_ir.save(model, path, external_data=data.name)
    if not data.exists():  # a graph without weights of any size
        data.touch()
    onnx.checker.check_model(str(path))
    return data
