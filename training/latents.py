"""What the frozen networks make of every frame, kept on disk, so that it is computed once.

One safetensors file per set, frame and side (as it is, flipped); an augmented frame is one draw,
another for each side. ``identity.json`` says what they were made with: latents of other weights,
sizes or sets are never mixed in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset, default_collate

from apdepth_deploy.errors import DataError, UsageError
from apdepth_deploy.files import atomic_file
from apdepth_deploy.model import ApDepth

from .batches import Frames, Item
from .config import TrainConfig
from .tasks import UNetTask

#: Frames that go through the networks together.
_AT_ONCE = 16
#: Of those, between two lines of progress.
_EVERY = 32


class KeptLatents:
    """A folder of latents, called as ``Frames`` calls it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, which: int, index: int, flipped: bool) -> Path:
        """Where a frame's latents are."""
        side = "_flipped" if flipped else ""
        return self.folder / f"set{which}" / f"{index:06d}{side}.safetensors"

    def __call__(self, which: int, index: int, flipped: bool) -> Item:
        """A frame's tensors, without a batch axis. Raises DataError where they aren't there."""
        path = self.path(which, index, flipped)
        try:
            frame: Item = load_file(path)
            return frame
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: no latents, or damaged ones") from error


def keep_latents(
    config: TrainConfig, task: UNetTask, accelerator: Accelerator, say: Callable[[str], None]
) -> KeptLatents:
    """Make what is missing of ``config.data.latents``, each process its share.

    A sample that can't be read has no latents: it is named and counted here, and stepped over in
    training. Raises UsageError where the folder holds other latents, TrainingError past the limit.
    """
    assert config.data.latents is not None, "asked for only where the configuration names a folder"
    kept = KeptLatents(Path(config.data.latents))
    frames = Frames(config.data, config.run.seed)
    if accelerator.is_main_process:
        _claim(kept.folder, _identity(config, task.model))
    accelerator.wait_for_everyone()
    missing = _Missing(frames, kept)
    mine = range(accelerator.process_index, len(missing), accelerator.num_processes)
    loader: DataLoader[Any] = DataLoader(
        missing,
        sampler=mine,
        batch_size=_AT_ONCE,
        collate_fn=list,
        num_workers=config.data.workers,
    )
    for done, group in enumerate(loader):
        good = [(Path(path), frame) for path, frame in group if frame is not None]
        for _, same in groupby(good, key=lambda one: one[1]["images"].shape):
            _keep(list(same), config, task, accelerator)
        if done % _EVERY == 0:
            say(f"latents: {done * _AT_ONCE} of {len(mine)}")
    accelerator.wait_for_everyone()
    return kept


class _Missing(Dataset[tuple[str, Item | None]]):
    """The frames whose latents aren't there yet; None for one that can't be read."""

    def __init__(self, frames: Frames, kept: KeptLatents) -> None:
        self.frames = frames
        sides = [
            side
            for side, share in ((False, 1 - frames.config.flip), (True, frames.config.flip))
            if share
        ]
        self.jobs = [
            (which, index, flipped)
            for which, dataset in enumerate(frames.sets)
            for index in range(len(dataset))
            for flipped in sides
            if not kept.path(which, index, flipped).exists()
        ]
        self.kept = kept

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> tuple[str, Item | None]:
        which, index, flipped = self.jobs[number]
        dataset = self.frames.sets[which]
        path = str(self.kept.path(which, index, flipped))
        try:
            rng = np.random.default_rng((self.frames.seed, which, index, int(flipped)))
            return path, self.frames.item(dataset[index], which, flipped, rng)
        except DataError as error:
            self.frames.bad.add(f"{dataset.name} {index}", error)
            return path, None


def _keep(
    frames: list[tuple[Path, Item]], config: TrainConfig, task: UNetTask, accelerator: Accelerator
) -> None:
    """Latents of frames of one size, each to its own file."""
    stacked = default_collate([frame for _, frame in frames])
    batch = {key: value.to(accelerator.device) for key, value in stacked.items()}
    with accelerator.autocast():
        made = task.latents(batch)
    if config.loss.pixel_l1:
        made |= {key: batch[key] for key in ("target", "mask")}
    for number, (path, _) in enumerate(frames):
        mine = {key: value[number].cpu().contiguous() for key, value in made.items()}
        with atomic_file(path) as temporary:
            save_file(mine, temporary)


def _identity(config: TrainConfig, model: ApDepth) -> dict[str, Any]:
    """All that the latents follow from."""
    data = config.to_json()["data"]
    keys = ("train", "height", "width", "augment")
    frozen = {k: v for k, v in model.state_dict().items() if not k.startswith("unet.")}
    return {
        "networks": _digest(frozen),
        "conventions": model.spec.to_json()["conventions"],
        "precision": config.run.precision,
        "pixels": bool(config.loss.pixel_l1),
        "seed": config.run.seed if config.data.augment else None,
        **{key: data[key] for key in keys},
    }


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Say in the folder what its latents are made with, or check that it says the same."""
    path = folder / "identity.json"
    text = json.dumps(identity, indent=1) + "\n"
    if not path.exists():
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{folder} keeps latents of other networks, sets or sizes: delete it, or name another "
            "data.latents"
        )
