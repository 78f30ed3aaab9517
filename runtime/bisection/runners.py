"""Polygraphy's runners for our engines, with inner values as outputs.

Also the plug-in that gives ``polygraphy run`` its ``--openvino``. Knows nothing about bundles.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata
from polygraphy.exception import PolygraphyException
from polygraphy.logger import G_LOGGER

from apdepth_deploy.errors import BackendError
from apdepth_deploy.machine.telemetry import import_onnxruntime
from apdepth_deploy.machine.tensorrt import load_tensorrt

from ..engines.chain import one_line
from ..engines.openvino_backend import settings_for
from ..engines.openvino_compile import core
from . import RTX_SWITCH

#: {input: its smallest, usual and largest shape}.
Shapes = Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]


@contextmanager
def polygraphy_errors(doing: str) -> Iterator[None]:
    """Polygraphy keeps its log to itself; what fails is a BackendError."""
    kept = G_LOGGER.module_severity
    G_LOGGER.module_severity = G_LOGGER.CRITICAL
    try:
        yield
    except (PolygraphyException, RuntimeError) as error:
        raise BackendError(f"{doing} failed: {one_line(error)}") from error
    finally:
        G_LOGGER.module_severity = kept


class Engine(NamedTuple):
    """What runs a graph: a backend of ours, on "cpu", "cuda" or "cuda:N"."""

    backend: str
    device: str

    @property
    def label(self) -> str:
        name = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}.get(self.backend)
        return f"{name or self.backend} on {self.device}"

    @property
    def words(self) -> list[str]:
        """What ``polygraphy run`` calls it."""
        if self.backend == "openvino":
            return ["--openvino"]
        if self.backend == "onnxruntime":
            return ["--onnxrt", *(["--providers", "cuda"] if self.device != "cpu" else [])]
        return ["--trt", *(["--strongly-typed"] if _has_typed_flag(self.backend) else [])]

    @property
    def variables(self) -> dict[str, str]:
        """What has to be in the environment for that."""
        return {RTX_SWITCH: "1"} if self.backend == "tensorrt-rtx" else {}

    def runner(self, path: Path, outputs: Sequence[str], shapes: Shapes) -> Any:
        """A graph file on it, giving ``outputs``: to be used in a ``with`` block."""
        if self.backend == "openvino":
            return OpenVinoRunner(str(path), outputs)
        if self.backend == "onnxruntime":
            return _onnxruntime(path, outputs, self.device)
        return _tensorrt(self.backend, path, outputs, shapes)


#: What others are compared with.
REFERENCE = Engine("onnxruntime", "cpu")


class OpenVinoRunner(BaseRunner):
    """OpenVINO on the CPU, in float32."""

    def __init__(
        self, path: str, outputs: Sequence[str] | None = None, name: str | None = None
    ) -> None:
        """``outputs``: names of values; None = the graph's own."""
        super().__init__(name=name, prefix="openvino-runner")
        self._path, self._outputs = path, outputs

    def activate_impl(self) -> None:
        model = core().read_model(self._path)
        given = {name for port in model.outputs for name in port.names}
        model.add_outputs([name for name in self._outputs or () if name not in given])
        names = self._outputs or [port.any_name for port in model.outputs]
        self._compiled = core().compile_model(model, "CPU", settings_for("fp32", None, "latency"))
        self._ports = {name: self._compiled.output(name) for name in names}

    def deactivate_impl(self) -> None:
        del self._compiled, self._ports

    def get_input_metadata_impl(self) -> TensorMetadata:
        metadata = TensorMetadata()
        for port in self._compiled.inputs:
            shape = [n.get_length() if n.is_static else None for n in port.partial_shape]
            metadata.add(port.any_name, np.dtype(port.element_type.to_dtype()), shape)
        return metadata

    def infer_impl(self, feed_dict: Mapping[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        found = self._compiled(dict(feed_dict))
        self.inference_time = time.perf_counter() - start
        return {name: found[port].copy() for name, port in self._ports.items()}


def _onnxruntime(path: Path, outputs: Sequence[str], device: str) -> Any:
    import onnx
    from polygraphy.backend.onnx import modify_outputs
    from polygraphy.backend.onnxrt import OnnxrtRunner

    def session() -> Any:
        model = modify_outputs(onnx.load(str(path), load_external_data=False), list(outputs))
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.enable_mem_pattern = False
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent)
        )
        providers = ["CPUExecutionProvider"]
        if device != "cpu":
            providers.insert(0, "CUDAExecutionProvider")
        return ort.InferenceSession(model.SerializeToString(), options, providers=providers)

    return OnnxrtRunner(session)


def _tensorrt(target: str, path: Path, outputs: Sequence[str], shapes: Shapes) -> Any:
    from polygraphy import config
    from polygraphy.backend import trt
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

    rtx = target == "tensorrt-rtx"
    if rtx != config.USE_TENSORRT_RTX:
        raise BackendError(f"Polygraphy has another TensorRT in this process: set {RTX_SWITCH}")
    create_config = CreateConfigRTX if rtx else trt.CreateConfig
    profile = trt.Profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.add(name, smallest, usual, largest)
    network = trt.NetworkFromOnnxPath(str(path), strongly_typed=_has_typed_flag(target))
    marked = trt.ModifyNetworkOutputs(network, list(outputs))
    return trt.TrtRunner(trt.EngineFromNetwork(marked, create_config(profiles=[profile])))


def _has_typed_flag(target: str) -> bool:
    """TensorRT 10 has to be told that a graph is strongly typed; later ones know nothing else."""
    return hasattr(load_tensorrt(target).NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def plugin() -> list[Any]:
    """What ``polygraphy run`` asks for: see the entry point in pyproject.toml."""
    from polygraphy.tools.args import ModelArgs, OnnxLoadArgs
    from polygraphy.tools.args.base import BaseRunnerArgs
    from polygraphy.tools.script import make_invocable

    class OpenVinoArgs(BaseRunnerArgs):
        """OpenVINO Inference: running inference with OpenVINO on the CPU, in float32."""

        def get_name_opt_impl(self) -> tuple[str, str]:
            return "OpenVINO", "openvino"

        def add_to_script_impl(self, script: Any) -> None:
            script.add_import(imports=["OpenVinoRunner"], frm=__name__)
            path = self.arg_groups[ModelArgs].path
            outputs = self.arg_groups[OnnxLoadArgs].outputs
            script.add_runner(make_invocable("OpenVinoRunner", path, outputs))

    return [OpenVinoArgs()]
