"""What is evaluated, as one kind of callable: a bundle on a backend, or a checkpoint in PyTorch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import apdepth_deploy
from apdepth_deploy.bundle import MANIFEST
from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import sha256
from apdepth_deploy.pictures.image import DepthArray, ImageArray, resize_depth, resize_image
from apdepth_deploy.spec import ModelSource


@dataclasses.dataclass(frozen=True)
class Model:
    """A model under evaluation.

    Attributes:
        predict: uint8 [H,W,3] -> float32 [H,W] of the same size, 0 near .. 1 far.
        label: what it is and on what it runs, for people.
        identity: changes when the results might.
    """

    predict: Callable[[ImageArray], DepthArray]
    label: str
    identity: str


def open_bundle(folder: Path, backend: str, precision: str | None = None) -> Model:
    """A bundle on one of its backends. Raises BundleError, BackendError."""
    predictor = apdepth_deploy.load(folder, backend=backend, precision=precision)
    predictor.settle()  # every frame on one engine
    size = predictor.frame_size
    seen = "frames at their own size" if size is None else f"frames at {size[0]}x{size[1]}"
    label = f"{folder.name}: {predictor.backend}, {predictor.precision}, {seen}"
    identity = _digest(sha256(folder / MANIFEST), predictor.backend, predictor.precision)
    return Model(predictor, label, identity)


def open_checkpoint(source: ModelSource, size: tuple[int, int] | None) -> Model:
    """A checkpoint in PyTorch, float32.

    Args:
        size: height and width that frames are brought to; None = their own, to multiples of 8.

    Raises CheckpointError, UsageError.
    """
    import torch

    from apdepth_deploy.model.loading import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(source).to(device)
    stride = model.spec.latent_stride
    if size is not None and (size[0] % stride or size[1] % stride or min(size) <= 0):
        raise UsageError(f"--height and --width must be multiples of {stride} above 0")

    @torch.inference_mode()
    def predict(image: ImageArray) -> DepthArray:
        rows, columns = image.shape[:2]
        height, width = size or (_multiple(rows, stride), _multiple(columns, stride))
        frame = torch.from_numpy(resize_image(image, height, width).copy())[None].to(device)
        depth: DepthArray = model(frame)[0].cpu().numpy()
        return resize_depth(depth, rows, columns)

    seen = "frames at their own size" if size is None else f"frames at {size[0]}x{size[1]}"
    parts = [
        hashlib.sha256(t.cpu().numpy().tobytes()).hexdigest() for t in model.state_dict().values()
    ]
    identity = _digest(json.dumps(model.spec.to_json()), str(size), *parts)
    return Model(predict, f"{source.label}: PyTorch, fp32, {seen}", identity)


def _multiple(side: int, stride: int) -> int:
    return max(round(side / stride), 1) * stride


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_bundle(name: str) -> bool:
    """Whether a name is a bundle's folder rather than a checkpoint."""
    return (Path(name) / MANIFEST).is_file()


def prediction(model: Model, image: ImageArray, longer_side: int | None) -> DepthArray:
    """Depth of the image's size, from the model at the set's resolution."""
    rows, columns = image.shape[:2]
    height, width = _processing_size((rows, columns), longer_side)
    return resize_depth(model.predict(resize_image(image, height, width)), rows, columns)


def _processing_size(size: Sequence[int], longer_side: int | None) -> tuple[int, int]:
    if longer_side is None:
        return size[0], size[1]
    scale = longer_side / max(size)
    return round(size[0] * scale), round(size[1] * scale)
