"""Ends a phase on pictures once validation has seen that it leads away from a probe that was hard to beat."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np

from ..tasks.base import Task
from .settle import losses_at, temperature

PLAIN = 0.1
"""Share of the probe's loss below which a difference is no reason to end, be it as certain as it may: weights that have
hardly moved differ from the probe by little, and by that on every example."""


class GiveUp(L.Callback):
    """Ends a phase after the first epoch whose answers are plainly worse than the probe's.

    That is by more than a standard error, and by more than a tenth of the probe's own loss. Compared are the losses by
    which the run comes to rest later, of the averaged weights where there is an average. All ranks see the answers of
    all, and so end alike.

    Args:
        task: Says what the losses are.
        safe: (n, K) logits of the validation examples under the probe, in the order of their rows.
    """

    def __init__(self, task: Task, safe: np.ndarray) -> None:
        self.task, self.safe = task, safe
        self.after: int | None = None

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """A phase that had ended stays so, where a run goes on from the checkpoint at its end."""
        trainer.should_stop = trainer.should_stop or self.after is not None

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Compares what the module has just answered."""
        if trainer.sanity_checking:
            return
        logits, target = module.answered()
        after, before = (
            losses_at(self.task, answer, target, temperature(self.task, answer, target))
            for answer in (logits, self.safe)
        )
        worse = after - before
        if worse.mean() > max(worse.std() / np.sqrt(len(worse)), PLAIN * before.mean()):
            self.after = trainer.current_epoch + 1
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Whether it has ended."""
        return {"after": self.after}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers it."""
        self.after = state_dict["after"]

    def said(self) -> str | None:
        """What happened, as a line; None where the phase has run its course."""
        if self.after is None:
            return None
        return f"  ended after epoch {self.after}: validation is answered worse than by the probe, by its losses"
