"""``config.pbtxt``: what is said of a model, read off the text as Triton's parser would."""

from __future__ import annotations

import re
from typing import Any

import pytest

from apdepth_deploy.bundle import TensorInfo
from apdepth_deploy.errors import BundleError
from apdepth_deploy.runtime.triton.config import (
    MARK,
    Model,
    Placement,
    ensemble_config,
    model_config,
)
from apdepth_deploy.runtime.triton.pbtxt import Word, to_text

CPU = Placement(None, 1)


def image(*shape: Any) -> TensorInfo:
    return TensorInfo("image", "uint8", (*shape, 3))


def depth(*shape: Any) -> TensorInfo:
    return TensorInfo("depth", "float32", shape)


def config(batch: Any, height: Any = 64, backend: str = "onnxruntime", **changes: Any) -> str:
    """Of a fused graph, in one line."""
    placement = changes.pop("placement", CPU)
    inputs, outputs = [image(batch, height, 96)], [depth(batch, height, 96)]
    model = Model("m", backend, inputs, outputs, **changes)
    return one_line(model_config(model, placement))


def one_line(text: str) -> str:
    first, rest = text.split("\n", 1)
    assert first == MARK
    return " ".join(rest.split())


def test_text_is_that_of_the_format() -> None:
    message = {
        "text": 'a "b"\\\n',
        "kind": Word("KIND"),
        "on": True,
        "sizes": [1, -1],
        "none": {},
        "map": [{"key": "k", "value": {"count": 2}}],
    }
    assert to_text(message).splitlines() == [
        'text: "a \\"b\\"\\\\\\n"',
        "kind: KIND",
        "on: true",
        "sizes: [1, -1]",
        "none { }",
        "map {",
        '  key: "k"',
        "  value {",
        "    count: 2",
        "  }",
        "}",
    ]


@pytest.mark.parametrize("batch", [1, 4, [2, 2, 4]])
def test_what_is_no_batch_from_one_up_is_part_of_the_shape(batch: Any) -> None:
    """Triton's own batches start at one frame, which these graphs don't take."""
    text = config(batch)
    n = batch if isinstance(batch, int) else -1
    assert "max_batch_size: 0" in text and "dynamic_batching" not in text
    assert f"data_type: TYPE_UINT8 dims: [{n}, 64, 96, 3]" in text
    assert f"data_type: TYPE_FP32 dims: [{n}, 64, 96]" in text


def test_a_batch_range_is_left_to_triton() -> None:
    text = config([1, 2, 4], [64, 72, 128])
    assert "max_batch_size: 4" in text and "dynamic_batching { }" in text
    assert 'name: "image" data_type: TYPE_UINT8 dims: [-1, 96, 3]' in text
    assert 'name: "depth" data_type: TYPE_FP32 dims: [-1, 96]' in text


@pytest.mark.parametrize(
    ("batch", "sizes"), [(4, [1]), ([1, 2, 4], [1, 2, 4]), ([1, 1, 8], [1, 8])]
)
def test_every_batch_that_is_tuned_for_is_warmed_up(batch: Any, sizes: list[int]) -> None:
    """With a frame of the tuned size, without the batch where Triton adds it."""
    text = config(batch, [64, 72, 128])
    assert [int(n) for n in re.findall(r"batch_size: (\d+) inputs", text)] == sizes
    dims = "[4, 72, 96, 3]" if batch == 4 else "[72, 96, 3]"
    assert text.count(f"dims: {dims} zero_data: true") == len(sizes)


@pytest.mark.parametrize(
    ("placement", "group"),
    [
        (Placement(None, 3), "count: 3 kind: KIND_CPU"),
        (Placement((), 1), "count: 1 kind: KIND_GPU"),
        (Placement((0, 2), 2), "count: 2 kind: KIND_GPU gpus: [0, 2]"),
    ],
)
def test_instances_are_where_they_are_asked_for(placement: Placement, group: str) -> None:
    assert f"instance_group {{ {group} }}" in config(1, placement=placement)


def test_a_plan_has_cuda_graphs_and_a_file_for_each_gpu() -> None:
    files = {"8.6": "a.engine", "8.9": "b.engine"}
    text = config([1, 2, 4], backend="tensorrt", file="a.engine", files_by_capability=files)
    assert "optimization { cuda { graphs: true } }" in text
    assert "dynamic_batching { preferred_batch_size: [2, 4] }" in text
    assert 'default_model_filename: "a.engine"' in text
    for capability, file in files.items():
        assert f'cc_model_filenames {{ key: "{capability}" value: "{file}" }}' in text
    assert "optimization" not in config(1)


def test_an_ensemble_joins_its_stages_by_the_names_of_tensors() -> None:
    latents = TensorInfo("latents", "float32", (1, 4, 8, 12))
    stages = [
        Model("m_encoder", "onnxruntime", [image(1, 64, 96)], [latents]),
        Model("m_decoder", "onnxruntime", [latents], [depth(1, 64, 96)]),
    ]
    text = one_line(ensemble_config("m", stages))
    assert 'platform: "ensemble" max_batch_size: 0' in text and "instance_group" not in text
    assert (
        'model_name: "m_encoder" model_version: -1 input_map { key: "image" value: "image" }'
        in text
    )
    assert 'input_map { key: "latents" value: "latents" }' in text
    assert text.index("m_encoder") < text.index("m_decoder")


def test_a_type_that_no_graph_of_ours_has_is_refused() -> None:
    other = TensorInfo("depth", "complex64", (1, 64, 96))
    with pytest.raises(BundleError, match="depth is complex64"):
        model_config(Model("m", "onnxruntime", [image(1, 64, 96)], [other]), CPU)
