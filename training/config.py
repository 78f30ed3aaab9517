"""What a training run is, as plain data: a TOML file with one table for each class here.

The defaults are the authors' (their code, tag V1-1). Knows nothing about torch.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from apdepth_deploy.errors import DataError, UsageError

from .data.text import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What is trained: the network, everything else frozen.
TASKS = ("unet", "prior", "vae", "light_vae")
SETS = ("hypersim", "vkitti", "synthetic", "rgbd")
PRECISIONS = ("fp32", "fp16", "bf16")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What the run starts from.

    Attributes:
        checkpoint: folder or hub id: Stable Diffusion's, the authors', or one of ours.
        preset: instead of a checkpoint, a preset's networks, initialised as their libraries do.
        widen: the checkpoint has no prior (Stable Diffusion's takes 4 channels): join ``prior``
            and repeat the U-Net's first convolution for its latent.
        prior: put over it: transformers folder, hub id, original .pth, or "none".
        vae: put over it: a ``vae/`` folder, which brings its own latent scale.
        conventions: a name in ``apdepth_deploy.spec.CONVENTIONS``.
        light_vae: task "light_vae": the ``vae/`` folder that it starts from, such as TAESD's; None
            = a fresh one, ``light_width`` channels wide (TAESD: 64).
    """

    checkpoint: str | None = None
    preset: str | None = None
    widen: bool = False
    prior: str | None = None
    vae: str | None = None
    conventions: str | None = None
    light_vae: str | None = None
    light_width: int = 64


@dataclasses.dataclass(frozen=True)
class SetConfig:
    """One data set.

    Attributes:
        kind: one of ``SETS``.
        path: folder or tar file.
        depth_path: Virtual KITTI's depth, where it isn't merged with the pictures.
        list: file of ``rgb depth`` lines; None = all that is there.
        split: "train", "val" or "test".
        frames: only the first so many; None = all.
        weight: share of the micro-batches that come from this set.
        depth_scale: kind "rgbd": stored units per metre.
        height, width: frame size, in place of ``data``'s: a micro-batch comes from one set.
        far_is_valid: teach pixels without depth as farthest: where they are sky, as in rendered
            scenes. Else they are masked.
    """

    kind: str
    path: str
    depth_path: str | None = None
    list: str | None = None
    split: str = "train"
    frames: int | None = None
    weight: float = 1.0
    depth_scale: float = 1000.0
    height: int | None = None
    width: int | None = None
    far_is_valid: bool = False


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What it sees.

    Attributes:
        train: sets to mix, each micro-batch wholly from one, drawn by their weights.
        validation: what ``run.validate_every`` looks at.
        height, width: frame size in training, multiples of the VAE's stride.
        flip: probability of a horizontal flip.
        augment: also vary crop, exposure, colour, blur and noise: for sets that are rendered.
        latents: folder that keeps the frozen networks' results, so that they run once a frame;
            each frame and its mirror image are then augmented once.
        bad_samples: missing or damaged samples to step over, by name, before the run stops.
        workers: processes that read, for each training process.
    """

    train: tuple[SetConfig, ...]
    validation: SetConfig | None = None
    height: int = 480
    width: int = 640
    flip: float = 0.5
    augment: bool = False
    latents: str | None = None
    bad_samples: int = 100
    workers: int = 2

    def size(self, one: SetConfig) -> tuple[int, int]:
        """Height and width of a set's frames in training."""
        return one.height or self.height, one.width or self.width


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The U-Net's two-stage loss (paper, 3.3): MSE of latents, then the frequency loss.

    Attributes:
        frequency_start: step at which the second stage starts; None = never.
        frequency_weight: factor of the frequency loss.
        frequency_mode: "switch": it takes the MSE's place; "add": it joins.
        p, high_pass: exponent and lambda of eq. 10 and 11.
        pixel_l1: weight of an L1 on depth through the frozen decoder, in both stages; 0 = none.
    """

    frequency_start: int | None = 24000
    frequency_weight: float = 0.5
    frequency_mode: str = "switch"
    p: int = 1
    high_pass: float = 1.0
    pixel_l1: float = 0.0


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam with warm-up and exponential decay.

    Attributes:
        lr: peak learning rate.
        warmup: steps of linear rise.
        decay_steps: steps in which it falls to ``final_lr`` x lr; None = the run's length.
        final_lr: where it ends and stays, as a fraction of lr.
        batch: frames a step; micro_batch of them at once in each process.
        max_grad_norm: clips the gradient's norm; None = no clipping.
        ema: decay of an exponential moving average, which is then what is saved; None = none.
    """

    lr: float = 3e-5
    warmup: int = 100
    decay_steps: int | None = None
    final_lr: float = 0.01
    batch: int = 32
    micro_batch: int = 2
    max_grad_norm: float | None = None
    ema: float | None = None


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How long, how exact, how often it is kept.

    Attributes:
        steps: optimiser steps in all.
        seed: draws everything that is drawn.
        precision: of the networks' arithmetic; the weights stay float32.
        gradient_checkpointing: less memory, about a third more time.
        checkpoint_every, keep: steps between checkpoints, and how many stay.
        validate_every, validation_frames: steps between looks at the validation set; 0 = never.
        log_every: steps between lines and TensorBoard points.
    """

    steps: int = 25000
    seed: int = 0
    precision: str = "fp32"
    gradient_checkpointing: bool = False
    checkpoint_every: int = 1000
    keep: int = 2
    validate_every: int = 1000
    validation_frames: int = 16
    log_every: int = 10


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One run: ``apdepth-deploy train CONFIG``."""

    output: str
    model: ModelConfig
    data: DataConfig
    task: str = "unet"
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        for holds, rule in _rules(self):
            if not holds:
                raise UsageError(f"configuration: {rule}")

    def to_json(self) -> dict[str, Any]:
        """Plain types, as written beside the weights."""
        return dataclasses.asdict(self)


