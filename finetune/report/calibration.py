"""Does a probability mean what it says? Temperature scaling, and the expected calibration error before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tasks.base import Task
from ..tasks.decisions import TINY, tempered
from .intervals import spread, units
from .judged import Seen

BINS = 15
FOLDS = 5
MOST_TOSSED = 2000
"""Answers in a bin up to which each is drawn by itself."""

FEWEST = 30
"""Held-out examples below which a temperature is not looked for."""


@dataclass(frozen=True)
class Tempered:
    """A temperature, and what it makes of the examples that it was fitted on.

    Args:
        temperature: 1 where no other one is better on examples that it was not fitted on.
        answer: (N, K) probabilities of each held-out example, at a temperature fitted without it.
    """

    temperature: float
    answer: np.ndarray


def fit_temperature(task: Task, seen: Seen, *, seed: int = 0) -> Tempered:
    """The temperature that minimises the log loss of held-out examples (Guo et al. 2017, arXiv 1706.04599).

    It is kept only where it lowers the log loss by cross-fitting, and by more than a standard error: each fold, groups
    whole, is answered at the temperature that suits the others.

    Args:
        task: Says what the answers mean.
        seen: Answers to examples that the model did not learn from.
        seed: Deals the folds out.
    """
    unchanged = Tempered(1.0, seen.answer)
    number = units(seen.groups, len(seen.target))
    if task.labels.kind == "number" or len(seen.target) < FEWEST or number.max() + 1 < FOLDS:
        return unchanged
    fold = np.random.default_rng(seed).permutation(number.max() + 1)[number] % FOLDS
    held_out = seen.answer.copy()
    for k in range(FOLDS):
        others = fold != k
        best = _best(task, seen.answer[others], seen.target[others])
        held_out[~others] = tempered(task, seen.answer[~others], best)
    gained = losses(task, seen.answer, seen.target) - losses(task, held_out, seen.target)
    if gained.mean() <= gained.std() / np.sqrt(len(gained)):
        return unchanged
    return Tempered(_best(task, seen.answer, seen.target), held_out)


def losses(task: Task, answer: np.ndarray, target: np.ndarray, *, smoothing: float = 0.0) -> np.ndarray:
    """(N,) the logarithmic loss of probabilities, of labels a mean over them.

    Args:
        task: Says what the answers mean.
        answer: (N, K) probabilities.
        target: The encoded targets.
        smoothing: Share of each target that is given to the other answers.
    """
    surprise = -np.log(np.clip(answer, TINY, None))
    if task.labels.kind == "class":
        own = surprise[np.arange(len(target)), target]
        others = (surprise.sum(axis=1) - own) / max(1, answer.shape[1] - 1)
    else:
        against = -np.log(np.clip(1 - answer, TINY, None))
        own, others = np.where(target > 0.5, surprise, against), np.where(target > 0.5, against, surprise)
    return np.asarray(((1 - smoothing) * own + smoothing * others).reshape(len(target), -1).mean(axis=1))


def _best(task: Task, answer: np.ndarray, target: np.ndarray) -> float:
    """The temperature of the lowest loss.

    Targets are smoothed by 1 / (n + 2), as Platt (1999) does: where all n answers are right the loss would else fall
    for ever as the temperature does, and a model that was right thirty times would be sure beyond all measure.
    """
    from scipy.optimize import minimize_scalar

    smoothing = 1 / (len(target) + 2)

    def loss(log: float) -> float:
        return float(losses(task, tempered(task, answer, float(np.exp(log))), target, smoothing=smoothing).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def calibration(
    task: Task, before: np.ndarray, after: Seen, temperature: float, *, seed: int = 0
) -> dict[str, Any]:  # fmt: skip
    """The expected calibration error before and after, and the reliability diagram after, as metrics.json holds them.

    Of classes the confidence is the probability of the answered one, of labels every label's. Bins are 15 of equal
    width (Naeini et al. 2015; Guo et al. 2017). The error of a finite sample is above 0 for a perfect model too: how
    far is told beside it, "ece_if_calibrated", see `by_chance`.

    Args:
        task: Says what the answers mean.
        before: (N, K) answers as the network gives them.
        after: The same examples with the answers at the temperature.
        temperature: Which that is.
        seed: Seeds the intervals.
    """
    errors = {
        name: _parts(task, answer, after.target) for name, answer in (("before", before), ("after", after.answer))
    }
    width = 1 if task.labels.kind == "class" else task.labels.num_outputs
    found = {"ece_if_calibrated": by_chance(task, after.answer, seed=seed)}
    figures = spread(
        {f"ece_{name}": float(np.abs(gap.sum(axis=0)).sum() / (len(gap) * width)) for name, (gap, _) in errors.items()},
        lambda counts: {
            f"ece_{name}": np.abs(counts @ gap).sum(axis=1) / (counts.sum(axis=1) * width)
            for name, (gap, _) in errors.items()
        },
        len(after.target), groups=after.groups, seed=seed,
    )  # fmt: skip
    return {**figures, **found, "temperature": temperature, "bins": errors["after"][1]}


def by_chance(task: Task, answer: np.ndarray, *, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """The expected calibration error that these answers would have if each probability in them were true.

    Targets are drawn by the stated probabilities again and again (Broecker and Smith 2007, "Increasing the reliability
    of reliability diagrams"): the mean error, and the ends between which 95 % of the errors lie.

    Args:
        task: Says what the answers mean.
        answer: (N, K) probabilities.
        draws: How often targets are drawn.
        seed: Seeds them.
    """
    confidence = answer.max(axis=1)[:, None] if task.labels.kind == "class" else answer
    flat, place = confidence.ravel(), _place(confidence).ravel()
    # Of one bin the number of right answers is a sum of coins, which need not be tossed by themselves: it is nearly
    # normal where they are many, and where they are few they are cheap.
    rng, gaps = np.random.default_rng(seed), np.zeros(draws)
    for b in np.unique(place):
        inside = flat[place == b]
        if len(inside) > MOST_TOSSED:
            drawn = rng.normal(inside.sum(), np.sqrt((inside * (1 - inside)).sum()), draws)
        else:
            drawn = (rng.random((draws, len(inside))) < inside).sum(axis=1)
        gaps += np.abs(drawn - inside.sum())
    gaps /= len(flat)
    low, high = np.quantile(gaps, [0.025, 0.975])
    return {"value": float(gaps.mean()), "low": float(low), "high": float(high), "n": len(answer)}


def _place(confidence: np.ndarray) -> np.ndarray:
    """The bin of each confidence."""
    return np.clip(np.searchsorted(np.linspace(0, 1, BINS + 1), confidence, side="right") - 1, 0, BINS - 1)


def _parts(task: Task, answer: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """(N, bins) what each example adds to right minus confident in each bin; and the bins that hold anything."""
    if task.labels.kind == "class":
        confidence, right = answer.max(axis=1)[:, None], (answer.argmax(axis=1) == target)[:, None].astype(np.float64)
    else:
        confidence, right = answer, target.astype(np.float64)
    place = _place(confidence)
    gap = np.zeros((len(answer), BINS))
    np.add.at(gap, (np.arange(len(answer))[:, None], place), right - confidence)
    bins = [_bin(confidence[place == b], right[place == b]) for b in range(BINS) if (place == b).any()]
    return gap, bins


def _bin(confidence: np.ndarray, right: Sequence[float] | np.ndarray) -> dict[str, Any]:
    return {"confidence": float(np.mean(confidence)), "accuracy": float(np.mean(right)), "count": len(confidence)}
