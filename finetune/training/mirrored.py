"""Whether left and right have a meaning in these pictures, which is asked of the pictures before any is mirrored.

A mirrored cat is a cat; a mirrored 2 is none, nor is a mirrored page or sign. Policies for photographs mirror, and what
people lose by that is silent. So heads that know some pictures answer others as they are and mirrored: where mirrored
ones are answered much worse, they are another thing to whoever looks, and training on them would teach it wrong.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..data.examples import Examples
from ..data.loaders import stream
from ..data.policies import policy
from ..features import ready
from ..models.fast import fast
from ..models.network import Network
from ..tasks.base import Task
from .phase import Phase
from .plan import Plan
from .probe import fit_head, stratified_folds
from .settle import losses_at

if TYPE_CHECKING:
    from .transfer import Lesson

LOOKED_AT = 128  # pictures at most
SURE = 3.0
"""Standard errors by which mirrored pictures must be answered worse: in 30 draws of photographs, lesions and X-rays
they came to 2.2 at most, in 5 of digits to 4.5 at least (docs/methods.md, "Left and right")."""

PLAIN = 0.2
"""Share of the loss by which they must be, too: where left and right matter a little, variety is worth more."""

UPRIGHT = "documents"
"""What varies pictures then: nothing is mirrored, cropped or recoloured."""


def keep_left_and_right(
    network: Network, task: Task, lesson: Lesson, phases: tuple[Phase, ...], asked: Plan, device: torch.device
) -> tuple[tuple[Phase, ...], str | None]:
    """The phases with a policy that mirrors nothing, where left and right have a meaning; and why, as a line.

    Args:
        network: As it was loaded; it is not changed.
        task: Says what the loss is.
        lesson: Its training part, and the features.
        phases: As planned.
        asked: What the user said: a policy that was named stays.
        device: Where the features of mirrored pictures are computed.

    Returns:
        The phases, and the line; the phases as they are and None where nothing speaks against mirroring, where nothing
        is varied, and where too few pictures can tell.
    """
    varied = [phase for phase in phases if "mirror" in policy(phase.augment).does]
    known = phases[0].on == "features" and task.labels.kind == "class"
    if not varied or not known or asked.augment != "auto" or asked.phases:
        return phases, None
    rows = some_of_each(lesson.target, lesson.train, seed=asked.seed)
    found = losses_as_they_are_and_mirrored(network, task, lesson, rows, seed=asked.seed, device=device)
    if found is None:
        return phases, None
    plain, mirrored = found
    worse = mirrored - plain
    if worse.mean() <= max(SURE * worse.std() / np.sqrt(len(worse)), PLAIN * plain.mean()):
        return phases, None
    upright = tuple(replace(phase, augment=UPRIGHT) if phase in varied else phase for phase in phases)
    return upright, (
        f"augment {UPRIGHT}: left and right have a meaning here, for pictures are taken for other things when mirrored "
        f"(log loss {mirrored.mean():.2f} for {plain.mean():.2f} of {len(rows)} held-out ones); --augment names another"
    )


def some_of_each(target: np.ndarray, rows: np.ndarray, *, seed: int) -> np.ndarray:
    """At most `LOOKED_AT` of the rows, in order: as many of each class, of which two at least must be there.

    Args:
        target: (n,) class numbers of all examples.
        rows: Those to draw from.
        seed: Draws them.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(target[rows], return_counts=True)
    common = classes[np.argsort(-counts, kind="stable")][: LOOKED_AT // 2]
    share = LOOKED_AT // max(1, len(common))
    members = [rng.permutation(rows[target[rows] == k])[:share] for k in common if (target[rows] == k).sum() > 1]
    return np.sort(np.concatenate(members)) if members else rows[:0]


def losses_as_they_are_and_mirrored(
    network: Network, task: Task, lesson: Lesson, rows: np.ndarray, *, seed: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray] | None:
    """(n,) losses of examples as they are and mirrored, each from a head that knows the other half of them as it is.

    None where they cannot be halved with each class on both sides.
    """
    assert lesson.features is not None  # noqa: S101  # the run computes them when a phase asks for them
    target, groups = lesson.target[rows], lesson.groups(rows)
    halves = list(stratified_folds(target, groups, seed, parts=2)) if len(rows) else []
    if not halves:
        return None
    known = lesson.features.at(rows)
    mirrored = mirrored_features(network, lesson.examples.take(rows), device)
    logits = np.zeros((2, len(rows), task.labels.num_outputs), np.float32)
    for one, other in halves:
        head = copy.deepcopy(network.head).eval()
        fit_head(head, known[one], target[one], task, groups=[groups[i] for i in one], seed=seed)
        with torch.no_grad():
            for place, values in enumerate((known, mirrored)):
                logits[place, other] = head(torch.from_numpy(values[other])).numpy()
    plain, turned = (losses_at(task, answered, target, 1.0) for answered in logits)
    return plain, turned


def mirrored_features(network: Network, examples: Examples, device: torch.device) -> np.ndarray:
    """(n, ...) float32 of pictures as evaluation prepares them, with left and right exchanged; each can be read."""
    found, forward = [], None
    with ready(network, device) as on:
        for _, inputs, _ in stream(examples, network.spec):
            turned = inputs.to(on).flip(-1)
            forward = forward or fast(network, turned, count=len(examples))
            found.append(forward.features(turned).float().cpu().numpy())
    return np.concatenate(found)
