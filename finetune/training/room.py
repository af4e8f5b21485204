"""How much room a probe leaves for moving the backbone, found before the plan is shown."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from ..models.network import Network
from ..tasks.base import Task
from .phase import Phase
from .plan import Plan
from .probe import fit_head

if TYPE_CHECKING:
    from .transfer import Lesson

LITTLE = 0.005
"""Share of held-out training examples that a probe gets wrong below which nothing can be gained that could be seen."""


def room_left(
    network: Network, task: Task, lesson: Lesson, phases: tuple[Phase, ...], asked: Plan
) -> tuple[tuple[Phase, ...], str | None]:
    """The phases without those that have nothing to gain, and what a probe gets right already, as a line.

    A head on the features as they are, without varied versions, answers training examples that it was not fitted on:
    it costs no pass over pictures and no example of validation.

    Args:
        network: As it was loaded; it is not changed.
        task: Says how answers are measured.
        lesson: Its training part, and the features.
        phases: As planned.
        asked: What the user said: phases that were asked for stay.
    """
    opens = asked.method == "auto" and not asked.phases and phases[0].on == "features" and len(phases) > 1
    if not opens or lesson.features is None:
        return phases, None
    fitted = fit_head(
        copy.deepcopy(network.head), lesson.features.at(lesson.train), lesson.target[lesson.train], task,
        groups=lesson.groups(lesson.train), seed=asked.seed,
    )  # fmt: skip
    if fitted.held_out is None:
        return phases, None
    metric = {"class": "accuracy", "labels": "auroc", "number": "r2"}[task.labels.kind]
    reached = task.measure(task.answer(torch.from_numpy(fitted.held_out)), lesson.target[lesson.train])[metric]
    said = f"a probe reaches {metric} {reached:.4f} on training examples that it was not fitted on"
    if reached >= 1 - LITTLE and asked.epochs is asked.steps is asked.time is None:
        return phases[:1], f"{said}: moving the backbone has nothing to gain, --method lp-ft does so all the same"
    return phases, f"{said}: that is what moving the backbone has to beat"
