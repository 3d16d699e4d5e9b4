"""The step size. Enters: settings and where training stands. Leaves: a number, a function of these alone."""

from __future__ import annotations

import math

from contract.config import TrainerConfig


def learning_rate(config: TrainerConfig, step: int, steps_per_epoch: int) -> float:
    """Of the optimiser step number `step`, from 1: linear warm-up, then constant or half a cosine wave down to 0.

    Loshchilov & Hutter 2017, "SGDR", without restarts, https://arxiv.org/abs/1608.03983
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step <= warmup:
        return config.learning_rate * step / warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - 1 - warmup) / (config.epochs * steps_per_epoch - warmup)
    return config.learning_rate * (1 + math.cos(math.pi * max(0.0, done))) / 2
