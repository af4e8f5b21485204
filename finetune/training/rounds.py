"""Steps at which all ranks tell each other something: seldom, since asking at each step would make GPUs wait."""

from __future__ import annotations

import time
from typing import Any

import torch.distributed as dist

EVERY = 5.0
"""Seconds between two rounds, or a step where that takes longer."""


class Rounds:
    """The steps of a phase before which all ranks hear what each of them has to say.

    Clocks differ between ranks and steps do not: the first one's clock says before which step the next round is.

    Args:
        every: Seconds between two rounds; 0 for one before each step.
    """

    def __init__(self, every: float = EVERY) -> None:
        self.every = min(EVERY, every)
        self._next, self._looked = 0, (0, 0.0)

    def ask(self, trainer: Any, mine: Any) -> list[Any] | None:
        """What all ranks say, by rank; None where there is no round before this step. All must call it alike.

        Args:
            trainer: Lightning's, of several ranks.
            mine: What this one says; it must pickle.
        """
        step, now = trainer.global_step, time.monotonic()
        if step < self._next:
            return None
        (last, then), self._looked = self._looked, (step, now)
        pace = (now - then) / max(1, step - last) if then else EVERY
        following = step + max(1, int(self.every / max(pace, 1e-3)))
        everybody: list[Any] = [None] * trainer.world_size
        dist.all_gather_object(everybody, (following, mine))
        self._next = everybody[0][0]
        return [said for _, said in everybody]
