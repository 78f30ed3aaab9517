"""A bundle whose graph is one line of numpy, for sizes and failures no real model shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper, save_model

from apdepth_deploy.bundle import Bundle, Graph, TensorInfo, file_entry, new_manifest
from apdepth_deploy.spec import ModelSpec

MakeBundle = Callable[..., Path]


def mean_graph(batch: Any, height: Any, width: Any, divisor: float) -> Any:
    """depth [B,H,W] = mean of the image's channels / divisor."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, height, width, 3])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, [batch, height, width])
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axis"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "low"], ["shifted"]),
        helper.make_node("Div", ["shifted", "divisor"], ["depth"]),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [3]),
        helper.make_tensor("low", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("divisor", TensorProto.FLOAT, [], [divisor]),
    ]
    graph = helper.make_graph(nodes, "mean", [image], [depth], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture(scope="session")
def mean_bundle(tmp_path_factory: pytest.TempPathFactory, micro_spec: ModelSpec) -> MakeBundle:
    """(batch, height, width, divisor=255) -> a bundle of ``mean_graph``; sizes as in a manifest."""

    def make(batch: Any, height: Any, width: Any, divisor: float = 255.0) -> Path:
        folder = tmp_path_factory.mktemp("mean") / "mean_bundle"
        (folder / "onnx").mkdir(parents=True)
        bundle = Bundle(folder, new_manifest(micro_spec, {"kind": "random", "name": "mean"}))
        names = "onnx/fused.fp32.onnx", "onnx/fused.fp32.data"
        sizes = {"B": batch, "H": height, "W": width}
        axes = [n if isinstance(n, int) else name for name, n in sizes.items()]
        save_model(mean_graph(*axes, divisor), bundle.path(names[0]))
        bundle.path(names[1]).touch()
        image = TensorInfo("image", "uint8", (batch, height, width, 3))
        depth = TensorInfo("depth", "float32", (batch, height, width))
        graph = Graph(
            "fused", "fp32", *names, 21, (image,), (depth,), batch, height, width, 2, 4, {}
        )
        bundle.manifest["graphs"] = [dataclasses.asdict(graph)]
        bundle.manifest["files"] = {name: file_entry(bundle.path(name)) for name in names}
        bundle.write_manifest()
        return folder

    return make


@pytest.fixture(scope="session")
def micro_checkpoint(tmp_path_factory: pytest.TempPathFactory, micro_spec: ModelSpec) -> Path:
    """The weights that ``micro_bundle`` was exported from. Read only."""
    from apdepth_deploy.checkpoint import save_checkpoint
    from apdepth_deploy.model import ApDepth

    folder = tmp_path_factory.mktemp("micro") / "checkpoint"
    save_checkpoint(ApDepth.from_spec(micro_spec), folder)
    return folder
