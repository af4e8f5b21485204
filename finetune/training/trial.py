"""Some steps on a copy of a network that leave no trace: what is measured there decides how a phase runs."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch

from ..models.network import Network
from ..tasks.base import Task
from ..types import Batch, Stage
from .callbacks import KeepNorms
from .freeze import freeze_except
from .learner import Learner
from .offers import Surroundings
from .phase import Phase
from .plan import Plan
from .trainer import fit_trainer, quiet_lightning, trainer_words

if TYPE_CHECKING:
    from .teaching import Teacher


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A phase as it would run, on one device.

    Args:
        network: Is copied, and never changed.
        task: Loss.
        phase: What learns and how.
        plan: Decay, mixing and clipping.
        around: The devices.
        learning: What learns, by the names of the parameters of `network`.
        seed: Of dropout and mixing.
        head_decay: As for `Learner`.
        teacher: Whose answers count, where the phase asks for one.
    """

    network: Network
    task: Task
    phase: Phase
    plan: Plan
    around: Surroundings
    learning: tuple[Stage, ...]
    seed: int
    head_decay: float | None = None
    teacher: Teacher | None = None

    def run(
        self, loader: Iterable[Batch], *, steps: int, accumulate: int = 1, callbacks: Sequence[L.Callback] = (),
        learner: type[Learner] = Learner, validation: Iterable[Batch] | None = None, look_at: int = 0,
    ) -> None:  # fmt: skip
        """Takes steps on a copy of the network; weights, buffers and all generators of chance stay as they are.

        Args:
            loader: Batches to train on, again and again.
            steps: How many steps at most.
            accumulate: Batches a step.
            callbacks: What watches, and may stop.
            learner: The class that takes the steps.
            validation: Batches to validate on after each pass over `loader`.
            look_at: How many of them.
        """
        with untouched_chance(), quiet_lightning():
            module = learner(
                copy.deepcopy(self.network), self.task, self.phase, self.plan, seed=self.seed,
                head_decay=self.head_decay, learning=self.learning, teacher=self.teacher,
            )  # fmt: skip
            freeze_except(module, [Stage(s.name, tuple(f"network.{n}" for n in s.parameters)) for s in self.learning])
            words = trainer_words(self._alone(), self.plan, -1, [KeepNorms(self.phase.norms), *callbacks])
            words |= {"max_steps": steps, "accumulate_grad_batches": accumulate, "logger": False}
            words |= {"enable_progress_bar": False, "limit_val_batches": look_at}
            fit_trainer(L.Trainer(**words), module, {"train_dataloaders": loader, "val_dataloaders": validation})

    def _alone(self) -> Surroundings:
        """One device, and nobody's callbacks: a trial measures, and others need not know of it."""
        machine = self.around.machine
        devices = 1 if isinstance(machine.devices, int) else machine.devices[:1]
        machine = replace(machine, devices=devices, num_nodes=1, world_size=1, strategy="auto")
        return replace(self.around, machine=machine, callbacks=(), trainer={}, progress=False)


@contextlib.contextmanager
def untouched_chance() -> Iterator[None]:
    """Whatever is drawn in between, Python, NumPy and torch draw afterwards as if nothing had been."""
    python, legacy, host = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices: list[Any] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(host)
        if devices:
            torch.cuda.set_rng_state_all(devices)
