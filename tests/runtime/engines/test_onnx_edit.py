"""Looking into a graph: its seams come out, and bfloat16 is emulated to the last bit."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.runtime import open_chain
from apdepth_deploy.runtime.engines.onnx_edit import probed
from apdepth_deploy.runtime.engines.onnxruntime_backend import OrtChain

Array = NDArray[np.float32]


def rounded(values: Array) -> Array:
    """To bfloat16 and back."""
    return np.asarray(values.astype(ml_dtypes.bfloat16).astype(np.float32))


def run(model: bytes, x: Array) -> dict[str, Array]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


@pytest.fixture
def layer(tmp_path: Path) -> tuple[Path, Array, Array]:
    """float32 in, bfloat16 x @ w + b, float32 out; (file, w, b), small integers: sums are exact."""
    rng = np.random.default_rng(0)
    w = rng.integers(-8, 9, (16, 5)).astype(np.float32)
    b = rng.integers(-40, 41, 5).astype(np.float32) / 8
    weights = [
        helper.make_tensor(name, TensorProto.BFLOAT16, value.shape, value.ravel().tolist())
        for name, value in (("w", w), ("b", b))
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.BFLOAT16),
        helper.make_node("MatMul", ["x16", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["latents16"]),
        helper.make_node("Cast", ["latents16"], ["latents"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["latents", "latents"], ["y"]),
    ]
    inner = [
        helper.make_tensor_value_info(name, TensorProto.BFLOAT16, None)
        for name in ("x16", "product", "latents16")
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 5])
    graph = helper.make_graph(nodes, "layer", [x], [y], weights, value_info=inner)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "layer.onnx")
    return tmp_path / "layer.onnx", w, b


def test_emulated_bfloat16_is_float32_rounded_after_every_node(
    layer: tuple[Path, Array, Array],
) -> None:
    path, w, b = layer
    x = np.random.default_rng(1).normal(0, 30, (3, 16)).round(1).astype(np.float32)
    product = rounded((rounded(x).astype(np.float64) @ w).astype(np.float32))
    latents = rounded(product + b)
    found = run(probed(path, emulate_bf16=True), x)
    np.testing.assert_array_equal(found["latents"], latents)
    np.testing.assert_array_equal(found["y"], latents * latents)
    # The rounding is there to be seen: without it the numbers differ.
    assert np.abs(latents - (x @ w + b)).max() > 0.01


def test_without_emulation_only_outputs_are_added(layer: tuple[Path, Array, Array]) -> None:
    before = onnx.load(layer[0])
    after = onnx.ModelProto.FromString(probed(layer[0], emulate_bf16=False))
    assert [output.name for output in after.graph.output] == ["y", "latents"]
    del after.graph.output[1:]
    assert after == before


def test_the_seams_of_a_fused_graph_come_out(micro_bundle: Path) -> None:
    bundle = Bundle.open(micro_bundle)
    frame = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    chain = open_chain(bundle, "fused", "fp32", probe=True)
    results = chain.run(frame)
    shapes = {stage: result.shape for stage, result in results.items()}
    assert shapes == {
        "decoder": (1, 64, 96),
        "prior": (1, 3, 64, 96),
        "encoder": (1, 8, 8, 12),
        "unet": (1, 4, 8, 12),
    }
    plain = open_chain(bundle, "fused", "fp32").run(frame)
    assert list(plain) == ["decoder"]
    np.testing.assert_allclose(results["decoder"], plain["decoder"], atol=1e-5)


def test_a_stage_that_ends_in_a_seam_gets_no_second_output(micro_bundle: Path) -> None:
    model = onnx.ModelProto.FromString(
        probed(micro_bundle / "onnx" / "encoder.fp16.onnx", emulate_bf16=True)
    )
    assert [output.name for output in model.graph.output] == ["latents"]


def test_a_staged_chain_gives_every_stage_without_probing(micro_bundle: Path) -> None:
    bundle = Bundle.open(micro_bundle)
    frame = np.zeros((1, 64, 96, 3), np.uint8)
    results = OrtChain(bundle, bundle.chain_graphs("staged", "fp32")).run(frame)
    assert list(results) == ["prior", "encoder", "unet", "decoder"]
