"""A model of Triton's Python backend on this project's own runtime; runs inside of the server.

A repository's ``model.py`` is one line that imports the class from here. Its input and output are
those of the graph, so that a client can't tell it from the ONNX Runtime or TensorRT form.

Arrays pass by DLPack: ``pb_utils.Tensor(name, array)`` of a server that was built for NumPy 1, such
as 2.51, gives tensors of no bytes under NumPy 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # a module of the server's

from apdepth_deploy.errors import ApDepthError

from ..choice import load

#: Folder of the bundle beside a repository's ``model.py``.
BUNDLE = "bundle"


class TritonPythonModel:
    """One instance of the model: Triton starts a process for each."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the bundle on the CPU or on the instance's GPU.

        Raises TritonModelException, whose words Triton shows as the reason of not loading it.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        wanted = {name: value["string_value"] for name, value in parameters.items()}
        gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if gpu else "cpu"
        bundle = Path(args["model_repository"]) / args["model_version"] / BUNDLE
        try:
            self._predictor = load(bundle, device=device, **wanted)
            self._predictor.settle()
        except ApDepthError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        pb_utils.Logger.log_info(self._predictor.reason)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Frames uint8 [B,H,W,3] of every request -> depth float32 [B,H,W], all in one run.

        Triton gives several requests only where the graph takes a range of batches, and then of
        one size and no more frames than it takes.
        """
        images = [pb_utils.get_input_tensor_by_name(request, "image") for request in requests]
        frames = [np.from_dlpack(image) for image in images]
        try:
            depth = self._predictor.chain.run(np.concatenate(frames))["decoder"]
        except ApDepthError as error:
            failure = pb_utils.TritonError(str(error))
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]
        ends = np.cumsum([len(frame) for frame in frames])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("depth", part)])
            for part in np.split(depth, ends)
        ]

    def finalize(self) -> None:
        """Free the device's memory."""
        self._predictor.close()
