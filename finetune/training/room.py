"""How much room a probe leaves for moving the backbone, found before the plan is shown."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models.network import Network
from ..tasks.base import Task
from .faults import idle_in_a_probe
from .methods import TUNE_RATE
from .phase import Phase
from .plan import Plan
from .probe import fit_head
from .settle import SURE, losses_at, temperature

if TYPE_CHECKING:
    from .transfer import Lesson

LITTLE = 0.005
"""Share of held-out training examples, each class counting alike, that a probe gets wrong below which nothing can be
gained that could be seen."""

MUCH = 0.1
"""The share from which on a backbone knows little of these pictures, and moves faster.

Measured with MobileNetV2 over 10 epochs (docs/methods.md): of 160 pictures of CIFAR-10, on which the probe errs in
46 %, the fast rate gained 8 points, the slow one 5; on ants and bees, where it errs in 4 %, the fast one lost 2 to 3.
"""

FAST_RATE, SHORT_AVERAGE = 3e-2, 0.3

HALF_WAY = 0.5
"""Where a run comes to rest then, unless validation knows better: fifty examples of it cannot tell such gains."""


def room_left(
    network: Network, task: Task, lesson: Lesson, phases: tuple[Phase, ...], asked: Plan
) -> tuple[tuple[Phase, ...], Lesson, str | None]:
    """The phases at rates that suit what is left to learn, without those that have nothing to gain; and why, as a line.

    A head on the features as they are, without varied versions, answers training examples that it was not fitted on:
    it costs no pass over pictures and no example of validation.

    Args:
        network: As it was loaded; it is not changed.
        task: Says how answers are measured.
        lesson: Its training part, and the features.
        phases: As planned.
        asked: What the user said: phases that were asked for stay.

    Returns:
        The phases, the lesson with the head that was fitted for them to use, and the line.
    """
    # Of labels and numbers nothing was measured that would say what much or little is.
    if phases[0].on != "features" or len(phases) == 1 or task.labels.kind != "class":
        return phases, lesson, None
    assert lesson.features is not None  # noqa: S101  # the run computes them when a phase asks for them
    head = copy.deepcopy(network.head)
    fitted = fit_head(
        head, lesson.features.at(lesson.train), lesson.target[lesson.train], task,
        groups=lesson.groups(lesson.train), seed=asked.seed,
    )  # fmt: skip
    lesson = replace(lesson, plain=(head, fitted))
    if fitted.held_out is None:
        return phases, lesson, None
    # Balanced: of a class of 1 in 300 plain accuracy would say that nothing is left, whoever never answers with it.
    answer = task.answer(torch.from_numpy(fitted.held_out))
    reached = task.measure(answer, lesson.target[lesson.train])["balanced_accuracy"]
    said = f"a probe reaches balanced_accuracy {reached:.4f} on training examples that it was not fitted on"
    if reached > 1 - MUCH:
        sure = standard_errors(task, fitted.held_out, lesson.target[lesson.train], count=len(lesson.validation))
        return _little_left(phases, lesson, asked, said, nothing=reached >= 1 - LITTLE, sure=sure)
    lesson = replace(lesson, lean=HALF_WAY)
    rests = "the run ends half way to what moved, unless validation knows better"
    if asked.lr is not None or asked.phases:
        return phases, lesson, f"{said}: much is left to learn, so that {rests}"
    quick = tuple(_quicker(phase, asked) for phase in phases)
    return quick, lesson, f"{said}: much is left to learn, so that the backbone moves at {FAST_RATE:g}, and {rests}"


def _little_left(
    phases: tuple[Phase, ...], lesson: Lesson, asked: Plan, said: str, *, nothing: bool, sure: float
) -> tuple[tuple[Phase, ...], Lesson, str]:
    """What `room_left` answers under a probe that knows much; `sure` as `standard_errors` has it."""
    told = ""
    if phases[0].views and asked.views is None and not asked.phases:
        phases = (replace(phases[0], views=0, augment="none"), *phases[1:])
        told = "; its head learns from the pictures as they are, --views adds varied versions"
    count = len(lesson.validation)
    left_open = asked.method == "auto" and asked.epochs is None and not asked.phases and not idle_in_a_probe(asked)
    if left_open and nothing:
        why = "moving the backbone has nothing to gain, --method lp-ft does so all the same"
        return phases[:1], lesson, f"{said}: {why}{told}"
    if left_open and asked.settle == "interpolate" and count and sure < SURE:
        why = f"{count} validation examples could not tell even answers that are all right from that"
        stays = "so the backbone stays as it is, --method lp-ft moves it all the same"
        return phases[:1], lesson, f"{said}: {why}, {stays}{told}"
    gives_up = _may_give_up(asked)
    beaten = ": that is what moving the backbone has to beat" + (", or it ends early" if gives_up else "")
    return phases, replace(lesson, gives_up=gives_up), said + beaten + told


def standard_errors(task: Task, held_out: np.ndarray, target: np.ndarray, *, count: int) -> float:
    """By how many of its standard errors validation would be answered better than by a probe if nothing were lost.

    That is what a run needs `SURE` of to leave the probe.

    Args:
        task: Says what the losses are.
        held_out: (n, K) logits of training examples, each from a head that was not fitted on it.
        target: Their encoded targets.
        count: How many validation examples there are.
    """
    losses = losses_at(task, held_out, target, temperature(task, held_out, target))
    return float(losses.mean() / max(losses.std(), 1e-12) * np.sqrt(count))


def _may_give_up(asked: Plan) -> bool:
    """Whether nothing that was asked for is lost where a phase ends early.

    A method that was named is carried out, by the clock the time was promised, and without the way back to the probe a
    phase that ended early would be the result. What was measured is recorded as phases, and a run of that recipe must
    end where the first one did.
    """
    told = asked.phases or asked.time is not None or asked.lr == "auto"
    return asked.method == "auto" and asked.settle == "interpolate" and not told


def _quicker(phase: Phase, asked: Plan) -> Phase:
    """A phase of the usual rate at the fast one; those with rates of their own stay."""
    if phase.on != "pictures" or phase.optimizer != "sgd" or phase.lr != TUNE_RATE[1]:
        return phase
    return replace(phase, lr=FAST_RATE, ema=phase.ema if asked.ema is not None else SHORT_AVERAGE)
