"""The graphs of a bundle, opened with onnx and ONNX Runtime alone, as an embedder would."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.export.folding import fold
from apdepth_deploy.export.graphs import FusedGraph, StageGraph, trace
from apdepth_deploy.export.precision import prepare
from apdepth_deploy.export.shapes import FrameShape
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import PRESETS, without_prior

SEAMS = {
    "prior": ({"image": [1, 64, 96, 3]}, {"prior": [1, 3, 64, 96]}),
    "encoder": (
        {"image": [1, 64, 96, 3], "prior": [1, 3, 64, 96]},
        {"latents": [1, 8, 8, 12]},
    ),
    "unet": ({"latents": [1, 8, 8, 12]}, {"depth_latent": [1, 4, 8, 12]}),
    "decoder": ({"depth_latent": [1, 4, 8, 12]}, {"depth": [1, 64, 96]}),
    "fused": ({"image": [1, 64, 96, 3]}, {"depth": [1, 64, 96]}),
}


def shapes(values):
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", SEAMS)
def test_inputs_and_outputs_are_the_contract(micro_bundle, name, precision):
    model = onnx.load(micro_bundle / f"onnx/{name}.{precision}.onnx", load_external_data=False)
    assert (shapes(model.graph.input), shapes(model.graph.output)) == SEAMS[name]
    for value in [*model.graph.input, *model.graph.output]:
        dtype = TensorProto.UINT8 if value.name == "image" else TensorProto.FLOAT
        assert value.type.tensor_type.elem_type == dtype
    (opset,) = (o.version for o in model.opset_import if o.domain == "")
    assert opset == 21


def test_the_manifest_says_of_a_graph_what_onnx_says(micro_bundle):
    for graph in Bundle.open(micro_bundle).graphs:
        path = micro_bundle / graph.file
        model = onnx.load(path)
        tensors = {t.name: list(t.shape) for t in graph.inputs}
        assert tensors == shapes(model.graph.input)
        assert graph.nodes == len(model.graph.node)
        floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
        counted = sum(
            int(np.prod(t.dims)) for t in model.graph.initializer if t.data_type in floats
        )
        assert graph.parameters == counted


def test_weights_are_in_one_data_file_of_the_asked_precision(micro_bundle):
    model = onnx.load(micro_bundle / "onnx/fused.fp16.onnx", load_external_data=False)
    files = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert files == {"fused.fp16.data"}
    types = {t.data_type for t in model.graph.initializer if int(np.prod(t.dims)) > 64}
    assert types <= {TensorProto.FLOAT16, TensorProto.INT64}


def test_half_precision_keeps_norms_whole_and_scores_in_float32(micro_bundle):
    model = onnx.load(micro_bundle / "onnx/unet.fp16.onnx", load_external_data=False)
    kinds = [node.op_type for node in model.graph.node]
    assert "GroupNormalization" in kinds and "LayerNormalization" in kinds
    assert not {"Pow", "Sqrt", "InstanceNormalization", "IsNaN"} & set(kinds)
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    softmax = [node for node in model.graph.node if node.op_type == "Softmax"]
    assert softmax and all(types[node.input[0]] == TensorProto.FLOAT for node in softmax)


def test_no_path_of_the_machine_that_exported_is_in_a_graph(micro_bundle):
    for path in micro_bundle.glob("onnx/*.onnx"):
        assert b"/site-packages/" not in path.read_bytes(), path


def test_a_raw_session_gives_pytorchs_depth(micro_bundle, micro_spec):
    image = np.random.default_rng(3).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(micro_bundle / "onnx/fused.fp32.onnx"))
    (depth,) = session.run(None, {"image": image})
    expected = ApDepth.from_spec(micro_spec)(torch.from_numpy(image)).numpy()
    assert depth.dtype == np.float32 and expected.std() > 0.01
    np.testing.assert_allclose(depth, expected, atol=2e-5)


def test_the_parity_record_covers_every_stage_of_every_chain(micro_bundle):
    manifest = json.loads((micro_bundle / "manifest.json").read_text())
    keys = {(r["graph"], r["precision"], r["frame"], r["stage"]) for r in manifest["parity"]}
    stages = ("prior", "encoder", "unet", "decoder")
    assert keys == {
        (graph, precision, frame, stage)
        for graph in ("fused", "staged")
        for precision in ("fp32", "fp16")
        for frame in ("photo", "random")
        for stage in stages
    }
    assert all(r["passed"] and r["bad"] == 0 for r in manifest["parity"])


@pytest.mark.slow
def test_a_ranged_graph_takes_every_size_in_its_range(micro_spec, tmp_path):
    import onnx_ir

    # 120 is no multiple of 64: on the way up its side grows by another factor than the width's.
    shape = FrameShape.ranged((1, 64, 64), (1, 120, 128), (3, 128, 128))
    model = ApDepth.from_spec(micro_spec)
    fold(model)
    prepare(model, "fp16", None)
    onnx_ir.save(trace(FusedGraph(model), shape, 21), tmp_path / "ranged.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(tmp_path / "ranged.onnx"), options)
    reference = ApDepth.from_spec(micro_spec)
    for size in ((1, 64, 64), (2, 72, 104), (3, 128, 88)):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        (depth,) = session.run(None, {"image": image})
        expected = reference(torch.from_numpy(image)).numpy()
        assert depth.shape == size
        assert np.abs(depth - expected).mean() < 2e-3


@pytest.mark.slow
def test_a_range_starts_at_two_places_of_the_unets_lowest_level(micro_spec, tmp_path):
    """Four levels, as the real one has: 72 pixels are 9 latents, then 5, 3 and 2 places."""
    import onnx_ir

    levels = {"block_out_channels": [16] * 4, "attention_head_dim": [1] * 4}
    levels |= {"layers_per_block": 1}  # sizes change between levels, not in them
    kinds = {key: PRESETS["tiny"].unet[key] for key in ("down_block_types", "up_block_types")}
    spec = without_prior(
        dataclasses.replace(micro_spec, unet={**micro_spec.unet, **levels, **kinds})
    )
    shape = FrameShape.ranged((1, 72, 72), (1, 120, 128), (2, 256, 256))
    shape.check(spec.latent_stride, spec.coarsest_stride)
    model = prepare(ApDepth.from_spec(spec), "fp32", None)
    onnx_ir.save(trace(StageGraph(model, "unet"), shape, 21), tmp_path / "unet.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "unet.onnx"))
    reference = ApDepth.from_spec(spec)
    for size in ((1, 9, 9), (2, 9, 17), (1, 32, 10)):
        latents = torch.randn(size[0], 4, *size[1:], generator=torch.Generator().manual_seed(0))
        (found,) = session.run(None, {"latents": latents.numpy()})
        np.testing.assert_allclose(found, reference.denoise(latents).numpy(), atol=1e-4)


def test_a_size_fixed_by_tracing_is_an_error_not_a_wrong_depth(micro_spec, monkeypatch):
    """transformers' own head casts its sizes to int, and torch.export lets that pass in silence."""
    from transformers.models.depth_anything.modeling_depth_anything import (
        DepthAnythingDepthEstimationHead,
    )

    from apdepth_deploy.errors import ExportError
    from apdepth_deploy.model.prior import SymbolicHead

    monkeypatch.setattr(SymbolicHead, "forward", DepthAnythingDepthEstimationHead.forward)
    model = prepare(ApDepth.from_spec(micro_spec), "fp16", None)
    shape = FrameShape.ranged((1, 64, 64), (1, 64, 96), (1, 128, 128))
    with pytest.raises(ExportError, match="prior could not be traced at opset 21: Guard failed"):
        trace(StageGraph(model, "prior"), shape, 21)
