"""Sets that hold the right class, and intervals that hold the right number, as often as was asked for.

Split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2021, arXiv 2107.07511). Of classes the sets are
those of least ambiguity (Sadinle et al. 2019, arXiv 1609.00451): all classes whose probability is not below a limit, so
that a set may be empty where nothing is likely enough. Where a set does not hold one class alone, the model abstains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tasks import resample
from ..tasks.base import Task
from ..tasks.decisions import Decisions
from .intervals import Measured, Rest, spread
from .judged import Seen


def fit_limit(task: Task, coverage: float, seen: Seen) -> float | None:
    """The largest non-conformity that a set may hold; None where there are too few examples to exclude anything.

    With n held-out examples it is the ceil((n + 1) coverage)-th smallest of theirs, which gives at least `coverage` on
    new examples that are drawn as these were.

    Args:
        task: Says what the answers mean.
        coverage: In (0, 1).
        seen: Calibrated answers to held-out examples.
    """
    scores = np.sort(_scores(task, seen.answer, seen.target))
    # Less a rounding error: 0.9 * 10 must not become the 10th of 9.
    rank = int(np.ceil((len(scores) + 1) * coverage - 1e-9))
    return float(scores[rank - 1]) if rank <= len(scores) else None


def _scores(task: Task, answer: np.ndarray, target: np.ndarray) -> np.ndarray:
    if task.labels.kind == "class":
        return np.asarray(1 - answer[np.arange(len(target)), target])
    return np.asarray(np.abs(answer[:, 0] - target.astype(np.float64)))


def conformal(task: Task, decisions: Decisions, seen: Seen, *, seed: int = 0) -> dict[str, Any]:
    """What sets or intervals give on a part.

    Args:
        task: Says what the answers mean.
        decisions: With the coverage that was asked for and the limit.
        seen: Calibrated answers to the part.
        seed: Seeds the intervals.

    Returns:
        `{"asked", "limit", "coverage": figure, ...}`: of classes the mean "size" of a set, the share that is
        "abstained" from and the "accuracy" where it is not; of a number "width", that of its interval in its own unit.
    """
    limit = np.inf if decisions.limit is None else decisions.limit
    n = len(seen.target)
    inside = (_scores(task, seen.answer, seen.target) <= limit).astype(np.float64)
    told: dict[str, Any] = {"asked": decisions.coverage, "limit": decisions.limit}
    # Without a limit everything is inside, of necessity.
    every: dict[str, Rest] = {"coverage": Rest(np.ones(n, bool))} if np.isfinite(limit) else {}
    if task.labels.kind == "number":
        figures: Measured = spread({"coverage": float(inside.mean())}, lambda c: {"coverage": resample.mean(inside, c)},
                                   n, groups=seen.groups, seed=seed, rests=every)  # fmt: skip
        return {**told, **figures, "width": None if decisions.limit is None else 2 * decisions.limit}
    size = decisions.sets(seen.answer).sum(axis=1)
    alone = size == 1
    right = alone & (inside > 0)
    figures = spread(
        {
            "coverage": float(inside.mean()), "size": float(size.mean()), "abstained": float((~alone).mean()),
            "accuracy": float(right.sum() / alone.sum()) if alone.any() else float("nan"),
        },
        lambda counts: {
            "coverage": resample.mean(inside, counts), "size": resample.mean(size.astype(np.float64), counts),
            "abstained": resample.mean((~alone).astype(np.float64), counts),
            "accuracy": resample.share(right, alone, counts),
        },
        n, groups=seen.groups, seed=seed, rests={**every, "abstained": Rest(np.ones(n, bool)), "accuracy": Rest(alone)},
        bounds={"size": (0.0, float(seen.answer.shape[1]))},
    )  # fmt: skip
    return {**told, **figures}
