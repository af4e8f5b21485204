"""How far to go from the weights that were safe to the weights that moved, as validation can tell and no further.

WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): weights on the straight line between the two are a model too, and
often a better one than either end. A small validation part that picks the best of many candidates picks luck; so the
share of the way is chosen by cross-fitting, by the loss and not by the metric: fifty examples tell losses apart where
accuracies are all chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..tasks.base import Task
from ..tasks.metric_names import HIGHER_IS_BETTER
from .probe import stratified_folds

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SURE = 2.0
"""Standard errors by which a share must be better than the probe for a run that leans to it: one single example whose
loss changes is one standard error already, however many do not."""

PLAIN = 0.01
"""Share of the loss below which a difference is none, be it as certain as it may: where all is right at both ends, each
example differs by next to nothing, and all of them in the same direction."""


@dataclass(frozen=True)
class Settled:
    """Where between two sets of weights a run comes to rest.

    Args:
        share: Of the way, in [0, 1].
        held_out: (n, K) logits of each validation example at the share that the other folds prefer.
        safe: (n, K) logits of the same at share 0.
    """

    share: float
    held_out: np.ndarray
    safe: np.ndarray


def between(safe: Mapping[str, Tensor], moved: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights a share of the way from `safe` to `moved`; what is not floating point is `moved`'s."""
    if share in (0.0, 1.0):
        return dict(moved if share else safe)
    return {
        name: torch.lerp(safe[name].float(), tensor.float(), share).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in moved.items()
    }


def settle(
    logits_at: Callable[[float], np.ndarray],
    target: np.ndarray,
    task: Task,
    *,
    metric: str,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    lean: float = 0.0,
) -> Settled:
    """Chooses the share by cross-fitting.

    Each fold of validation is answered at the share that the others prefer to `lean`, else at `lean`; the final share
    is the mean of those. They prefer what is better by more than a standard error (Breiman et al. 1984, "Classification
    and Regression Trees", ch. 3: of models that cannot be told apart take the one that was best before anybody
    looked), and by more than two where `lean` is 0. Then nothing moves either unless the folds together are answered
    better for it, and no worse by the metric.

    Args:
        logits_at: (n, K) logits of the validation examples with the weights at a share.
        target: Their encoded targets.
        task: Says what the metrics are.
        metric: By which answers may not get worse.
        groups: What must not sit on two sides of a fold.
        seed: Seeds the folds.
        lean: The share to take where validation cannot tell, one of `SHARES`.
    """
    logits = {share: logits_at(share) for share in SHARES}
    safe = logits[0.0]
    folds = list(stratified_folds(target, groups, seed))
    if not folds:
        return Settled(lean, logits[lean], safe)
    held_out, lost, before = np.empty_like(safe), np.empty(len(target)), np.empty(len(target))
    chosen = []
    for others, held in folds:
        suits = {share: temperature(task, answered[others], target[others]) for share, answered in logits.items()}
        losses = {share: losses_at(task, answered, target, suits[share]) for share, answered in logits.items()}
        share = _preferred({share: loss[others] for share, loss in losses.items()}, lean)
        held_out[held], lost[held], before[held] = logits[share][held], losses[share][held], losses[0.0][held]
        chosen.append(share)
    moved = lean > 0 or (lost.mean() < before.mean() and not _worse(task, held_out, safe, target, metric))
    return Settled(float(np.mean(chosen)) if moved else 0.0, held_out if moved else safe, safe)


def _preferred(losses: Mapping[float, np.ndarray], lean: float) -> float:
    """The share of the lowest loss among those that are surely better than `lean`, else that."""
    gains, sure = {share: losses[lean] - loss for share, loss in losses.items()}, 1.0 if lean else SURE
    least = PLAIN * losses[lean].mean()
    told = [s for s, gain in gains.items() if gain.mean() > max(least, sure * gain.std() / np.sqrt(len(gain)))]
    return max(told, key=lambda share: gains[share].mean(), default=lean)


def _worse(task: Task, after: np.ndarray, before: np.ndarray, target: np.ndarray, metric: str) -> bool:
    """Whether logits answer worse by a metric; one that is undefined here says nothing."""
    new, old = (task.measure(task.answer(torch.from_numpy(logits)), target)[metric] for logits in (after, before))
    return new < old if HIGHER_IS_BETTER[metric] else new > old


def temperature(task: Task, logits: np.ndarray, target: np.ndarray) -> float:
    """What logits are divided by for the lowest loss of these examples; 1 for numbers, which have none.

    Weights that were trained on blended targets are less sure of themselves than a fitted head, and some grow too sure:
    neither says how well they tell classes apart (the refinement of Berta et al. 2025, arXiv 2501.19195), and a
    temperature mends both later. Targets are a little blurred, by 1 / (n + 2) as in Platt 1999, so that it does not
    vanish where all answers are right.
    """
    from scipy.optimize import minimize_scalar

    if task.labels.kind == "number":
        return 1.0
    answered, known = torch.from_numpy(logits), torch.from_numpy(target)
    shares = functional.one_hot(known, logits.shape[1]).float() if task.labels.kind == "class" else known.float()
    even = 1 / logits.shape[1] if task.labels.kind == "class" else 0.5
    blurred = torch.lerp(shares, torch.full_like(shares, even), 1 / (len(target) + 2))
    found = minimize_scalar(lambda power: float(task.loss(answered / 10**power, blurred)), bounds=(-2, 2),
                            method="bounded")  # fmt: skip
    return float(10**found.x)


def losses_at(task: Task, logits: np.ndarray, target: np.ndarray, temperature: float) -> np.ndarray:
    """(n,) the loss of each example at a temperature."""
    of_one = torch.vmap(lambda answer, known: task.loss(answer[None], known[None]))
    return np.asarray(of_one(torch.from_numpy(logits) / temperature, torch.from_numpy(target)).numpy(), np.float64)