def _rules(c: TrainConfig) -> list[tuple[bool, str]]:
    o, r, d = c.optimizer, c.run, c.data
    sets = (*d.train, *((d.validation,) if d.validation else ()))
    if not d.train:
        return [(False, "data.train names no set: add a [[data.train]] table")]
    return [
        (c.task in TASKS, f"task is {c.task!r}; it must be one of {', '.join(TASKS)}"),
        (
            (c.model.checkpoint is None) != (c.model.preset is None),
            "model needs either checkpoint or preset",
        ),
        (
            not c.model.widen or (c.model.checkpoint is not None and c.model.prior is not None),
            "model.widen joins a prior to a checkpoint: name both",
        ),
        (
            all(s.kind in SETS for s in sets),
            f"a set's kind must be one of {', '.join(SETS)}",
        ),
        (
            all(s.weight > 0 and (s.frames is None or s.frames > 0) for s in sets),
            "a set's weight and frames must be above 0",
        ),
        (
            min(n for s in sets for n in d.size(s)) > 0,
            "height and width must be above 0",
        ),
        (0 <= d.flip <= 1, "data.flip is a probability, 0 to 1"),
        (
            d.latents is None or c.task == "unet",
            "data.latents keeps what the U-Net's frozen networks give: it goes with task 'unet'",
        ),
        (c.loss.frequency_mode in ("switch", "add"), "loss.frequency_mode must be switch or add"),
        (c.loss.p in (1, 2), "loss.p must be 1 or 2"),
        (
            o.micro_batch > 0 and o.batch > 0 and o.batch % o.micro_batch == 0,
            "optimizer.batch must be a multiple of optimizer.micro_batch",
        ),
        (c.model.light_width > 0, "model.light_width must be above 0"),
        (o.lr > 0, "optimizer.lr must be above 0"),
        (0 < o.final_lr <= 1, "optimizer.final_lr is a fraction of lr, above 0 and up to 1"),
        (o.ema is None or 0 < o.ema < 1, "optimizer.ema must lie between 0 and 1"),
        (r.precision in PRECISIONS, f"run.precision must be one of {', '.join(PRECISIONS)}"),
        (
            min(r.steps, r.checkpoint_every, r.keep, r.log_every, r.validation_frames) > 0,
            "run.steps, checkpoint_every, keep, log_every and validation_frames must be above 0",
        ),
        (
            min(r.validate_every, d.bad_samples, d.workers) >= 0,
            "run.validate_every, data.bad_samples and data.workers can't be below 0",
        ),
    ]


def read_config(path: Path) -> TrainConfig:
    """A run's TOML file. Raises UsageError that names the field which is wrong."""
    try:
        table = tomllib.loads(read_text(path))
    except DataError as error:
        raise UsageError(str(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    try:
        return config_from_json(table)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def config_from_json(table: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a table of plain types. Raises UsageError."""
    return _build(TrainConfig, table, "")


_T = TypeVar("_T")


def _build(cls: type[_T], table: Mapping[str, Any], where: str) -> _T:
    """A dataclass from a table: no unknown field, none missing, each of its type."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise UsageError(f"unknown field {where}{unknown[0]}; known: {', '.join(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in table
    ]
    if missing:
        raise UsageError(f"{where}{missing[0]} is missing")
    return cls(**{key: _value(hints[key], value, where + key) for key, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """``value`` as ``hint``'s type. Raises UsageError."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _value(options[0], value, where)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{where} must be a list of tables ([[{where}]])")
        return tuple(_value(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} must be a table ([{where}])")
        return _build(hint, value, f"{where}.")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UsageError(f"{where} is {value!r}; it must be of type {hint.__name__}")
    return value
