"""TensorRT's builder on graphs of a few nodes."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from apdepth_deploy.bundle import Bundle, Graph, TensorInfo
from apdepth_deploy.errors import ExportError
from apdepth_deploy.export.engine_builder import build_plan

trt = pytest.importorskip("tensorrt_rtx")


def save_graph(path, nodes, inputs, outputs, constants=(), opset=21):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def entry(*shape):
    """A manifest entry for a graph with one input ``x``."""
    tensor = TensorInfo("x", "float32", shape)
    return Graph("fused", "fp32", "f", "d", 21, (tensor,), (), 1, 64, 64, 0, 0, {})


def values(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def test_a_range_of_sizes_becomes_a_profile(tmp_path):
    x, y = (values(n, TensorProto.FLOAT, ["B", 3, "H", 64]) for n in ("x", "y"))
    path = save_graph(tmp_path / "g.onnx", [helper.make_node("Relu", ["x"], ["y"])], [x], [y])
    plan = build_plan(trt, path, entry([1, 2, 4], 3, [64, 128, 256], 64), ["8.9"])
    assert len(memoryview(plan.data)) > 0
    with pytest.raises(ExportError, match="profile"):  # the range is what makes it build
        build_plan(trt, path, entry(1, 3, 64, 64), ["8.9"])


def test_attention_of_a_wide_head_is_taken_apart(tmp_path):
    """Opset 23's Attention with the VAE's head size of 512, which no fused kernel takes."""
    shape = [1, 1, 64, 512]
    inputs = [values(name, TensorProto.FLOAT16, shape) for name in "qkv"]
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    output = values("y", TensorProto.FLOAT16, shape)
    path = save_graph(tmp_path / "g.onnx", [node], inputs, [output], opset=23)
    assert build_plan(trt, path, entry(1), ["8.9"]).layers > 0


def test_a_graph_that_tensorrt_cant_read_says_why(tmp_path):
    x = values("x", TensorProto.UINT8, [1, 4, 4, 3])
    y = values("y", TensorProto.UINT8, [1, 3, 4, 4])
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2], name="turned")
    path = save_graph(tmp_path / "g.onnx", [node], [x], [y])
    with pytest.raises(ExportError, match=r"can't read g.onnx: .*turned.* type UInt8"):
        build_plan(trt, path, entry(1), ["8.9"])


def test_a_graph_that_tensorrt_cant_build_says_why(tmp_path):
    """Turing has no float32 matrix product in TensorRT for RTX."""
    x, w, y = (values(name, TensorProto.FLOAT, [1, 64, 64]) for name in "xwy")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save_graph(tmp_path / "g.onnx", [node], [x, w], [y])
    with pytest.raises(ExportError, match="FP32 GEMM is not supported"):
        build_plan(trt, path, entry(1), ["7.5"])


def test_the_workspace_is_a_limit(micro_bundle):
    bundle = Bundle.open(micro_bundle)
    graph = next(graph for graph in bundle.graphs if graph.label == "decoder.fp16")
    path = bundle.path(graph.file)
    with pytest.raises(ExportError, match="workspace"):
        build_plan(trt, path, graph, ["8.9"], workspace=1_000_000)
    assert (
        build_plan(trt, path, graph, ["8.9"], workspace=1_000_000_000).activation_bytes > 1_000_000
    )
