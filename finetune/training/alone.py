"""One phase in a person's own Trainer: what `fit` sees to beside the steps, the module brings along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from ..data.samplers import EpochSampler
from ..data.workers import PictureLoader
from ..errors import ConfigError
from ..models.network import Network
from ..tasks.base import Task
from ..types import Batch, Stage
from .freeze import freeze_except
from .learner import Learner
from .machine import accumulation
from .phase import Phase
from .phases import beside
from .plan import Plan
from .teaching import Teacher


class LoneLearner(Learner):
    """The `Learner` of a plan's one phase on pictures, for any Trainer.

    The Trainer's own words say for how long, on which devices and how exactly; the rates run over its length,
    whatever the plan says of epochs. What does not learn is frozen already, and callbacks that the module names itself
    keep it so. Gradients are clipped as the plan says where the Trainer says nothing.

    Args:
        network: What learns.
        task: Loss and metrics.
        phase: What learns, and its rates.
        plan: Decay, warm-up, mixing and clipping.
        seed: As for `Learner`, and so are the next two.
        head_decay: Weight decay of the head, where it has been fitted.
        teacher: Whose answers count.
        learning: What learns, by the names of the network's parameters.
    """

    def __init__(
        self, network: Network, task: Task, phase: Phase, plan: Plan, *, seed: int, learning: Sequence[Stage],
        head_decay: float | None = None, teacher: Teacher | None = None,
    ) -> None:  # fmt: skip
        super().__init__(network, task, phase, plan, seed=seed, head_decay=head_decay, learning=learning,
                         teacher=teacher)  # fmt: skip
        freeze_except(self, [Stage(s.name, tuple(f"network.{name}" for name in s.parameters)) for s in learning])

    def configure_callbacks(self) -> Sequence[L.Callback]:
        """What holds frozen statistics, averages weights and pulls to the start; of fitting alone."""
        if self.trainer.state.fn != "fit":
            return []
        self._take_length()
        return beside(self.phase, self.plan)

    def _take_length(self) -> None:
        """The phase is as long as the Trainer runs.

        Raises:
            ConfigError: A Trainer without an end, or one that adds up other gradients than the recipe says.
        """
        trainer, wrong = self.trainer, []
        if trainer.max_epochs in (None, -1) and trainer.max_steps == -1:
            wrong.append("The Trainer has no end, and rates run over its length. Expected max_epochs or max_steps.")
        batches = accumulation(self.plan, trainer.world_size)
        if trainer.accumulate_grad_batches != batches:
            wrong.append(
                f"The recipe adds the gradients of {batches} batches a step, the Trainer those of "
                f"{trainer.accumulate_grad_batches}. Expected Trainer(accumulate_grad_batches={batches})."
            )
        if wrong:
            raise ConfigError("\n".join(wrong))
        if trainer.max_epochs not in (None, -1):
            self.phase = replace(self.phase, epochs=int(trainer.max_epochs or 0), steps=0)

    def on_train_start(self) -> None:
        """Refuses a sampler that would deal out a rank's share once more.

        Raises:
            ConfigError: Lightning has put one around ours.
        """
        loader, several = self.trainer.train_dataloader, self.trainer.world_size > 1
        if several and isinstance(loader, PictureLoader) and not isinstance(loader.sampler, EpochSampler):
            raise ConfigError(
                "The loaders of ft.datamodule share pictures out among ranks by themselves. "
                "Expected Trainer(use_distributed_sampler=False)."
            )
        super().on_train_start()

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips as the Trainer says, else as the plan does."""
        most = self.plan.gradient_clip or None if gradient_clip_val is None else gradient_clip_val
        super().configure_gradient_clipping(optimizer, most, gradient_clip_algorithm)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects the logits of a batch."""
        self._step(batch, "test")

    def on_test_epoch_end(self) -> None:
        """The task's metrics over the test part."""
        self._log_measured("test")

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> np.ndarray:
        """What the task answers, probabilities (N, K) say."""
        logits: Tensor = self.network(batch.inputs.contiguous(memory_format=torch.channels_last))
        return self.task.answer(logits.detach().float().cpu())
