"""Each metric with the interval that its part's size allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..tasks.base import Parts, Task
from .ends import SAME, Ends, bounded_ends, leaning_ends

Measured = dict[str, dict[str, float | int | None]]
"""A metric's name to its value, low and high ends, and the number of examples."""


class Rest(NamedTuple):
    """What a figure is a share of.

    mask: (n,) bool, the examples that it rests on.
    of: Of how many such parts it is the mean.
    extreme: Whether each of those parts is all right or all wrong.
    unseen: The variance that resamples do not show, since some of those parts are all right or all wrong.
    """

    mask: np.ndarray
    of: int = 1
    extreme: bool = False
    unseen: float = 0.0


BOUNDS = {"kappa": (-1.0, 1.0)}
"""The lowest and the highest of those metrics that are no shares, and no means of losses either."""


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
    """The metrics of a part, with intervals: see `spread`.

    Args:
        task: Says which metrics there are.
        answer: (N, K) answers.
        target: Encoded targets of the same N examples.
        groups: (N,) what belongs together: groups are drawn whole, since pictures of one patient are not
            independent. None, or None for an example, draws it alone.
        resamples: How many resamples are drawn.
        level: The share of samples whose interval is to hold the truth, in (0, 1).
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

    rests = _rests(task, answer, target, values, units(groups, len(target)))
    return spread(values, drawn, len(target), groups=groups, resamples=resamples, level=level, seed=seed,
                  rests=rests, parts=task.parts(answer, target), bounds=BOUNDS)  # fmt: skip


def _rests(
    task: Task, answer: np.ndarray, target: np.ndarray, names: Iterable[str], unit: np.ndarray
) -> dict[str, Rest]:  # fmt: skip
    """What each figure rests on: all examples, or the smallest class, one of those that a mean is over."""
    positive, given, _ = task.against_rest(answer, target)
    columns = [column for column in positive.T if not column.all() and column.any()]
    every = np.ones(len(target), bool)
    smallest = min((side for column in columns for side in (column, ~column)), key=np.sum, default=every)
    constant = not np.ptp(answer, axis=0).any()
    found = {}
    for name in names:
        if task.labels.kind == "number" or name in ("log_loss", "brier"):
            continue  # no shares
        if constant and name in ("auroc", "balanced_accuracy"):
            continue  # what knows no difference between examples has these figures by definition
        if name in ("accuracy", "top_5"):
            found[name] = Rest(every)
            continue
        # Of two classes there is one ranking, and kappa has no mean over classes.
        one = name == "kappa" or (name in ("auroc", "auprc") and task.labels.kind == "class" and len(columns) == 2)
        found[name] = Rest(smallest, 1 if one else max(1, len(columns)))
    if task.labels.kind == "class" and "balanced_accuracy" in found:
        recalls = {k: given[positive[:, k], k].mean() for k in np.flatnonzero(positive.any(axis=0))}
        sizes = [len(np.unique(unit[positive[:, k]])) for k, recall in recalls.items() if recall in (0, 1)]
        found["balanced_accuracy"] = found["balanced_accuracy"]._replace(
            extreme=len(sizes) == len(recalls), unseen=sum(map(_unseen, sizes)) / max(1, len(recalls)) ** 2
        )
    return found


def _unseen(n: int) -> float:
    """The variance of a share of 1 or 0 of n units: that of Jeffreys' posterior, a beta of n + 1/2 and 1/2."""
    return (n + 0.5) * 0.5 / ((n + 1) ** 2 * (n + 2))


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
    parts: Mapping[str, Parts] | None = None,
    bounds: Mapping[str, Ends] | None = None,
) -> Measured:
    """Figures with their intervals.

    Of a mean of losses the interval follows from the losses (`leaning_ends`). Of any other figure it follows from the
    standard error of a bootstrap (Efron and Tibshirani 1993, ch. 6; `bounded_ends`).

    Without a single error all resamples are alike, and their percentiles would say that nothing can go wrong. A share
    of 1 or 0 then has the interval of Clopper and Pearson 1934 for as many units as it rests on, (1 - level) / 2 to the
    power of 1 / units: .884 to 1 of 30. That is exact for a share of the units. A mean over K classes is least sure of
    the smallest one, which is a Kth of it; for what is no share (auroc, f1, kappa) the same stands in. Where all of one
    class are right and all of another wrong, their mean has it on both sides.

    Args:
        values: Each figure by its name.
        resampled: The same figures, (b,) each, in resamples that are given as counts, (b, n): how often each example
            was drawn.
        n: The number of examples.
        groups: As for `measure`, and so all that follows.
        resamples: How many resamples are drawn.
        level: The share of samples whose interval is to hold the truth, in (0, 1).
        seed: Seeds the drawing.
        rests: What each figure that is such a share rests on.
        parts: What each example adds to those figures that are means of losses.
        bounds: The lowest and the highest of those other figures that do not lie from 0 to 1.
    """
    unit, parts = units(groups, n), parts or {}
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    if not unit.any():
        return {name: _entry(known.get(name), (np.nan, np.nan), n) for name in values}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in known if name not in parts}
    for counts in _resamples(groups, n, resamples, seed) if drawn else ():
        scores = resampled(counts)
        for name, found in drawn.items():
            found.append(scores[name])
    ends = {name: leaning_ends(parts[name], unit, level) for name in known if name in parts}
    for name, found in drawn.items():
        low, high = (bounds or {}).get(name, (0.0, 1.0))
        unseen = rests[name].unseen if rests and name in rests else 0.0
        ends[name] = bounded_ends(known[name], np.concatenate(found), _behind(name, unit, rests), level, low, high,
                                  unseen=unseen)  # fmt: skip
    told = {name: _entry(known.get(name), ends.get(name, (np.nan, np.nan)), n) for name in values}
    for name, (mask, of, extreme, _) in (rests or {}).items():
        bound = 1 - (1 - ((1 - level) / 2) ** (1 / max(1, len(np.unique(unit[mask]))))) / of
        one = told[name]
        # Sums may end a last bit beside 1.
        alike = one["low"] is not None and one["high"] is not None and one["high"] - one["low"] < SAME
        if alike or (extreme and one["low"] is not None):
            if not abs(values[name]) < SAME:
                one["low"] = max(0.0, values[name] - (1 - bound))
            if not abs(values[name] - 1) < SAME:
                one["high"] = min(1.0, values[name] + (1 - bound))
    return told


