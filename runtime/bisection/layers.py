"""A graph file as layers: what each value is made from, and a part of it as a graph of its own.

Reads it with onnx; the weights stay in their file. Knows nothing about engines.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.external_data_helper import load_external_data_for_model

from apdepth_deploy.bundle import SEAMS, Graph

Array = NDArray[Any]
_BYTES = {TensorProto.FLOAT: 4, TensorProto.FLOAT16: 2}
#: Layers with a weight: in graphs of two precisions they stand in the same order.
_WEIGHTED = {"Conv", "ConvTranspose", "MatMul", "Gemm", "LayerNormalization"}


class Layers:
    """One graph of a bundle, for inputs of known shapes.

    Attributes:
        path: its file; precision: what it is in; nodes: those that compute, in their order.
        values: names of what they give that is in floating point, likewise.
    """

    def __init__(self, path: Path, graph: Graph, shapes: Mapping[str, Sequence[int]]) -> None:
        self.path, self.precision, self._name = path, graph.precision, graph.name
        self.model = onnx.load(str(path), load_external_data=False)
        self.nodes = list(self.model.graph.node)
        self._maker = {name: node for node in self.nodes for name in node.output if name}
        self._weights = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._infos = _inferred(self.model, shapes)
        self.values = [name for name in self._maker if self._type(name) in _BYTES]

    def size(self, value: str) -> int:
        """Its bytes."""
        kind = self._infos[value].type.tensor_type
        return int(_BYTES[kind.elem_type] * math.prod(n.dim_value or 1 for n in kind.shape.dim))

    def node(self, value: str) -> onnx.NodeProto:
        """Which gives it."""
        return self._maker[value]

    def weight(self, node: onnx.NodeProto) -> str:
        """Its weight's name in the checkpoint, or ""."""
        named = [n for n in node.input if n in self._weights and n.startswith("model.")]
        return named[0].removeprefix("model.") if named else ""

    def stage(self, value: str) -> str:
        """The first stage whose result needs it."""
        for stage, seam in SEAMS.items() if self._name == "fused" else ():
            if seam in self._maker and value in self._needed({seam}, ()):
                return stage
        return self._name

    def before(self, value: str, known: Collection[str]) -> list[str]:
        """The nearest of ``known`` that it is made from, and the graph's inputs, on each way."""
        needed = self._needed(self._inputs_of(value), known)
        return [name for name in needed if name in known or name not in self._maker]

    def between(self, value: str, known: Collection[str]) -> list[onnx.NodeProto]:
        """The nodes that make it from what is ``before`` it, in their order: its own is last."""
        needed = self._needed(self._inputs_of(value), known)
        made = {name for name in needed if name in self._maker and name not in known} | {value}
        return [node for node in self.nodes if made.intersection(node.output)]

    def upstream(self, value: str) -> list[str]:
        """All floating-point values that it is made from."""
        needed = self._needed(self._inputs_of(value), ())
        return [name for name in self.values if name in needed]

    def part(self, inputs: Mapping[str, Array], output: str, result: Array) -> onnx.ModelProto:
        """What makes ``output`` from ``inputs``, as a graph with its weights inside.

        ``result`` shows the output's type and shape. Fewer of ``inputs`` may be needed.
        """
        nodes = self.between(output, inputs)
        taken = {name for node in nodes for name in node.input}
        weights = [tensor for name, tensor in self._weights.items() if name in taken]
        graph = helper.make_graph(
            nodes,
            f"part of {self._name}",
            [_info(name, value) for name, value in inputs.items() if name in taken],
            [_info(output, result)],
            weights,
        )
        opsets = self.model.opset_import
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self.model.ir_version)
        load_external_data_for_model(model, str(self.path.parent))
        return model

    def weighted(self) -> list[tuple[str, tuple[Any, ...]]]:
        """(value, what it looks like in any precision) of each layer that has a weight."""
        found = []
        for node in self.nodes:
            weight = self._weights.get(node.input[1]) if len(node.input) > 1 else None
            if node.op_type in _WEIGHTED and weight is not None and node.output[0] in self.values:
                shape = [
                    d.dim_value for d in self._infos[node.output[0]].type.tensor_type.shape.dim
                ]
                look = (node.op_type, self.weight(node), *weight.dims, "->", *shape)
                found.append((node.output[0], look))
        return found

    def _type(self, value: str) -> int:
        info = self._infos.get(value)
        return int(info.type.tensor_type.elem_type) if info else 0

    def _inputs_of(self, value: str) -> list[str]:
        return [n for n in self._maker[value].input if n and n not in self._weights]

    def _needed(self, values: Collection[str], known: Collection[str]) -> dict[str, None]:
        """``values`` and what they are made from, back to the inputs or to what is ``known``."""
        found: dict[str, None] = {}
        waiting = list(values)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = None
                if name in self._maker and name not in known:
                    waiting += self._inputs_of(name)
        return found


def matched(layers: Layers, sister: Layers) -> list[tuple[str, str]]:
    """(value, the sister's value) of layers with weights that are one layer in two precisions."""
    ours, theirs = layers.weighted(), sister.weighted()
    matcher = difflib.SequenceMatcher(
        None, [look for _, look in ours], [look for _, look in theirs], autojunk=False
    )
    return [
        (ours[block.a + n][0], theirs[block.b + n][0])
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
    ]


def groups(layers: Layers, pairs: Sequence[tuple[str, str]], most: int) -> Iterator[dict[str, str]]:
    """``pairs`` in order, as {value: its counterpart}, ``most`` bytes of values at once."""
    group: dict[str, str] = {}
    size = 0
    for value, counterpart in pairs:
        if group and size + layers.size(value) > most:
            yield group
            group, size = {}, 0
        group[value] = counterpart
        size += layers.size(value)
    if group:
        yield group


def _info(name: str, value: Array) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, value.shape)


def _inferred(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]
) -> dict[str, onnx.ValueInfoProto]:
    """Type and shape of every value, for inputs of these shapes."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for info in fixed.graph.input:
        for dim, size in zip(info.type.tensor_type.shape.dim, shapes[info.name], strict=True):
            dim.dim_value = size
    for info in fixed.graph.output:
        info.type.tensor_type.ClearField("shape")
    for node in fixed.graph.node:
        if node.op_type == "GroupNormalization":  # onnx infers nothing past it
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    graph = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    return {info.name: info for info in (*graph.value_info, *graph.output)}
