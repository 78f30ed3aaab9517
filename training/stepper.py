"""One optimiser step, whatever it is spread over: micro-batches, processes, precisions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from apdepth_deploy.errors import CheckpointError, TrainingError, UsageError

from .config import TrainConfig
from .schedule import learning_rate
from .tasks import Batch, Task

#: What a checkpoint keeps beside the model, for the run to go on: plain types and tensors.
State = dict[str, Any]


class Stepper:
    """The network that learns, with its optimiser and its moving average."""

    def __init__(self, config: TrainConfig, task: Task, accelerator: Accelerator) -> None:
        self.config = config
        self.task = task
        self.accelerator = accelerator
        self.micro_batches = config.optimizer.batch // config.optimizer.micro_batch
        self.accumulation = self._accumulation()
        self.parameters = [p for p in task.network.parameters() if p.requires_grad]
        adam = torch.optim.Adam(self.parameters, lr=config.optimizer.lr, fused=True)
        self.network, self.optimizer = accelerator.prepare(task.network, adam)
        decay = config.optimizer.ema
        self.ema = None if decay is None else EMAModel(self.parameters, decay=decay, foreach=True)

    def _accumulation(self) -> int:
        """Micro-batches that each process takes for a step."""
        processes = self.accelerator.num_processes
        if self.micro_batches % processes:
            raise UsageError(
                f"a step has {self.micro_batches} micro-batches, which {processes} processes can't "
                "share evenly: choose another optimizer.batch or micro_batch"
            )
        return self.micro_batches // int(processes)

    def rate(self, step: int) -> float:
        """The learning rate at ``step``."""
        optimizer = self.config.optimizer
        return optimizer.lr * learning_rate(optimizer, self.config.run.steps, step)

    def step(self, step: int, batches: Iterator[Batch]) -> dict[str, float]:
        """Take this process's micro-batches of one step, and the step.

        Returns the parts of the loss and their "total", means over all processes. Raises
        TrainingError where it is no finite number; the weights are then as they were.
        """
        sums: dict[str, torch.Tensor] = {}
        for i in range(self.accumulation):
            last = i == self.accumulation - 1
            with nullcontext() if last else self.accelerator.no_sync(self.network):
                for name, part in self._backward(next(batches), step).items():
                    sums[name] = sums.get(name, 0.0) + part
        losses = self._over_processes(sums)
        if not math.isfinite(losses["total"]):
            raise TrainingError(
                f"the loss at step {step + 1} is {losses['total']}: lower optimizer.lr, set "
                "optimizer.max_grad_norm, or use another run.precision; the checkpoints are whole"
            )
        self._update(step)
        return losses

    def _backward(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Add a micro-batch's share to the gradients; returns its share of the loss, by parts."""
        batch = {key: value.to(self.accelerator.device) for key, value in batch.items()}
        with self.accelerator.autocast():
            parts = self.task.losses(self.network, batch, step)
        total = torch.stack(list(parts.values())).sum() / self.accumulation
        self.accelerator.backward(total)
        return {name: part.detach() / self.accumulation for name, part in parts.items()}

    def _over_processes(self, parts: dict[str, torch.Tensor]) -> dict[str, float]:
        means = self.accelerator.reduce(torch.stack(list(parts.values())), reduction="mean")
        values = [float(value) for value in means]
        return {**dict(zip(parts, values, strict=True)), "total": sum(values)}

    def _update(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        norm = self.config.optimizer.max_grad_norm
        if norm is not None:
            self.accelerator.clip_grad_norm_(self.parameters, norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.step(self.parameters)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the network holds its moving average, where the run keeps one."""
        if self.ema is None:
            yield
            return
        self.ema.store(self.parameters)
        self.ema.copy_to(self.parameters)
        try:
            yield
        finally:
            self.ema.restore(self.parameters)

    def state(self) -> State:
        """All that the next step follows from, beside configuration and data."""
        scaler = self.accelerator.scaler
        return {
            "network": self.task.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def restore(self, state: State) -> None:
        """Take up a ``state()``. Raises CheckpointError where it is another network's."""
        try:
            self.task.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.ema is not None:
                self.ema.load_state_dict(state["ema"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"the run's state doesn't fit its model: {reason}") from error
