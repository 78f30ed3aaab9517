"""Frames to batches: read, varied and normalised in worker processes, in an order that is fixed.

What a frame looks like depends on the seed and on its place in the run alone, so that a run that
resumes, or that is spread over processes, sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from apdepth_deploy.errors import DataError, TrainingError

from .augment import augment
from .config import DataConfig, SetConfig, TrainConfig
from .data.eval_sets import open_rgbd
from .data.mixing import Draw, Mixture
from .data.sample import Dataset, Sample
from .data.skipping import BadSamples
from .data.synthetic import SyntheticDataset
from .data.training_sets import Hypersim, VirtualKitti
from .data.transforms import flip, normalise_depth, resize_sample
from .tasks import Batch

Item = dict[str, Any]


class Share(NamedTuple):
    """Which part of the stream a process takes."""

    rank: int
    world: int


class Frames(TorchDataset[Item]):
    """Samples as the networks take them, by ``Draw``: what torch's DataLoader reads in its workers.

    With ``kept``, a frame is what that gives for (set, index, flipped).
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int,
        kept: Callable[[int, int, bool], Item] | None = None,
    ) -> None:
        self.config = config
        self.seed = seed
        self.kept = kept
        self.sets = [open_set(one) for one in config.train]
        self.bad = BadSamples(config.bad_samples)

    def __getitem__(self, draw: Draw) -> Item:
        dataset = self.sets[draw.which]

        def read(frame: int) -> Item:
            return self._frame(draw._replace(frame=frame))

        return self.bad.first_good(dataset.name, draw.frame, len(dataset), read)

    def _frame(self, draw: Draw) -> Item:
        rng = np.random.default_rng((self.seed, draw.number))
        flipped = bool(rng.random() < self.config.flip)
        if self.kept is not None:
            frame = self.kept(draw.which, draw.frame, flipped)
        else:
            frame = self.item(self.sets[draw.which][draw.frame], draw.which, flipped, rng)
        return {**frame, "number": draw.number}

    def item(self, sample: Sample, which: int, flipped: bool, rng: np.random.Generator) -> Item:
        """A sample of set ``which`` as it is trained on; ``rng`` draws what varies it."""
        if self.config.augment:
            sample = augment(sample, rng)
        sample = flip(sample) if flipped else sample
        one = self.config.train[which]
        return item(sample, self.config.size(one), one.far_is_valid)


def item(sample: Sample, size: tuple[int, int], far_is_valid: bool) -> Item:
    """A sample at height and width: images, depth, target, valid, mask (``tasks.Batch``)."""
    sample = resize_sample(sample, *size)
    try:
        target = normalise_depth(sample.depth, sample.valid)
    except DataError as error:
        raise DataError(f"{sample.name}: {error}") from error
    # Unknown is far: mostly it is sky, or a window.
    target = np.where(sample.valid, target, np.float32(1.0))
    mask = np.ones_like(sample.valid) if far_is_valid else sample.valid
    return {
        "images": sample.image,
        "depth": sample.depth,
        "target": target,
        "valid": sample.valid,
        "mask": mask,
    }


def open_set(config: SetConfig) -> Dataset:
    """The data set that a table of the configuration names. Raises DataError."""
    dataset = _open_kind(config)
    return dataset if config.frames is None else First(dataset, config.frames)


def _open_kind(config: SetConfig) -> Dataset:
    path = Path(config.path)
    list_file = None if config.list is None else Path(config.list)
    if config.kind == "synthetic":
        return SyntheticDataset(path, config.split)
    if config.kind == "hypersim":
        return Hypersim(path, list_file)
    if config.kind == "vkitti":
        depth_path = None if config.depth_path is None else Path(config.depth_path)
        return VirtualKitti(path, depth_path, config.split, list_file)
    return open_rgbd(path, list_file, config.depth_scale)


class First:
    """The first frames of a set. Raises DataError where it has fewer."""

    def __init__(self, dataset: Dataset, frames: int) -> None:
        if len(dataset) < frames:
            raise DataError(f"{dataset.name} has {len(dataset)} frames, fewer than {frames}")
        self.name = f"{dataset.name} (first {frames})"
        self.dataset = dataset
        self.frames = frames

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[index]

    def stamp(self, index: int) -> str:
        return self.dataset.stamp(index)


def micro_batches(
    config: TrainConfig,
    share: Share,
    start: int,
    kept: Callable[[int, int, bool], Item] | None = None,
) -> Iterator[Batch]:
    """A process's micro-batches from number ``start`` of the stream on, without an end."""
    frames = Frames(config.data, config.run.seed, kept)
    mixture = Mixture(
        [len(one) for one in frames.sets],
        [one.weight for one in config.data.train],
        config.optimizer.micro_batch,
        config.run.seed,
    )
    loader: DataLoader[Item] = DataLoader(
        frames,
        batch_sampler=_Stream(mixture, start, share),
        num_workers=config.data.workers,
    )
    return loaded(loader)


def loaded(loader: DataLoader[Any]) -> Iterator[Any]:
    """What a loader gives. A worker's TrainingError comes as it was, without torch's traceback."""
    try:
        yield from loader
    except TrainingError as error:
        message = str(error).rpartition(f"{TrainingError.__name__}: ")[2]
        raise TrainingError(message.strip()) from error


class _Stream:
    """The sampler that DataLoader wants: an iterable of lists of keys."""

    def __init__(self, mixture: Mixture, start: int, share: Share) -> None:
        self.mixture = mixture
        self.start = start
        self.share = share

    def __iter__(self) -> Iterator[list[Draw]]:
        return self.mixture.stream(self.start, *self.share)