def _behind(name: str, unit: np.ndarray, rests: Mapping[str, Rest] | None) -> int:
    """How many units the spread of a figure is known from: all, but of one ROC curve those of its smaller side.

    The variance of an area under it is that over the one side and that over the other (DeLong et al. 1988), and of
    ten positives among thousands it is as unsure as ten are.
    """
    every = int(unit.max()) + 1
    rest = (rests or {}).get(name)
    if rest is None or name.partition("/")[0] != "auroc" or rest.of != 1:
        return every
    return int(np.clip(len(np.unique(unit[rest.mask])), 2, every))


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
        level: As for `measure`.
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
    # Differences of losses lean neither way, and what little they do in a sample is chance: no transformation.
    losses = {name: (0.0, np.inf) for name in task.parts(after, target)}
    bounds = {name: (BOUNDS | losses).get(name, (0.0, 1.0)) for name in values}
    return spread(
        values, drawn, len(target), groups=groups, resamples=resamples, level=level, seed=seed,
        bounds={name: (low - high, high - low) for name, (low, high) in bounds.items()},
    )  # fmt: skip


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


def _entry(value: float | None, ends: Ends, n: int) -> dict[str, float | int | None]:
    low, high = (float(end) if np.isfinite(end) else None for end in ends)
    return {"value": None if value is None else float(value), "low": low, "high": high, "n": n}
