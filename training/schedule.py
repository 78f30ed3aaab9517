"""Learning rate and stage of a step."""

from __future__ import annotations

from .config import LossConfig, OptimizerConfig


def learning_rate(config: OptimizerConfig, steps: int, step: int) -> float:
    """Factor of the peak rate at ``step``: linear warm-up, then exponential decay to ``final_lr``.

    The authors' schedule: 100 steps of warm-up, down to 1% after 25000 (their code, tag V1-1).
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    length = (config.decay_steps or steps) - config.warmup
    progress = min((step - config.warmup) / max(length, 1), 1.0)
    return float(config.final_lr**progress)


def loss_weights(config: LossConfig, step: int) -> tuple[float, float]:
    """Weights of the latent MSE and of the frequency loss at ``step`` (paper, 3.3)."""
    if config.frequency_start is None or step < config.frequency_start:
        return 1.0, 0.0
    return (0.0 if config.frequency_mode == "switch" else 1.0), config.frequency_weight
