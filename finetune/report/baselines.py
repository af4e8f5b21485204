"""What answers without understanding are worth on the same examples: a figure means something beside these alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..tasks.base import Task
from .intervals import difference, measure
from .judged import Seen

MOST_COMPARED = 5000
"""Training pictures that a picture is compared with, pixel by pixel."""


def baselines(
    task: Task, parts: Mapping[str, tuple[np.ndarray, Seen]], *, train: np.ndarray, target: np.ndarray,
    thumbnails: np.ndarray | None, probe: Mapping[str, np.ndarray], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The figures of naive answers to each part, and how much better the model is, as metrics.json holds them.

    "majority" (of a number "mean") answers each example with the shares of the classes in the training part;
    "nearest-pixels" with the target of the training picture whose grey thumbnail is nearest, pixel by pixel;
    "probe" with the frozen backbone under a linear head.

    Args:
        task: Says what the answers mean.
        parts: Of each part the rows of its examples, and what the model answered.
        train: Rows of the training part.
        target: The encoded targets of all N examples.
        thumbnails: (N, H, W) uint8 of all examples; None where nobody looked at them.
        probe: (n, K) answers of the frozen probe to the examples of a part, where there was one.
        seed: Seeds the intervals.

    Returns:
        "baselines", `{part: {name: {metric: figure}}}`, and "over_baselines", the paired differences of the model's
        figures to those, likewise.
    """
    shares = target[train].mean(axis=0, keepdims=True, dtype=np.float64)
    if task.labels.kind == "class":
        shares = np.bincount(target[train], minlength=task.labels.num_outputs)[None] / len(train)
    constant = shares.reshape(1, -1)
    told: dict[str, Any] = {"baselines": {}, "over_baselines": {}}
    for part, (rows, seen) in parts.items():
        naive = {"mean" if task.labels.kind == "number" else "majority": np.repeat(constant, len(rows), axis=0)}
        # Held-out training examples would find themselves, or those that were kept together with them.
        if thumbnails is not None and not np.isin(rows, train).any():
            naive["nearest-pixels"] = _nearest(task, thumbnails, train, rows, target, seed)
        if part in probe:
            naive["probe"] = probe[part]
        told["baselines"][part] = {
            name: measure(task, answer, seen.target, groups=seen.groups, seed=seed, whole=True)
            for name, answer in naive.items()
        }
        told["over_baselines"][part] = {
            name: difference(task, seen.answer, answer, seen.target, groups=seen.groups, seed=seed)
            for name, answer in naive.items()
        }
    return told


def _nearest(
    task: Task, thumbnails: np.ndarray, train: np.ndarray, rows: np.ndarray, target: np.ndarray, seed: int
) -> np.ndarray:
    """The target of the nearest training picture as an answer, (n, K)."""
    from sklearn.neighbors import NearestNeighbors

    if len(train) > MOST_COMPARED:
        train = np.random.default_rng(seed).choice(train, MOST_COMPARED, replace=False)
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    found = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat[train])
    like = target[train[found.kneighbors(flat[rows], return_distance=False)[:, 0]]]
    if task.labels.kind == "class":
        return np.asarray(np.eye(task.labels.num_outputs)[like])
    return np.asarray(like.reshape(len(rows), -1), np.float64)
