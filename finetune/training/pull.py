"""Weight decay towards where the weights came from."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor


class PullToStart(L.Callback):
    """L2-SP (Li et al. 2018, arXiv 1802.01483): weights of the body decay towards those that the phase starts from.

    The pull is decoupled from the gradient, as AdamW's decay is: after each step of the optimizer, a weight goes the
    share `rate * strength` of its way back. The head decays to zero, by the optimizer itself.

    Args:
        strength: What multiplies the rate, 0 or more.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.start: dict[int, Tensor] = {}
        self._rates: list[float] = []

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Remembers where the learning weights of the body are now."""
        head = {id(p) for p in module.network.head.parameters()}
        self.start = {id(p): p.detach().clone() for p in module.parameters() if p.requires_grad and id(p) not in head}

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        """A step is about to be taken, at these rates: after it the schedule has moved on already."""
        self._rates = [group["lr"] for group in optimizer.param_groups]

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a step of the optimizer; batches whose gradients are only added are none."""
        with torch.no_grad():
            for rate, group in zip(self._rates, trainer.optimizers[0].param_groups, strict=False):
                for parameter in group["params"]:
                    if (start := self.start.get(id(parameter))) is not None:
                        parameter.lerp_(start, min(1.0, rate * self.strength))
        self._rates = []
