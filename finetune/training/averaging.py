"""The running average of the weights, which is validated, kept and handed on instead of the last step's."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from .learner import Learner
from .phase import Phase
from .rates import phase_steps


def decay_for(steps: int, share: float) -> float:
    """The decay of a running average that looks back over a share of a phase.

    A fixed decay such as .9998 belongs to runs of 100,000 steps: over the 80 steps of a small set it would still hold
    the weights of the start. An average with decay d weighs about the last 1 / (1 - d) steps.

    Args:
        steps: Optimizer steps of the phase.
        share: Of these, in (0, 1].
    """
    return 1 - 1 / max(1.0, share * steps)


class Average(L.Callback):
    """Puts the running average of the learning weights in place for validation, and for what is kept of the phase.

    The average starts from the weights that the phase starts from, so that early in a phase it is also an
    interpolation with them. It stays in place from the start of a validation to the next training step: what
    other callbacks keep in between is what was measured. On N ranks each computes the same.

    At the first validation the weights of training are measured too. Where they are better, the average lags behind
    what it averages, and starts anew from them: at that point it is never worse.

    Args:
        phase: Its `ema` says how far the average looks back.
        monitor: The logged metric that says what is better; without one the average is never compared.
        higher: Whether more of it is better.
    """

    def __init__(self, phase: Phase, monitor: str | None = None, higher: bool = True) -> None:
        self.phase, self.monitor, self.higher = phase, monitor, higher
        self.restarted = False
        self._compared = self._resumed = False
        self.decay = 0.0
        self.mean: dict[str, Tensor] = {}
        self.last: dict[str, Tensor] = {}
        self._step = 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Begins with the weights as they are, in full precision."""
        self.decay = decay_for(phase_steps(trainer, self.phase), self.phase.ema)
        if self._resumed:
            self._resumed = False
            self.mean = {name: self.mean[name].to(p.device) for name, p in self._learning(module)}
            return
        self.mean = {name: p.detach().float().clone() for name, p in self._learning(module)}
        self.last.clear()
        self.restarted = self._compared = False
        self._step = trainer.global_step

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Training goes on from its own weights."""
        self._put(module, self.last)
        self.last.clear()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts a step of the optimizer; batches whose gradients are only added are none."""
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            for name, parameter in self._learning(module):
                self.mean[name].lerp_(parameter.detach().float(), 1 - self.decay)

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        """What is measured is the average."""
        if self.mean:
            self._swap(module)

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Compares with the weights of training, once, before what was measured is logged."""
        # Only of our own module is it known how a pass over validation is repeated.
        if self._compared or not self.last or self.monitor is None or not isinstance(module, Learner):
            return
        self._compared = True
        averaged, seen = self._of(module), module.seen
        self._put(module, self.last)
        module.look_again()
        plain = self._of(module)
        # All ranks measure the pictures of all, and so decide alike.
        if averaged is None or plain is None or not (plain > averaged if self.higher else plain < averaged):
            module.seen = seen
            self._put(module, self.mean)
            return
        self.restarted = True
        self.mean = {name: value.float().clone() for name, value in self.last.items()}

    def state_dict(self) -> dict[str, Any]:
        """The average, for a checkpoint between two steps, where the weights in place are those of training."""
        return {"mean": self.mean, "restarted": self.restarted, "compared": self._compared, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with it."""
        self.mean, self.restarted = state_dict["mean"], state_dict["restarted"]
        self._compared, self._step, self._resumed = state_dict["compared"], state_dict["step"], True

    def _of(self, module: Learner) -> float | None:
        """The monitored metric of what the module has seen; None where it is not known or undefined."""
        value = module.measured().get(self.monitor or "")
        return value if value is not None and math.isfinite(value) else None

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """What is kept where nothing is measured is the average too."""
        self._swap(module)

    def _swap(self, module: Any) -> None:
        if not self.last:
            self.last = {name: parameter.detach().clone() for name, parameter in self._learning(module)}
            self._put(module, self.mean)

    @staticmethod
    def _learning(module: Any) -> list[tuple[str, Any]]:
        return [(name, p) for name, p in module.named_parameters() if p.requires_grad]

    @staticmethod
    def _put(module: Any, values: dict[str, Tensor]) -> None:
        parameters = dict(module.named_parameters())
        with torch.no_grad():
            for name, value in values.items():
                parameters[name].copy_(value)
