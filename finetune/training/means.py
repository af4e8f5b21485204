"""The mean of a loss over an epoch and over ranks, whose sum can be written down half-way."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class RunningMean:
    """Adds up values with their weights, where they are computed; nothing waits for an accelerator."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._count = 0

    def add(self, value: Tensor, weight: int) -> None:
        """Adds the mean of so many examples, ()."""
        self._sum = self._sum + value.float() * weight
        self._count += weight

    def mean(self) -> Tensor:
        """Of all ranks together, (); all of them ask at once."""
        total = torch.as_tensor(self._sum, dtype=torch.float32)
        both = torch.stack([total, torch.tensor(float(self._count), device=total.device)])
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(both)
        return both[0] / both[1]

    def state(self) -> dict[str, Any]:
        """What this rank has added up."""
        return {"sum": torch.as_tensor(self._sum).cpu(), "count": self._count}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        self._sum, self._count = state["sum"], state["count"]
