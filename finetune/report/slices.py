"""The figures of parts of a part: of each site, each size of picture, each brightness; and which is the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..tasks.base import Task
from ..tasks.metric_names import HIGHER_IS_BETTER
from .intervals import measure, units
from .judged import Seen

MOST_VALUES = 20
"""Values of a column that have a slice each; rarer ones are one slice together."""

FEW_NUMBERS = 6
"""Different numbers up to which each is a slice of its own; more fall into four bands."""

FEWEST = 10
"""Units (pictures, or groups) below which a slice is told, and not called the worst: its interval may have no width."""

OTHERS, NOTHING = "(others)", "(none)"


def slices(task: Task, seen: Seen, columns: Mapping[str, Sequence[Any]], *, seed: int = 0) -> list[dict[str, Any]]:
    """The metrics of each value of each column, as metrics.json holds them.

    Args:
        task: Says what the answers mean.
        seen: Answers to N examples.
        columns: Of each column the (N,) values by which the examples are divided, as from `banded`.
        seed: Seeds the intervals.

    Returns:
        `{"by", "value", "n", "units", "metrics"}` for each, in the order of the columns, the largest slice first.
    """
    told = []
    for by, values in columns.items():
        texts = np.array([str(value) for value in values], dtype=object)
        names, counts = np.unique(texts, return_counts=True)
        if len(names) < 2:  # all of it is no slice
            continue
        for name in names[np.argsort(-counts, kind="stable")]:
            rows = np.flatnonzero(texts == name)
            groups = None if seen.groups is None else [seen.groups[row] for row in rows.tolist()]
            part = replace(seen, answer=seen.answer[rows], target=seen.target[rows], groups=groups)
            told.append({
                "by": by, "value": str(name), "n": len(rows), "units": int(units(groups, len(rows)).max()) + 1,
                "metrics": measure(task, part.answer, part.target, groups=groups, seed=seed),
            })  # fmt: skip
    return told


def sliced(
    task: Task, parts: Mapping[str, Seen], columns: Mapping[str, Sequence[Any]], rows: Mapping[str, np.ndarray], *,
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The slices of each part and the worst of the last one, as metrics.json holds them; nothing without columns.

    Args:
        task: Says what the answers mean.
        parts: Answers to each part.
        columns: The values of each column for all examples.
        rows: The places of each part's examples among them.
        seed: Seeds the intervals.
    """
    bands = {name: banded(values) for name, values in columns.items()}
    found = {
        part: slices(task, seen, {name: [of[row] for row in rows[part]] for name, of in bands.items()}, seed=seed)
        for part, seen in parts.items()
    }
    if not any(found.values()):
        return {}
    last = list(found)[-1]  # the test part, where there is one
    metric = task.metrics[0]
    lowest = worst(found[last], metric, task.measure(parts[last].answer, parts[last].target)[metric])
    return {"slices": found, **({} if lowest is None else {"worst_slice": {"part": last, **lowest}})}


def worst(found: Sequence[Mapping[str, Any]], metric: str, whole: float | None = None) -> dict[str, Any] | None:
    """The slice that is worst even at the good end of its interval, so that no slice is called so for being small.

    Args:
        found: Slices of one part.
        metric: The metric to judge by.
        whole: The figure over all; a slice that is no worse is not named.

    Returns:
        The slice with "metric" and "figure"; None where none is worse, large enough and has an interval.
    """
    higher = HIGHER_IS_BETTER[metric]
    judged = []
    for one in found:
        figure = one["metrics"][metric]
        worse = whole is None or (figure["value"] is not None and (whole - figure["value"]) * (1 if higher else -1) > 0)
        if one["units"] >= FEWEST and figure["low"] is not None and worse:
            judged.append(one)
    if not judged:
        return None

    def good_end(one: Mapping[str, Any]) -> float:
        figure = one["metrics"][metric]
        return float(figure["high"]) if higher else -float(figure["low"])

    of = min(judged, key=good_end)
    return {"by": of["by"], "value": of["value"], "n": of["n"], "metric": metric, "figure": of["metrics"][metric]}


def banded(values: Sequence[Any]) -> list[str]:
    """The slice that each value of a column belongs to: itself, a band of numbers, the rare others, or none.

    Numbers fall into bands at the quartiles, "12 to 34" from the smallest to the largest number in it. What is missing
    is a slice of its own, for it is seldom missing by chance.

    Args:
        values: Of all examples, whatever their part, so that parts have the same slices.
    """
    import pandas as pd

    column = pd.Series(list(values), dtype="object")
    missing = column.isna() | (column.astype(str).str.strip() == "")
    numbers = pd.to_numeric(column.where(~missing), errors="coerce")
    if not missing.all() and numbers[~missing].notna().all() and numbers.nunique() > FEW_NUMBERS:
        known = numbers[~missing].to_numpy(np.float64)
        edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75]))
        place = np.searchsorted(edges, numbers.to_numpy(np.float64), side="left")
        names = [_band(numbers[~missing & (place == band)]) for band in range(len(edges) + 1)]
        return [NOTHING if gone else names[band] for gone, band in zip(missing, place, strict=True)]
    texts = column.astype(str).where(~missing, NOTHING)
    frequent = set(texts.value_counts().index[:MOST_VALUES])
    return [text if text in frequent or text == NOTHING else OTHERS for text in texts]


def _band(inside: Any) -> str:
    if not len(inside):
        return NOTHING
    low, high = (f"{end:.4g}" for end in (inside.min(), inside.max()))
    return low if low == high else f"{low} to {high}"
