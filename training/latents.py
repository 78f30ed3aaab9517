"""What the frozen networks make of every frame, kept on disk, so that it is computed once.

One safetensors file per set, frame and side (as it is, flipped); an augmented frame is one draw,
another for each side. ``identity.json`` says what they were made with: latents of other weights,
sizes or sets are never mixed in. Each file says of which frame it is: where the list or a picture
has changed, it is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset, default_collate

from apdepth_deploy.errors import DataError, UsageError
from apdepth_deploy.files import atomic_file
from apdepth_deploy.model import ApDepth

from .batches import Frames, Item, loaded
from .config import TrainConfig
from .tasks import UNetTask

#: The key under which a file says of which frame it is.
_STAMP = "frame"
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

    def holds(self, which: int, index: int, flipped: bool, stamp: str) -> bool:
        """Whether there are latents of the frame that has this stamp."""
        try:
            with safe_open(self.path(which, index, flipped), "pt") as file:
                return bool((file.metadata() or {}).get(_STAMP) == stamp)
        except (OSError, SafetensorError):
            return False

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
    accelerator.wait_for_everyone()  # all share out the same list: none writes before it is made
    mine = range(accelerator.process_index, len(missing), accelerator.num_processes)
    loader: DataLoader[Any] = DataLoader(
        missing,
        sampler=mine,
        batch_size=_AT_ONCE,
        collate_fn=list,
        num_workers=config.data.workers,
    )
    for done, group in enumerate(loaded(loader)):
        good = [one for one in group if one is not None]
        for _, same in groupby(good, key=lambda one: one.frame["images"].shape):
            _keep(list(same), config, task, accelerator)
        if done % _EVERY == 0:
            say(f"latents: {done * _AT_ONCE} of {len(mine)}")
    accelerator.wait_for_everyone()
    return kept


class _Made(NamedTuple):
    """What latents are made of, and where they go."""

    path: str
    stamp: str
    frame: Item


class _Missing(Dataset[_Made | None]):
    """The frames whose latents aren't there; None for one that can't be read."""

    def __init__(self, frames: Frames, kept: KeptLatents) -> None:
        self.frames = frames
        self.kept = kept
        flip = frames.config.flip
        sides = [side for side, share in ((False, 1 - flip), (True, flip)) if share]
        self.jobs = [
            (which, index, flipped)
            for which, dataset in enumerate(frames.sets)
            for index in range(len(dataset))
            for flipped in sides
            if not self._is_there(which, index, flipped)
        ]

    def _is_there(self, which: int, index: int, flipped: bool) -> bool:
        try:
            stamp = self.frames.sets[which].stamp(index)
        except DataError:
            return False
        return self.kept.holds(which, index, flipped, stamp)

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> _Made | None:
        which, index, flipped = self.jobs[number]
        dataset = self.frames.sets[which]
        path = self.kept.path(which, index, flipped)
        try:
            rng = np.random.default_rng((self.frames.seed, which, index, int(flipped)))
            stamp = dataset.stamp(index)
            item = self.frames.item(dataset[index], which, flipped, rng)
            return _Made(str(path), stamp, item)
        except DataError as error:
            self.frames.bad.add(f"{dataset.name} {index}", error)
            path.unlink(missing_ok=True)  # of another frame, or of what it was before
            return None


def _keep(made: list[_Made], config: TrainConfig, task: UNetTask, accelerator: Accelerator) -> None:
    """Latents of frames of one size, each to its own file."""
    stacked = default_collate([one.frame for one in made])
    batch = {key: value.to(accelerator.device) for key, value in stacked.items()}
    with accelerator.autocast():
        latents = task.latents(batch)
    if config.loss.pixel_l1:
        latents |= {key: batch[key] for key in ("target", "mask")}
    for number, one in enumerate(made):
        mine = {key: value[number].cpu().contiguous() for key, value in latents.items()}
        with atomic_file(Path(one.path)) as temporary:
            save_file(mine, temporary, metadata={_STAMP: one.stamp})


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
