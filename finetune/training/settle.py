"""How far to go from the weights that were safe to the weights that moved, as validation can tell and no further.

WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): weights on the straight line between the two are a model too, and
often a better one than either end. A small validation part that picks the best of many candidates picks luck; so the
share of the way is chosen by cross-fitting. Each fold of validation is judged by the share that the others prefer, and
the final share is the mean of those, which leans towards the safe end where the folds disagree.
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
RESAMPLES = 200


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
) -> Settled:
    """Chooses the share by cross-fitting.

    Where the folds together do no better than the safe weights by more than a standard error, the share is 0: nothing
    moved is better than something that validation cannot tell from luck.

    Args:
        logits_at: (n, K) logits of the validation examples with the weights at a share.
        target: Their encoded targets.
        task: Says what the metrics are.
        metric: The one that chooses; of equal shares the one with the lower loss, then the safer one.
        groups: What must not sit on two sides of a fold.
        seed: Seeds the folds.
    """
    logits = {share: logits_at(share) for share in SHARES}
    safe = logits[0.0]
    folds = list(stratified_folds(target, groups, seed))
    if not folds:
        return Settled(0.0, safe, safe)
    held_out = np.empty_like(safe)
    chosen = []
    for others, held in folds:
        share = max(SHARES, key=lambda s: (*_goodness(task, logits[s][others], target[others], metric), -s))
        held_out[held] = logits[share][held]
        chosen.append(share)
    gained = _gained(task, held_out, safe, target, metric, seed)
    return Settled(float(np.mean(chosen)) if gained else 0.0, held_out if gained else safe, safe)


def _gained(task: Task, after: np.ndarray, before: np.ndarray, target: np.ndarray, metric: str, seed: int) -> bool:
    """Whether answers are better by more than one standard error of the difference, by the metric or by the loss.

    The rule of one standard error is that of Breiman et al. 1984, "Classification and Regression Trees", ch. 3: of two
    models that cannot be told apart take the simpler one. By the loss counts only where the metric is no worse.
    """
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    answers = [task.answer(torch.from_numpy(logits)) for logits in (after, before)]
    new, old = (task.measure(answer, target)[metric] for answer in answers)
    better = sign * (new - old) if np.isfinite(new - old) else 0.0
    n = len(target)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
    drawn = [task.resampled(answer, target, counts)[metric] for answer in answers]
    spread = np.nanstd(drawn[0] - drawn[1]) if np.isfinite(drawn[0] - drawn[1]).any() else np.inf
    if better > 0 and better > spread:
        return True
    gaps = _losses(task, before, target) - _losses(task, after, target)
    return bool(better >= 0 and gaps.mean() > gaps.std() / np.sqrt(n))


def _losses(task: Task, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(n,) the loss of each example."""
    tensors = torch.from_numpy(logits), torch.from_numpy(target)
    return np.array([float(task.loss(*(tensor[i : i + 1] for tensor in tensors))) for i in range(len(target))])


def _goodness(task: Task, logits: np.ndarray, target: np.ndarray, metric: str) -> tuple[float, float]:
    """The metric, more being better, and minus the loss; a metric that is undefined here decides nothing."""
    tensor = torch.from_numpy(logits)
    value = task.measure(task.answer(tensor), target)[metric]
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    return (sign * value if np.isfinite(value) else 0.0, -float(task.loss(tensor, torch.from_numpy(target))))
