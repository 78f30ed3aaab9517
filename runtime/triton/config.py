"""What Triton has to be told of a model, as ``config.pbtxt``: all of it comes from the manifest.

Knows nothing about files. The fields are those of Triton's ``ModelConfig``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from apdepth_deploy.bundle import TensorInfo, axis_sizes
from apdepth_deploy.errors import BundleError

from .pbtxt import Word, to_text

#: First line of every configuration: what tells our repositories from others.
MARK = "# Written by `apdepth-deploy triton`; writing it again replaces the repository."

_TYPES = {"uint8": Word("TYPE_UINT8"), "float32": Word("TYPE_FP32")}


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a model runs.

    Attributes:
        gpus: None = the CPU, () = every GPU of the server, or these, as CUDA counts them.
        instances: copies of the model on each of them.
    """

    gpus: tuple[int, ...] | None
    instances: int


@dataclasses.dataclass(frozen=True)
class Model:
    """One model of a repository.

    Attributes:
        name: its folder's and in requests.
        backend: of Triton: "tensorrt", "onnxruntime" or "python".
        inputs, outputs: as in the manifest; the first axis is the batch.
        file: name of the model's file; "" for the backend's own default.
        files_by_capability: {compute capability: file}, where GPUs need files of their own.
        parameters: {name: text}, for a Python model.
    """

    name: str
    backend: str
    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    file: str = ""
    files_by_capability: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)


def model_config(model: Model, placement: Placement) -> str:
    """``config.pbtxt`` of a model that a backend runs."""
    fields = _head(model.name, "backend", model.backend, model.inputs, model.outputs)
    if model.file:
        fields["default_model_filename"] = model.file
    if model.files_by_capability:
        fields["cc_model_filenames"] = _map(model.files_by_capability)
    fields["instance_group"] = _instance_group(placement)
    sizes = _batch_sizes(model.inputs)
    if sizes:
        fields["dynamic_batching"] = _dynamic_batching(model.backend, sizes)
    if model.backend == "tensorrt":  # captured when it loads, for batches of 1, preferred, largest
        fields["optimization"] = {"cuda": {"graphs": True}}
    fields["model_warmup"] = [_warm_up(model.inputs, size) for size in sizes or (1,)]
    if model.parameters:
        values = {name: {"string_value": text} for name, text in model.parameters.items()}
        fields["parameters"] = _map(values)
    return f"{MARK}\n{to_text(fields)}"


def ensemble_config(name: str, models: Sequence[Model]) -> str:
    """``config.pbtxt`` of the chain of models from frame to depth; tensors join by their names."""
    depth = [tensor for tensor in models[-1].outputs if tensor.name == "depth"]
    fields = _head(name, "platform", "ensemble", models[0].inputs, depth)
    fields["ensemble_scheduling"] = {"step": [_step(model) for model in models]}
    return f"{MARK}\n{to_text(fields)}"


def _head(
    name: str,
    kind: str,
    value: str,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
) -> dict[str, Any]:
    sizes = _batch_sizes(inputs)
    return {
        "name": name,
        kind: value,
        "max_batch_size": max(sizes, default=0),
        "input": [_tensor(tensor, bool(sizes)) for tensor in inputs],
        "output": [_tensor(tensor, bool(sizes)) for tensor in outputs],
    }


def _batch_sizes(inputs: Sequence[TensorInfo]) -> tuple[int, ...]:
    """The smallest batch, the one it is tuned for and the largest, where Triton may form batches.

    It forms them from one frame up: a graph whose range starts higher takes what a client sends.
    """
    smallest, opt, largest = axis_sizes(inputs[0].shape[0])
    return tuple(sorted({1, opt, largest})) if smallest == 1 < largest else ()


def _tensor(tensor: TensorInfo, batched: bool) -> dict[str, Any]:
    if tensor.dtype not in _TYPES:
        raise BundleError(
            f"{tensor.name} is {tensor.dtype}, and a graph's inputs and outputs are "
            f"{' or '.join(_TYPES)}. Export the bundle again"
        )
    dims = [n if isinstance(n, int) else -1 for n in tensor.shape[batched:]]
    return {"name": tensor.name, "data_type": _TYPES[tensor.dtype], "dims": dims}


def _instance_group(placement: Placement) -> dict[str, Any]:
    kind = Word("KIND_CPU" if placement.gpus is None else "KIND_GPU")
    group: dict[str, Any] = {"count": placement.instances, "kind": kind}
    return {**group, "gpus": list(placement.gpus)} if placement.gpus else group


def _dynamic_batching(backend: str, sizes: Sequence[int]) -> dict[str, Any]:
    """Batches of the frames that wait already, without a delay to wait for more.

    A TensorRT engine is tuned for one size, the only reason to prefer any.
    """
    return {"preferred_batch_size": list(sizes[1:])} if backend == "tensorrt" else {}


def _warm_up(inputs: Sequence[TensorInfo], size: int) -> dict[str, Any]:
    """A sample of zeros: the first run of a shape allocates, compiles and chooses kernels."""
    batched = bool(_batch_sizes(inputs))
    samples = {
        tensor.name: {
            "data_type": _TYPES[tensor.dtype],
            "dims": [axis_sizes(n)[1] for n in tensor.shape[batched:]],
            "zero_data": True,
        }
        for tensor in inputs
    }
    return {"name": f"batch of {size}", "batch_size": size, "inputs": _map(samples)}


def _step(model: Model) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "model_version": -1,
        "input_map": _map({tensor.name: tensor.name for tensor in model.inputs}),
        "output_map": _map({tensor.name: tensor.name for tensor in model.outputs}),
    }


def _map(entries: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in entries.items()]
