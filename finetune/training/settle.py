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

from ..tasks.base import Task
from ..tasks.metric_names import HIGHER_IS_BETTER
from .probe import stratified_folds

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


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

    Each fold of validation is answered at the share that the others prefer to `lean` by more than one standard error
    (Breiman et al. 1984, "Classification and Regression Trees", ch. 3: of models that cannot be told apart take the
    one that was best before anybody looked), else at `lean`; the final share is the mean of those. Where `lean` is 0,
    nothing moves unless the folds together are answered better for it, and no worse by the metric.

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
    losses = {share: refined_losses(task, answered, target) for share, answered in logits.items()}
    held_out, lost = np.empty_like(safe), np.empty_like(losses[0.0])
    chosen = []
    for others, held in folds:
        share = _preferred({share: loss[others] for share, loss in losses.items()}, lean)
        held_out[held], lost[held] = logits[share][held], losses[share][held]
        chosen.append(share)
    moved = lean > 0 or (lost.mean() < losses[0.0].mean() and not _worse(task, held_out, safe, target, metric))
    return Settled(float(np.mean(chosen)) if moved else 0.0, held_out if moved else safe, safe)


def _preferred(losses: Mapping[float, np.ndarray], lean: float) -> float:
    """The share of the lowest loss among those that are better than `lean` by more than a standard error, else that."""
    gains = {share: losses[lean] - loss for share, loss in losses.items()}
    told = [share for share, gain in gains.items() if gain.mean() > gain.std() / np.sqrt(len(gain))]
    return max(told, key=lambda share: gains[share].mean(), default=lean)


def _worse(task: Task, after: np.ndarray, before: np.ndarray, target: np.ndarray, metric: str) -> bool:
    """Whether logits answer worse by a metric; one that is undefined here says nothing."""
    new, old = (task.measure(task.answer(torch.from_numpy(logits)), target)[metric] for logits in (after, before))
    return new < old if HIGHER_IS_BETTER[metric] else new > old


def refined_losses(task: Task, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(n,) the loss of each example once the logits are divided by the temperature that suits them all.

    Weights that were trained on blended targets are less sure of themselves than a fitted head, and some grow too sure:
    neither says how well they tell classes apart (the refinement of Berta et al. 2025, arXiv 2501.19195), and a
    temperature mends both later.
    """
    from scipy.optimize import minimize_scalar

    answered, known = torch.from_numpy(logits), torch.from_numpy(target)
    if task.labels.kind != "number":
        found = minimize_scalar(lambda power: float(task.loss(answered / 10**power, known)), bounds=(-1, 1),
                                method="bounded")  # fmt: skip
        answered = answered / 10**found.x
    return np.array([float(task.loss(answered[i : i + 1], known[i : i + 1])) for i in range(len(target))])
