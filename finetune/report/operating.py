"""Thresholds at which a class is answered so that a rate is reached: fitted on held-out examples, then measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..tasks import resample
from ..tasks.base import Task
from ..tasks.decisions import Decisions
from ..tasks.operate import Operate
from .intervals import Rest, spread
from .judged import Seen


def fit_thresholds(task: Task, operate: Operate, seen: Seen) -> tuple[dict[str, float], list[str]]:
    """The threshold of each class or label that is decided, and a sentence for each that could not be had.

    Of all thresholds that reach the rate it is the one that costs least: for a sensitivity the highest, for a
    specificity or precision the lowest. It lies half-way to the next score, so that rounding decides nothing.

    Args:
        task: Says what the answers mean.
        operate: The rate.
        seen: Calibrated answers to held-out examples.
    """
    rest = task.against_rest(seen.answer, seen.target)
    found, notes = {}, []
    for name in operate.positives(task.labels.names, several=task.labels.kind == "labels"):
        place = task.labels.names.index(name)
        limit = _threshold(operate, rest.positive[:, place], rest.score[:, place])
        if limit is not None:
            found[name] = limit
            continue
        n = int(rest.positive[:, place].sum())
        notes.append(
            f"{operate.rate} >= {operate.least:g} for {name} is not reached at any threshold on {len(seen.target)} "
            f"held-out examples, {n} of them positive: it is answered as usual."
        )
    return found, notes


def _threshold(operate: Operate, positive: np.ndarray, score: np.ndarray) -> float | None:
    from sklearn.metrics import precision_recall_curve, roc_curve

    if positive.all() or not positive.any():
        return None
    if operate.rate == "precision":
        precision, recall, limits = precision_recall_curve(positive, score)
        reached = (precision[:-1] >= operate.least) & (recall[:-1] > 0)
        at = limits[reached].min() if reached.any() else None
    else:
        false, true, limits = roc_curve(positive, score, drop_intermediate=False)
        if operate.rate == "sensitivity":
            at = limits[true >= operate.least - 1e-12].max()
        else:
            at = limits[1 - false >= operate.least - 1e-12].min()
    if at is None:
        return None
    below = score[score < at]
    if not np.isfinite(at):  # nothing may be answered: a specificity that no score reaches
        return float(np.nextafter(score.max(), 2))
    return float((at + below.max()) / 2 if len(below) else at / 2)


def fit_answered(least: float, seen: Seen) -> float | None:
    """The lowest probability of the likeliest class from which on so many answers are right; None where none is.

    Of all probabilities that reach the precision it answers the most. One wrong answer more is counted than there is
    (the next example may be one: Angelopoulos et al. 2024, arXiv 2208.02814), since of many probabilities the luckiest
    would be taken otherwise. It lies half-way to the next lower probability, as thresholds of classes do.

    Args:
        least: The share of what is answered that is to be right, in (0, 1].
        seen: Calibrated answers of classes to held-out examples.
    """
    sure, right = seen.answer.max(axis=1), seen.answer.argmax(axis=1) == seen.target
    order = np.argsort(-sure, kind="stable")
    limits, counts = sure[order], np.arange(1, len(order) + 1)
    # Equal probabilities are answered together: only the last of them is a place to stop.
    last = np.r_[np.diff(limits) < 0, True]
    wrong = np.cumsum(~right[order])
    reached = np.flatnonzero(last & (wrong + 1 <= (1 - least) * (counts + 1) + 1e-9))
    if not len(reached):
        return None
    at = reached[-1]
    return float((limits[at] + limits[at + 1]) / 2) if at + 1 < len(limits) else 0.0


def answering(decisions: Decisions, seen: Seen, *, seed: int = 0) -> dict[str, Any]:
    """What answering only what is sure enough gives on a part (Chow 1970; El-Yaniv and Wiener 2010).

    Args:
        decisions: With the probability from which on there is an answer.
        seen: Calibrated answers of classes to the part.
        seed: Seeds the intervals.

    Returns:
        `{"asked", "threshold", "coverage", "precision"}`: the share that is answered, and how much of it is right.
    """
    kept = ~decisions.abstained(seen.answer)
    right = kept & (seen.answer.argmax(axis=1) == seen.target)
    values = {"coverage": float(kept.mean()), "precision": float(right.sum() / kept.sum()) if kept.any() else np.nan}

    def drawn(counts: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "coverage": resample.mean(kept.astype(np.float64), counts),
            "precision": resample.share(right, kept, counts),
        }

    figures = spread(values, drawn, len(kept), groups=seen.groups, seed=seed,
                     rests={"coverage": Rest(np.ones(len(kept), bool)), "precision": Rest(kept)})  # fmt: skip
    return {"asked": decisions.asked, "threshold": decisions.answered, **figures}


def operating(
    task: Task, thresholds: Mapping[str, float], asked: str, seen: Seen, *, seed: int = 0
) -> dict[str, Any]:  # fmt: skip
    """What the thresholds give on a part: sensitivity, specificity and precision of each class that is decided.

    Args:
        task: Says what the answers mean.
        thresholds: By class or label.
        asked: The operating point in words.
        seen: Calibrated answers to the part.
        seed: Seeds the intervals.

    Returns:
        `{class: {"asked", "threshold", "sensitivity", "specificity", "precision"}}`.
    """
    from sklearn import metrics

    rest = task.against_rest(seen.answer, seen.target)
    told = {}
    for name, limit in thresholds.items():
        place = task.labels.names.index(name)
        true, given = rest.positive[:, place], rest.score[:, place] >= limit
        values = {
            "sensitivity": metrics.recall_score(true, given, zero_division=np.nan),
            "specificity": metrics.recall_score(~true, ~given, zero_division=np.nan),
            "precision": metrics.precision_score(true, given, zero_division=np.nan),
        }

        def drawn(counts: np.ndarray, true: np.ndarray = true, given: np.ndarray = given) -> dict[str, np.ndarray]:
            return {
                "sensitivity": resample.share(true & given, true, counts),
                "specificity": resample.share(~true & ~given, ~true, counts),
                "precision": resample.share(true & given, given, counts),
            }

        rests = {"sensitivity": Rest(true), "specificity": Rest(~true), "precision": Rest(given)}
        figures = spread(values, drawn, len(true), groups=seen.groups, seed=seed, rests=rests)
        told[name] = {"asked": asked, "threshold": limit, **figures}
    return told
