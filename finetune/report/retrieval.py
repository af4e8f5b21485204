"""How well pictures of one product find each other: recall at 1 and 10, and MAP@R, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tasks import resample
from .intervals import Measured, Rest, spread


def retrieval_figures(
    scores: dict[str, np.ndarray], groups: Sequence[Any] | None, *, shares: bool = True, seed: int = 0
) -> Measured:
    """The mean of each score over the pictures that have one, with its interval.

    Args:
        scores: As from `tasks.retrieval.retrieval_scores`.
        groups: (n,) what is drawn together; None draws each picture alone.
        shares: Whether they are shares, and no differences of some: one of 1 or 0 is then as sure as so many pictures
            allow.
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
        rests={name: Rest(np.ones(len(rows), bool)) for name in kept} if shares else None,
        bounds={name: (0.0 if shares else -1.0, 1.0) for name in kept},
    )  # fmt: skip
