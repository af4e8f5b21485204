"""Each metric with the interval that its part's size allows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
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
    values = task.measure(answer, target)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for counts in _resamples(groups, len(target), resamples, seed):
        for name, scores in task.resampled(answer, target, counts).items():
            drawn[name].append(scores)
    tail = (1 - level) / 2
    return {name: _entry(value, np.concatenate(drawn[name]), tail, len(target)) for name, value in values.items()}


def difference(
    task: Task,
    after: np.ndarray,
    before: np.ndarray,
    target: np.ndarray,
    *,
    groups: Sequence[Any] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Measured:
    """How much better or worse answers are than others of the same examples, paired: both are drawn together.

    Args:
        task: Says which metrics there are.
        after: (N, K) answers.
        before: (N, K) answers that they are compared with.
        target: Encoded targets of the same N examples.
        groups: As for `measure`, and so all that follows.
        resamples: How many resamples are drawn.
        level: The share of resamples inside the interval, in (0, 1).
        seed: Seeds the drawing.

    Returns:
        For each metric `{"value", "low", "high", "n"}` of the difference `after - before`.
    """
    old, new = task.measure(before, target), task.measure(after, target)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in new}
    for counts in _resamples(groups, len(target), resamples, seed):
        earlier = task.resampled(before, target, counts)
        for name, scores in task.resampled(after, target, counts).items():
            drawn[name].append(scores - earlier[name])
    tail = (1 - level) / 2
    return {name: _entry(new[name] - old[name], np.concatenate(drawn[name]), tail, len(target)) for name in new}


def _resamples(groups: Sequence[Any] | None, n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each example is drawn, (b, n) float64 for a block of b resamples at a time."""
    unit = _units(groups, n)
    rng = np.random.default_rng(seed)
    # A block of resamples at a time keeps the counts of a large part within some 50 MB.
    block = max(1, min(resamples, 6_000_000 // max(n, 1)))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        counts = rng.multinomial(unit.max() + 1, np.full(unit.max() + 1, 1 / (unit.max() + 1)), size=size)
        yield counts[:, unit].astype(np.float64)


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
