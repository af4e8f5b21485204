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
        self._named: dict[str, Tensor] = {}
        self._rates: list[float] = []

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Remembers where the learning weights of the body are now, or were when the phase began."""
        head = {id(p) for p in module.network.head.parameters()}
        body = {name: p for name, p in module.named_parameters() if p.requires_grad and id(p) not in head}
        self._named = {name: self._named.get(name, p.detach().clone()).to(p.device) for name, p in body.items()}
        self.start = {id(p): self._named[name] for name, p in body.items()}

    def state_dict(self) -> dict[str, Any]:
        """The start, for a checkpoint."""
        return {"start": self._named}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A phase that goes on is pulled to where it began."""
        self._named = state_dict["start"]

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
