"""The loop: the same steps on one CPU, one GPU, many, or several machines, through accelerate.

Everything that is drawn follows from the seed and the number of the micro-batch. So a run that
resumes, or that is spread over processes, takes the steps it would have taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn

from apdepth_deploy.errors import UsageError
from apdepth_deploy.model import ApDepth

from .batches import Share, micro_batches
from .checkpoints import Checkpoints
from .config import TrainConfig
from .latents import keep_latents
from .model import starting_model
from .stepper import Stepper
from .tasks import Batch, UNetTask, make_task
from .validation import Validation

Say = Callable[[str], None]


def train(config: TrainConfig, progress: Say, dry_run: bool = False) -> Path | None:
    """Train what ``config.task`` names, from the last whole checkpoint in ``config.output`` on.

    Args:
        dry_run: take one step and write nothing.

    Returns:
        The finished model's checkpoint folder, which ``export`` takes; None after a dry run.

    Raises:
        UsageError, CheckpointError, DataError: what the configuration names doesn't fit.
        TrainingError: the loss is no number any more, or too many samples are bad.
        OutputError: a checkpoint can't be written; those before are untouched.
    """
    accelerator = _accelerator(config)
    say = progress if accelerator.is_main_process else _silent
    model = _tuned(starting_model(config.model, config.run.seed), accelerator.device)
    task = make_task(config, model)
    stepper = Stepper(config, task, accelerator)
    say(
        f"training the {config.task}, {_millions(task.network):.2f} M parameters, in "
        f"{accelerator.num_processes} process(es) on {accelerator.device.type}"
    )
    share = Share(accelerator.process_index, accelerator.num_processes)
    if dry_run:
        batches = micro_batches(config, share, start=0)
        began = time.monotonic()
        losses = stepper.step(0, batches)
        say(f"one step: {_numbers(losses)}; {time.monotonic() - began:.1f} s; nothing is written")
        return None
    checkpoints = Checkpoints(config, writes=accelerator.is_main_process)
    accelerator.wait_for_everyone()
    start = _restore(checkpoints, stepper, say)
    if start < config.run.steps:
        kept = None
        if config.data.latents is not None and isinstance(task, UNetTask):
            kept = keep_latents(config, task, accelerator, say)
        batches = micro_batches(config, share, start * stepper.micro_batches, kept)
        _run(config, accelerator, stepper, checkpoints, batches, start, say)
    if accelerator.is_main_process:
        checkpoints.finish(stepper)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return checkpoints.finished


def _tuned(model: ApDepth, device: torch.device) -> ApDepth:
    """The model on its device, as it trains fastest."""
    # Convolutions in half precision are up to twice as fast so, on CPU and GPU.
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if model.prior is not None:
        model.prior.resize_dtype = torch.float32  # the 1e-4 between the two teaches nothing
        if device.type == "cpu":
            # Of a few hundred tokens, PyTorch's fused attention is slower than its own parts.
            model.prior.net.set_attn_implementation("eager")
    return model


def _run(
    config: TrainConfig,
    accelerator: Accelerator,
    stepper: Stepper,
    checkpoints: Checkpoints,
    batches: Iterator[Batch],
    start: int,
    say: Say,
) -> None:
    """The steps from ``start`` to the last, with what is logged, looked at and kept on the way."""
    run = config.run
    validation = Validation(config, stepper.task) if config.data.validation else None
    accelerator.init_trackers("logs", init_kwargs={"tensorboard": {"purge_step": start + 1}})
    began = time.monotonic()
    for step in range(start, run.steps):
        losses = stepper.step(step, batches)
        done = step + 1
        if _is_due(done, run.log_every, run.steps):
            rate = {"rate": stepper.rate(step)}
            accelerator.log({f"loss/{name}": part for name, part in losses.items()} | rate, done)
            pace = (time.monotonic() - began) / (done - start)
            left = _duration(pace * (run.steps - done))
            say(f"step {done}/{run.steps}: {_numbers(losses)}; {pace:.2f} s/step, {left} left")
        if not accelerator.is_main_process:
            continue
        if validation and _is_due(done, run.validate_every, run.steps):
            with stepper.averaged():
                say(f"step {done}: {_numbers(validation.look(done, accelerator))}")
        if _is_due(done, run.checkpoint_every, run.steps):
            checkpoints.write(done, stepper)


def _is_due(done: int, every: int, steps: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)


def _restore(checkpoints: Checkpoints, stepper: Stepper, say: Say) -> int:
    """Take up the newest checkpoint; returns the steps done."""
    newest = checkpoints.newest()
    if newest is None:
        return 0
    steps, state = newest
    stepper.restore(state)
    say(f"going on after step {steps}")
    return steps


def _accelerator(config: TrainConfig) -> Accelerator:
    # The prior's mask token and its head's first residual unit take no part in its result.
    unused = DistributedDataParallelKwargs(find_unused_parameters=config.task == "prior")
    precision = config.run.precision
    try:
        return Accelerator(
            mixed_precision="no" if precision == "fp32" else precision,
            log_with="tensorboard",
            project_dir=config.output,
            kwargs_handlers=[unused],
        )
    except ValueError as error:  # fp16 without a GPU, among others
        raise UsageError(f"run.precision {precision} can't be had here: {error}") from error


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _millions(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _silent(message: str) -> None:
    """What the other processes say."""
