"""All that is told of some parts: each metric, each class by itself, and what was taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tasks import resample
from ..tasks.base import Task
from ..tasks.scores import class_scores, constant_columns, quiet_scores
from .intervals import Rest, measure, spread
from .levels import levels

MOST_WORK = 1e8
"""Examples x classes x resamples: beyond it fewer resamples are drawn for single classes, which takes a few seconds."""

FEWEST_RESAMPLES = 100

MOST_CROSSED = 200
"""Classes beyond which nobody reads a table of each against each, and none is made."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a model answered of a part.

    Args:
        answer: (N, K) answers, as `Task.answer` gives them.
        target: The encoded targets of the same N examples.
        groups: What belongs together, as for `measure`.
    """

    answer: np.ndarray
    target: np.ndarray
    groups: Sequence[Any] | None = None


def judge(task: Task, parts: Mapping[str, Seen], *, seed: int = 0) -> dict[str, Any]:
    """The figures of each part, as metrics.json holds them.

    Args:
        task: Says what the answers mean.
        parts: What was answered of each part.
        seed: Seeds the intervals.

    Returns:
        `{part: {metric: {"value", "low", "high", "n"}}}`, and beside the parts "classes", "confusion" and "undefined",
        each by part: the same for each class against the rest with its support; how often each class (a row) was
        taken for each (a column); and the classes of which the part holds one value only, so that no mean over
        classes of auroc and auprc has them in it. A number has none of these three. Where classes lie on a taxonomy
        also "levels", a list by part: see `levels`.
    """
    told: dict[str, Any] = {
        part: measure(task, seen.answer, seen.target, groups=seen.groups, seed=seed, whole=True)
        for part, seen in parts.items()
    }
    if task.labels.kind == "number" or not parts:
        return told
    told["classes"] = {part: classes(task, seen, seed=seed) for part, seen in parts.items()}
    if task.labels.kind == "class" and len(task.labels.names) <= MOST_CROSSED:
        told["confusion"] = {part: confusion(task, seen) for part, seen in parts.items()}
    told["undefined"] = {part: undefined(task, seen) for part, seen in parts.items()}
    found = {part: levels(task, seen, seed=seed) for part, seen in parts.items()}
    if any(found.values()):
        told["levels"] = found
    return told


def classes(task: Task, seen: Seen, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1, auroc and auprc of each class against the rest, with intervals, and its support."""
    rest = task.against_rest(seen.answer, seen.target)
    names, (n, width) = task.labels.names, rest.positive.shape
    values = class_scores(*rest)
    keys = [(figure, k) for figure in values for k in range(width)]

    def drawn(counts: np.ndarray) -> dict[str, np.ndarray]:
        found = resample.class_figures(*rest, counts)
        return {f"{figure}/{k}": found[list(values).index(figure), :, k] for figure, k in keys}

    figures = spread(
        {f"{figure}/{k}": values[figure][k] for figure, k in keys}, drawn, n, groups=seen.groups, seed=seed,
        resamples=int(np.clip(MOST_WORK / max(1, n * width), FEWEST_RESAMPLES, 1000)),
        rests={f"{figure}/{k}": Rest(_rests(figure, rest.positive[:, k], rest.given[:, k])) for figure, k in keys},
    )  # fmt: skip
    return {
        name: {
            **{figure: figures[f"{figure}/{k}"] for figure in values},
            "support": int(rest.positive[:, k].sum()),
        }
        for k, name in enumerate(names)
    }


def _rests(figure: str, positive: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The examples that a figure of one class rests on: those of the class, those so answered, or the fewer side."""
    side = positive if 2 * positive.sum() <= len(positive) else ~positive
    found: np.ndarray = {"precision": given, "recall": positive, "f1": positive}.get(figure, side)
    return found


def confusion(task: Task, seen: Seen) -> dict[str, Any]:
    """How often each class was taken for each: a row is the truth, a column the answer."""
    from sklearn.metrics import confusion_matrix

    names = task.labels.names
    with quiet_scores():
        counts = confusion_matrix(seen.target, seen.answer.argmax(axis=1), labels=np.arange(len(names)))
    return {"labels": list(names), "counts": counts.tolist()}


def undefined(task: Task, seen: Seen) -> list[str]:
    """The classes that everything in a part has, or nothing: no ranking of them can be right or wrong."""
    positive = task.against_rest(seen.answer, seen.target).positive
    return [task.labels.names[k] for k in np.flatnonzero(constant_columns(positive))]
