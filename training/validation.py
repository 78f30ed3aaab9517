"""A look at frames that aren't trained on: two numbers and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch.utils.data import default_collate

from apdepth_deploy.errors import DataError, TrainingError
from apdepth_deploy.files import atomic_file
from apdepth_deploy.pictures.depth import colorize
from apdepth_deploy.pictures.image import DepthArray, ImageArray

from .batches import Item, item, open_set
from .config import TrainConfig
from .data.sample import MaskArray
from .data.skipping import BadSamples
from .metrics import abs_rel, align_least_squares, delta
from .tasks import Batch, Task

#: Frames in the picture; the numbers are of all.
_SHOWN = 8


class Validation:
    """The same frames each time, spread evenly over the set; a bad one is named and stepped over.

    Raises DataError where the set is missing, TrainingError where not one of them can be read.
    """

    def __init__(self, config: TrainConfig, task: Task) -> None:
        assert config.data.validation is not None, "the loop asks only where there is a set"
        self.folder = Path(config.output) / "validation"
        self.config = config
        self.task = task
        self.set = open_set(config.data.validation)
        count = min(config.run.validation_frames, len(self.set))
        self.indices = np.linspace(0, len(self.set) - 1, count).round().astype(int).tolist()
        self.bad = BadSamples(config.data.bad_samples)
        next(self._frames())  # to miss them now, and not after the first thousand steps

    @torch.no_grad()
    def look(self, step: int, accelerator: Accelerator) -> dict[str, float]:
        """AbsRel and delta1 of all frames after alignment, logged and returned; writes a picture.

        They are of what the task predicts: depth, or the prior's disparity.
        """
        scores: list[tuple[float, float]] = []
        rows: list[ImageArray] = []
        for frame in self._frames():
            stacked = default_collate([frame])
            batch = {key: value.to(accelerator.device) for key, value in stacked.items()}
            predicted = self.task.predict(batch)[0].float().cpu().numpy()
            truth = self.task.truth(batch["depth"].clamp_min(1e-6))[0].cpu().numpy()
            scores.append(_score(predicted, truth, batch["valid"][0].cpu().numpy()))
            if len(rows) < _SHOWN:
                rows.append(_row(batch, predicted, truth))
        means = dict(zip(("abs_rel", "delta1"), np.mean(scores, axis=0).tolist(), strict=True))
        picture = np.concatenate(rows)
        accelerator.log({f"validation/{name}": value for name, value in means.items()}, step=step)
        tracker = accelerator.get_tracker("tensorboard")
        tracker.log_images({"validation": picture[None]}, step=step, dataformats="NHWC")
        with atomic_file(self.folder / f"step_{step:06d}.png") as path:
            Image.fromarray(picture).save(path, format="PNG")
        return means

    def _frames(self) -> Iterator[Item]:
        data, good = self.config.data, 0
        assert data.validation is not None
        for index in self.indices:
            try:
                sample = self.set[index]
                yield item(sample, data.size(data.validation), data.validation.far_is_valid)
                good += 1
            except DataError as error:
                self.bad.add(f"{self.set.name} {index}", error)
        if not good:
            raise TrainingError(
                f"{self.set.name}: not one of {len(self.indices)} frames to look at"
            )


def _score(predicted: DepthArray, truth: DepthArray, valid: MaskArray) -> tuple[float, float]:
    scale, shift = align_least_squares(predicted, truth, valid)
    aligned = np.maximum(scale * predicted + shift, 1e-6)
    return abs_rel(aligned, truth, valid), delta(aligned, truth, valid)


def _row(batch: Batch, predicted: DepthArray, truth: DepthArray) -> ImageArray:
    """Frame, prediction and truth side by side, uint8 [H,3W,3]; unknown depth is black."""
    valid = batch["valid"][0].cpu().numpy()
    shown = colorize(np.where(valid, truth, truth[valid].max())) * valid[..., None]
    return np.concatenate([batch["images"][0].cpu().numpy(), colorize(predicted), shown], axis=1)
