"""How well pictures of one product find each other: recall at 1 and 10, and MAP@R, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tasks import resample
from .intervals import Measured, spread

RANKS = (1, 10)

BLOCK = 4_000_000
"""Cosines that are held at a time."""

ENOUGH_PRODUCTS = 20
"""Products from which on the interval draws them whole, since pictures of one product are not independent; fewer, drawn
again and again, say little of their spread."""


def retrieval_scores(vectors: np.ndarray, labels: np.ndarray, identity: np.ndarray) -> dict[str, np.ndarray]:
    """What each picture finds among the others.

    A picture never finds itself, nor a copy of itself. recall_at_k is 1 where one of the k nearest is of the same
    product. map_at_r (Musgrave et al. 2020, arXiv 2003.08505): of the R nearest, R being how many others of the product
    there are, the mean over R of the precision at each place that holds one of them.

    Args:
        vectors: (n, D) of length 1.
        labels: (n,) the product of each.
        identity: (n,) equal for pictures that are one.

    Returns:
        (n,) float64 under each name; not a number for a picture whose product has no other.
    """
    n = len(labels)
    names = [f"recall_at_{k}" for k in RANKS]
    found = {name: np.full(n, np.nan) for name in (*names, "map_at_r")}
    _, product = np.unique(labels, return_inverse=True)
    deep = min(n, max(int(np.bincount(product).max(initial=0)), *RANKS))
    step = max(1, BLOCK // max(n, 1))
    for start in range(0, n, step):
        rows = np.arange(start, min(n, start + step))
        cosine = vectors[rows] @ vectors.T
        itself = identity[rows, None] == identity[None]
        cosine[itself] = -np.inf
        others = ((product[rows, None] == product[None]) & ~itself).sum(axis=1)
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :deep]
        right = (product[order] == product[rows, None]) & np.isfinite(np.take_along_axis(cosine, order, axis=1))
        known = others > 0
        for k, name in zip(RANKS, names, strict=True):
            found[name][rows[known]] = right[known, :k].any(axis=1)
        precision = np.cumsum(right, axis=1) / np.arange(1, deep + 1)
        within = np.arange(deep) < others[:, None]
        total = (precision * right * within).sum(axis=1)
        found["map_at_r"][rows[known]] = total[known] / others[known]
    return found


def retrieval_figures(scores: dict[str, np.ndarray], groups: Sequence[Any] | None, *, seed: int = 0) -> Measured:
    """The mean of each score over the pictures that have one, with its interval.

    Args:
        scores: As from `retrieval_scores`.
        groups: (n,) what is drawn together; None draws each picture alone.
        seed: Seeds the drawing.
    """
    first = next(iter(scores.values()))
    rows = np.flatnonzero(~np.isnan(first))
    kept = {name: values[rows] for name, values in scores.items()}
    if not len(rows):
        return {name: {"value": None, "low": None, "high": None, "n": 0} for name in scores}
    return spread(
        {name: float(values.mean()) for name, values in kept.items()},
        lambda counts: {name: resample.mean(values, counts) for name, values in kept.items()},
        len(rows), groups=None if groups is None else [groups[row] for row in rows.tolist()], seed=seed,
        rests={name: (np.ones(len(rows), bool), 1) for name in kept},
    )  # fmt: skip
