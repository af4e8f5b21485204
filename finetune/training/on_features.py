"""A phase on features of the frozen backbone: the head, fitted to convergence, on varied versions where they help."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..features import device_for
from ..models.network import Network
from ..tasks.base import Task
from ..views import view_features
from .crew import crew_of
from .offers import Surroundings
from .phase import Phase
from .plan import MOST_VIEWED, Plan
from .probe import HeadFit, Views, fit_head

if TYPE_CHECKING:
    from .transfer import Lesson, Say


def fit_on_features(
    network: Network, task: Task, lesson: Lesson, plan: Plan, phase: Phase, around: Surroundings, say: Say,
    views: int | None = None,
) -> HeadFit:  # fmt: skip
    """Fits the head of a network as a phase on features says.

    Varied versions of the pictures are left out again where held-out training pictures are answered better without,
    unless it is known how many `views` are wanted.
    """
    assert lesson.features is not None  # noqa: S101  # the run computes them when a phase asks for them
    count = phase.views if views is None else views
    versions = _versions(network, lesson, plan, phase, count, around, say) if count else None
    known, target, groups = lesson.features.at(lesson.train), lesson.target[lesson.train], lesson.groups(lesson.train)
    plain, fitted, varied = network.head, None, None
    if versions is not None:
        plain = copy.deepcopy(network.head)
        varied = fit_head(network.head, known, target, task, groups=groups, views=versions, seed=plan.seed)
        varied = replace(varied, views=count)
    if lesson.plain is not None:
        plain, fitted = lesson.plain
    elif varied is None or views is None:
        fitted = fit_head(plain, known, target, task, groups=groups, seed=plan.seed)
    if varied is None or (fitted and _held_out_loss(task, fitted, target) < _held_out_loss(task, varied, target)):
        assert fitted is not None  # noqa: S101  # one of both is
        network.head.load_state_dict(plain.state_dict())
        if varied is not None:
            say("  training pictures that were held out are answered better without these versions: they are left out")
    else:
        fitted = varied
    how = f"chosen by {fitted.folds} folds of the training part" if fitted.folds else "by default: too few for folds"
    say(f"  head fitted to convergence, L2 penalty {fitted.penalty:.2g} {how}")
    return fitted


def _versions(
    network: Network, lesson: Lesson, plan: Plan, phase: Phase, count: int, around: Surroundings, say: Say
) -> Views | None:
    """The features of varied versions of the training pictures; None where those are too many."""
    if len(lesson.train) > MOST_VIEWED:
        return None
    say(f"  looking at {count} {phase.augment} versions of each training picture")
    values = view_features(
        network, lesson.examples.take(lesson.train), policy=phase.augment, views=count, engine=plan.augment_engine,
        seed=plan.seed, batch_size=plan.batch, workers=around.machine.workers,
        device=device_for(around.machine.accelerator), crew=crew_of(around.machine),
    )  # fmt: skip
    return Views(values, np.tile(np.arange(len(lesson.train)), count))


def _held_out_loss(task: Task, fitted: HeadFit, target: np.ndarray) -> float:
    """The loss of held-out training examples; none where nothing could be held out, so that views stay."""
    if fitted.held_out is None:
        return float("inf")
    return float(task.loss(torch.from_numpy(fitted.held_out), torch.from_numpy(target)))
