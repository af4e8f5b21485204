"""A phase of gradient steps on pictures: its loaders, its adapters, its rate, its length."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.cache import PictureCache
from ..data.loaders import make_loader
from ..models.network import Network
from ..tasks.base import Task
from ..types import ImageSpec, Stage
from .below import computed_once
from .freeze import learning_stages
from .machine import accumulation
from .offers import Candidate, Surroundings, write_state
from .phase import Phase
from .plan import Plan

if TYPE_CHECKING:
    from .teaching import Teacher
    from .transfer import Lesson, Say


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one phase on pictures is given beside the network and the lesson.

    Args:
        index: Its number, from 0.
        prefix: Before the names of its checkpoints and table rows.
        monitor: The logged metric that chooses the epoch; None keeps the last.
        higher: Whether more of it is better.
        epochs: Stops after so many of its epochs; None after all.
        head_decay: Weight decay of the head, where an earlier phase has found the one that it needs.
        teacher: Whose answers count, where the phase asks for one.
    """

    index: int
    prefix: str
    monitor: str | None
    higher: bool
    epochs: int | None
    head_decay: float | None
    teacher: Teacher | None


def fit_on_pictures(
    network: Network, task: Task, lesson: Lesson, plan: Plan, phase: Phase, around: Surroundings, turn: Turn, say: Say
) -> tuple[list[Candidate], bool]:
    """Runs one phase; the network then holds its best weights.

    Returns:
        The best weights and behind them the next best, and whether the user asked to stop.
    """
    # Lightning costs seconds to import, and a probe has no use for it.
    from ..models.adapters import add_lora, merge_lora
    from .learner import Learner
    from .phases import fit_phase

    added: tuple[str, ...] = ()
    if phase.learns == "adapters":
        added = add_lora(network, rank=plan.lora_rank, alpha=plan.lora_alpha, seed=plan.seed)
    try:
        learning = learning_stages(network, network.stages, phase.learns, added)
        learner = Learner(network, task, phase, plan, seed=plan.seed + turn.index, head_decay=turn.head_decay,
                          learning=learning, teacher=turn.teacher)  # fmt: skip
        named = tuple(Stage(s.name, tuple(f"network.{name}" for name in s.parameters)) for s in learning)
        size = (phase.size, phase.size) if phase.size else network.spec.size
        with contextlib.ExitStack() as stack:
            below = stack.enter_context(computed_once(network, lesson, learning, plan, phase, around, turn, say))
            if below is not None:
                learner.divided, train, validation = below.divided, below.train, below.validation
            else:
                train, validation = (
                    stack.enter_context(_loader(lesson, spec, plan, phase, around, turn, say, train=part))
                    for part, spec in ((True, replace(network.spec, size=size)), (False, network.spec))
                )
            phase, batches = in_epochs(phase, len(train), accumulate=accumulation(plan, around.machine.world_size))
            learner.phase = phase
            offers, asked = fit_phase(
                learner, named, phase, plan, around, index=turn.index, monitor=turn.monitor, higher=turn.higher,
                data={"train_dataloaders": train, "val_dataloaders": validation},
                epochs=turn.epochs, batches=batches, prefix=turn.prefix,
            )  # fmt: skip
    finally:
        network.requires_grad_(True)
        if added:
            merge_lora(network)
    if added:
        # Whoever reads these weights later has no adapters.
        write_state(offers[0].state, {f"network.{name}": t for name, t in network.state_dict().items()})
        offers = offers[:1]
    return offers, asked


def in_epochs(phase: Phase, batches: int, *, accumulate: int) -> tuple[Phase, int | None]:
    """A phase whose length is said in steps, as epochs of equal length that end in a validation each.

    Args:
        phase: As planned.
        batches: How many there are in an epoch.
        accumulate: Batches a step.

    Returns:
        The phase with its number of epochs, and how many batches each of them has; None for all.
    """
    if not phase.steps:
        return phase, None
    wanted = phase.steps * accumulate
    epochs = max(1, math.ceil(wanted / batches))
    return replace(phase, epochs=epochs), max(accumulate, round(wanted / epochs / accumulate) * accumulate)


@contextlib.contextmanager
def _loader(
    lesson: Lesson, spec: ImageSpec, plan: Plan, phase: Phase, around: Surroundings, turn: Turn, say: Say, *,
    train: bool,
) -> Iterator[Any]:  # fmt: skip
    """Batches of the training or the validation part, with what keeps them decoded; None where the part is empty."""
    rows: np.ndarray = lesson.train if train else lesson.validation
    if not len(rows):
        yield None
        return
    with PictureCache(plan.cache, lesson.examples, spec, say=say) as cache:
        yield make_loader(
            lesson.examples, lesson.target, spec, indices=rows, batch_size=plan.batch, train=train,
            policy=phase.augment, engine=plan.augment_engine, negate=plan.mirror_target == "negate",
            sampler=plan.sampler, seed=plan.seed + turn.index, workers=around.machine.workers,
            kept=cache.kept(phase.augment if train else "none", rows, epochs=turn.epochs or phase.epochs),
        )  # fmt: skip
