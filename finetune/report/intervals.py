"""Each metric with the interval that its part's size allows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..tasks.base import Task

Measured = dict[str, dict[str, float | int | None]]
"""A metric's name to its value, low and high ends, and the number of examples."""

Rest = tuple[np.ndarray, int]
"""(n,) bool, the examples that a figure rests on, and of how many such parts it is the mean."""

SAME = 1e-12
"""Within which two figures are the same."""


def measure(
    task: Task,
    answer: np.ndarray,
    target: np.ndarray,
    *,
    groups: Sequence[Any] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    whole: bool = False,
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
        whole: Whether the metrics of `Task.further` are told too.

    Returns:
        For each metric `{"value", "low", "high", "n"}`; None where it is undefined, auroc of one class say, and for
        the ends where all examples belong together: one unit, drawn again and again, says nothing of its spread.
    """
    values = task.measure(answer, target) | (task.further(answer, target) if whole else {})

    def drawn(counts: np.ndarray) -> dict[str, np.ndarray]:
        further = task.further_resampled(answer, target, counts) if whole else {}
        return task.resampled(answer, target, counts) | further

    return spread(values, drawn, len(target), groups=groups, resamples=resamples, level=level, seed=seed,
                  rests=_rests(task, answer, target, values))  # fmt: skip


def _rests(task: Task, answer: np.ndarray, target: np.ndarray, names: Iterable[str]) -> dict[str, Rest]:
    """What each figure rests on: all examples, or the smallest class, one of those that a mean is over."""
    positive = task.against_rest(answer, target).positive
    columns = [column for column in positive.T if not column.all() and column.any()]
    every = np.ones(len(target), bool)
    smallest = min((side for column in columns for side in (column, ~column)), key=np.sum, default=every)
    found = {}
    for name in names:
        if task.labels.kind == "number" or name in ("log_loss", "brier"):
            continue  # no shares
        # Of two classes there is one ranking, and kappa has no mean over classes.
        one = name == "kappa" or (name in ("auroc", "auprc") and task.labels.kind == "class" and len(columns) == 2)
        found[name] = (every, 1) if name in ("accuracy", "top_5") else (smallest, 1 if one else max(1, len(columns)))
    return found


def spread(
    values: Mapping[str, float],
    resampled: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    n: int,
    *,
    groups: Sequence[Any] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    rests: Mapping[str, Rest] | None = None,
) -> Measured:
    """Figures with their bootstrap intervals.

    Without a single error all resamples are alike, and their percentiles would say that nothing can go wrong. A share
    of 1 or 0 then has the interval of Clopper and Pearson 1934 for as many units as it rests on, (1 - level) / 2 to the
    power of 1 / units: .884 to 1 of 30. That is exact for a share of the units. A mean over K classes is least sure of
    the smallest one, which is a Kth of it; for what is no share (auroc, f1, kappa) the same stands in.

    Args:
        values: Each figure by its name.
        resampled: The same figures, (b,) each, in resamples that are given as counts, (b, n): how often each example
            was drawn.
        n: The number of examples.
        groups: As for `measure`, and so all that follows.
        resamples: How many resamples are drawn.
        level: The share of resamples inside the interval, in (0, 1).
        seed: Seeds the drawing.
        rests: What each figure that is such a share rests on.
    """
    unit = units(groups, n)
    if not unit.any():
        return {name: _entry(value, np.array([np.nan]), 0.5, n) for name, value in values.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for counts in _resamples(groups, n, resamples, seed):
        for name, scores in resampled(counts).items():
            drawn[name].append(scores)
    tail = (1 - level) / 2
    found = {name: _entry(value, np.concatenate(drawn[name]), tail, n) for name, value in values.items()}
    for name, (mask, of) in (rests or {}).items():
        bound = 1 - (1 - tail ** (1 / max(1, len(np.unique(unit[mask]))))) / of
        one = found[name]
        # Sums may end a last bit beside 1.
        if one["low"] is not None and one["high"] is not None and one["high"] - one["low"] < SAME:
            if abs(values[name] - 1) < SAME:
                one["low"] = bound
            elif abs(values[name]) < SAME:
                one["high"] = 1 - bound
    return found


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
    whole: bool = False,
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
        whole: As for `measure`.

    Returns:
        For each metric `{"value", "low", "high", "n"}` of the difference `after - before`.
    """
    old, new = (
        task.measure(answer, target) | (task.further(answer, target) if whole else {}) for answer in (before, after)
    )

    def drawn(counts: np.ndarray) -> dict[str, np.ndarray]:
        earlier, later = (
            task.resampled(answer, target, counts) | (task.further_resampled(answer, target, counts) if whole else {})
            for answer in (before, after)
        )
        return {name: scores - earlier[name] for name, scores in later.items()}

    values = {name: new[name] - old[name] for name in new}
    return spread(values, drawn, len(target), groups=groups, resamples=resamples, level=level, seed=seed)


def _resamples(groups: Sequence[Any] | None, n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each example is drawn, (b, n) float64 for a block of b resamples at a time."""
    unit = units(groups, n)
    rng = np.random.default_rng(seed)
    # A block of resamples at a time keeps the counts of a large part within some 50 MB.
    block = max(1, min(resamples, 6_000_000 // max(n, 1)))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        counts = rng.multinomial(unit.max() + 1, np.full(unit.max() + 1, 1 / (unit.max() + 1)), size=size)
        yield counts[:, unit].astype(np.float64)


def units(groups: Sequence[Any] | None, n: int) -> np.ndarray:
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
