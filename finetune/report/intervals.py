"""Each metric with the interval that its part's size allows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tasks.base import Task

Measured = dict[str, dict[str, float | int | None]]
"""A metric's name to its value, low and high ends, and the number of examples."""


def measure(
    task: Task,
    answer: np.ndarray,
    target: np.ndarray,
    *,
    groups: Sequence[Any] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Measured:
    """The metrics of a part, with bootstrap intervals (the percentile method of Efron and Tibshirani 1993, ch. 13).

    Args:
        task: Says which metrics there are.
        answer: (N, K) answers.
        target: Encoded targets of the same N examples.
        groups: (N,) what belongs together: groups are drawn whole, since pictures of one patient are not
            independent. None, or None for an example, draws it alone.
        resamples: How many resamples are drawn.
        level: The share of resamples inside the interval, in (0, 1).
        seed: Seeds the drawing: one seed, one interval.

    Returns:
        For each metric `{"value", "low", "high", "n"}`; None where it is undefined, auroc of one class say.
    """
    drawn = _drawn(task, answer, target, groups, resamples, seed)
    tail = (1 - level) / 2
    return {name: _entry(value, drawn[name], tail, len(target)) for name, value in task.measure(answer, target).items()}


def difference(
    task: Task,
    answer: np.ndarray,
    other: np.ndarray,
    target: np.ndarray,
    *,
    groups: Sequence[Any] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Measured:
    """How far apart two sets of answers of the same examples are, metric by metric: `answer` less `other`.

    Both are resampled with the same draws (a paired bootstrap), since examples that are hard for one are mostly hard
    for the other: intervals of each alone overlap long before nothing can be said of the difference.

    Args:
        task: Says which metrics there are.
        answer: (N, K) answers.
        other: (N, K) answers to compare with.
        target: Encoded targets of the same N examples.
        groups: As for `measure`, and so the rest.
        resamples: How many resamples are drawn.
        level: The share of resamples inside the interval, in (0, 1).
        seed: Seeds the drawing.
    """
    tail = (1 - level) / 2
    one, two = task.measure(answer, target), task.measure(other, target)
    drawn = _drawn(task, answer, target, groups, resamples, seed)
    against = _drawn(task, other, target, groups, resamples, seed)
    return {name: _entry(one[name] - two[name], drawn[name] - against[name], tail, len(target)) for name in one}


def _drawn(
    task: Task, answer: np.ndarray, target: np.ndarray, groups: Sequence[Any] | None, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """The metrics in each resample, (resamples,); one seed draws the same examples whatever the answers are."""
    unit = _units(groups, len(target))
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {}
    # A block of resamples at a time keeps the counts of a large part within some 50 MB.
    block = max(1, min(resamples, 6_000_000 // max(len(target), 1)))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        counts = rng.multinomial(unit.max() + 1, np.full(unit.max() + 1, 1 / (unit.max() + 1)), size=size)
        for name, scores in task.resampled(answer, target, counts[:, unit].astype(np.float64)).items():
            drawn.setdefault(name, []).append(scores)
    return {name: np.concatenate(scores) for name, scores in drawn.items()}


def _units(groups: Sequence[Any] | None, n: int) -> np.ndarray:
    """The number of the unit that each example is drawn with."""
    if groups is None:
        return np.arange(n)
    alone = [("alone", i) if g is None else ("group", str(g)) for i, g in enumerate(groups)]
    numbers = {key: k for k, key in enumerate(dict.fromkeys(alone))}
    return np.array([numbers[key] for key in alone])


def _entry(value: float, scores: np.ndarray, tail: float, n: int) -> dict[str, float | int | None]:
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None, "n": n}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all-NaN: the value is defined and no resample was; the interval is then open
        low, high = np.nanquantile(scores, [tail, 1 - tail])
    return {
        "value": float(value),
        "low": float(low) if np.isfinite(low) else None,
        "high": float(high) if np.isfinite(high) else None,
        "n": n,
    }
