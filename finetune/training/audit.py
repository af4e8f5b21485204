"""Held-out answers for a label audit: of heads that were fitted without the example, and without what looks wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..tasks.base import Task
from .probe import _minimise, _standard, fit_head, plain_head, stratified_folds


def held_out_answers(
    features: np.ndarray,
    target: np.ndarray,
    task: Task,
    *,
    unlikely: Callable[[np.ndarray], np.ndarray],
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> np.ndarray | None:
    """What linear heads say of examples that they were not fitted on.

    Two rounds: wrong labels pull the head towards themselves, so those that the first round finds unlikely are left
    out of the fits of the second one; every example is answered for in both.

    Args:
        features: (N, D) float32.
        target: Encoded targets of the same examples.
        task: Says what the loss is, and the answer.
        unlikely: Says of (N, K) answers which (N,) examples to leave out, bool.
        groups: What must not sit on two sides of a fold.
        seed: Seeds the folds.

    Returns:
        (N, K) answers of the task; None where the examples are too few to hold any out.
    """
    head = plain_head(features.shape[1], task.labels.num_outputs)
    first = fit_head(copy.deepcopy(head), features, target, task, groups=groups, seed=seed)
    if first.held_out is None:
        return None
    answer = task.answer(torch.from_numpy(first.held_out))
    without = unlikely(answer)
    if not without.any():
        return answer
    x, y = torch.from_numpy(np.array(features, np.float32)), torch.from_numpy(np.asarray(target))
    logits = torch.zeros(first.held_out.shape)
    for fit, held in stratified_folds(target, groups, seed):
        kept = fit[~without[fit]]
        if _lacks(target, kept, fit):
            return answer
        shift, scale = _standard(x[kept])
        model = copy.deepcopy(head)
        _minimise(model, (x[kept] - shift) / scale, y[kept], task, first.penalty)
        with torch.no_grad():
            logits[held] = model((x[held] - shift) / scale)
    return task.answer(_sharpened(logits, y, task, ~without))


def _sharpened(logits: torch.Tensor, target: torch.Tensor, task: Task, kept: np.ndarray) -> torch.Tensor:
    """The logits at the temperature that suits the examples that were kept: Guo et al. 2017, arXiv 1706.04599.

    The penalty was chosen among wrong labels, where it pays to be unsure; an unsure model is as sure of half of the
    wrong labels as of the less usual ones of the right.
    """
    if task.labels.kind == "number" or not kept.any():
        return logits
    scales = torch.logspace(-1, 1.5, 51)
    losses = torch.stack([task.loss(scale * logits[kept], target[kept]) for scale in scales])
    return logits * scales[losses.argmin()]


def _lacks(target: np.ndarray, kept: np.ndarray, fit: np.ndarray) -> bool:
    """Whether a class has gone with what was left out; then the first round is the better one."""
    if target.ndim != 1 or target.dtype.kind != "i":
        return len(kept) < len(fit) / 2
    return len(np.unique(target[kept])) < len(np.unique(target[fit]))
