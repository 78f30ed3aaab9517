"""A graph looked into: its seams as outputs, and bfloat16 where a processor has no kernels for it.

Used to measure parity, never to predict. Reads the graph with onnx; the weights stay in their file.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

SEAMS = ("prior", "latents", "depth_latent")


def probed(path: Path, emulate_bf16: bool) -> bytes:
    """The graph with its seams as extra outputs, to be loaded from the same folder.

    With ``emulate_bf16``, a bfloat16 graph computes every node in float32 and rounds its results to
    bfloat16: the same numbers as a kernel that accumulates in float32.
    """
    model = onnx.load(str(path), load_external_data=False)
    if emulate_bf16 and _is_bf16(model):
        _emulate_bf16(model)
    outputs = {value.name for value in model.graph.output}
    inputs = {value.name for value in model.graph.input}
    made = {name for node in model.graph.node for name in node.output}
    for seam in SEAMS:
        if seam in made - outputs - inputs:
            model.graph.output.append(helper.make_tensor_value_info(seam, TensorProto.FLOAT, None))
    serialized: bytes = model.SerializeToString()
    return serialized


def _is_bf16(model: onnx.ModelProto) -> bool:
    return any(t.data_type == TensorProto.BFLOAT16 for t in model.graph.initializer)


def _emulate_bf16(model: onnx.ModelProto) -> None:
    """Surround every node: float32 inside, a rounding through bfloat16 after it."""
    graph = model.graph
    bf16 = _bf16_values(model)
    nodes: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            nodes.append(_cast(tensor.name, f"{tensor.name}.float", TensorProto.FLOAT))
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in bf16:
                node.input[index] = f"{name}.float"
        _retarget_cast(node)
        rounded = [name for name in node.output if name in bf16]
        for index, name in enumerate(node.output):
            if name in bf16:
                node.output[index] = f"{name}.exact"
        nodes.append(node)
        for name in rounded:
            nodes.append(_cast(f"{name}.exact", name, TensorProto.BFLOAT16))
            nodes.append(_cast(name, f"{name}.float", TensorProto.FLOAT))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    del graph.value_info[:]


def _bf16_values(model: onnx.ModelProto) -> set[str]:
    """Names of all bfloat16 tensors."""
    names = {t.name for t in model.graph.initializer if t.data_type == TensorProto.BFLOAT16}
    for value in model.graph.value_info:
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            names.add(value.name)
    return names


def _retarget_cast(node: onnx.NodeProto) -> None:
    """A cast to bfloat16 becomes one to float32; the rounding comes after it."""
    if node.op_type == "Cast":
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT


def _cast(source: str, target: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"round.{target}", to=dtype)
