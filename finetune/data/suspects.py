"""Label audit: examples whose given answer the others contradict. Arrays in, rows out; no model is known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import Kind

FARTHEST = 4.0
"""A number is suspect so many robust standard deviations from what is predicted of it."""

FEWEST = 5
"""Of a class or label with fewer examples nothing can be said: held-out answers for it come from next to none."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An example whose given answer may be wrong.

    Args:
        row: Its row in the table of examples.
        given: The answer that it carries.
        suggested: The answer that the other examples suggest.
        probability: Of the given answer, from a model fitted without this example; None for a number.
        score: How far the two answers are apart: for names the probability of the given one minus that of the
            suggested one, in -1..0; for a number minus its distance in robust standard deviations. Lowest first.
    """

    row: int
    given: str
    suggested: str
    probability: float | None
    score: float


def find_suspects(kind: Kind, names: Sequence[str], answer: np.ndarray, given: np.ndarray) -> list[Suspect]:
    """Examples whose given answer held-out answers contradict, the surest first.

    Args:
        kind: What the target is.
        names: The K classes or labels; empty for a number.
        answer: (N, K) probabilities, or (N, 1) numbers, each from a model that was fitted without its example.
        given: Encoded targets: (N,) int for classes, (N, K) of 0 and 1 for labels, (N,) for numbers.
    """
    if kind == "number":
        return _of_numbers(answer[:, 0], given)
    if kind == "class":
        suggested = contradicted(answer, given)
        rows = np.flatnonzero(suggested >= 0)
        own, other = answer[rows, given[rows]], answer[rows, suggested[rows]]
        found = [
            Suspect(row=int(row), given=names[given[row]], suggested=names[suggested[row]], probability=float(p),
                    score=float(p - q))
            for row, p, q in zip(rows, own, other, strict=True)
        ]  # fmt: skip
    else:
        found = [suspect for k, name in enumerate(names) for suspect in _of_label(name, answer[:, k], given[:, k])]
    return sorted(found, key=lambda suspect: (suspect.score, suspect.row))


def contradicted(probability: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The class that an example is confidently another one of, or -1.

    An example is confidently of a class when it is given at least the probability that the class's own examples are
    given on average, so that a class that is hard to tell, or rare, is not suspected as a whole: Northcutt, Jiang and
    Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021 (arXiv 1911.00068), eq. 2.

    Args:
        probability: (N, K), each row from a model that was fitted without the example.
        given: (N,) int, in 0..K-1.

    Returns:
        (N,) int64.
    """
    count = probability.shape[1]
    sizes = np.bincount(given, minlength=count)
    sums = np.bincount(given, weights=probability[np.arange(len(given)), given], minlength=count)
    # Nobody is confidently of a class that has too few examples for a threshold of its own.
    least = np.where(sizes >= FEWEST, sums / np.maximum(sizes, 1), np.inf)
    confident = probability >= least - 1e-12
    best = np.where(confident, probability, -1.0).argmax(axis=1)
    # The likelier one must be likelier than the given one too: a lowered threshold alone contradicts nobody.
    rows = np.arange(len(given))
    likelier = probability[rows, best] > probability[rows, given]
    wrong = confident.any(axis=1) & (best != given) & likelier & (sizes[given] >= FEWEST)
    return np.where(wrong, best, -1).astype(np.int64)


def unlikely(kind: Kind, answer: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(N,) bool: the examples that `find_suspects` names, for an audit to leave out of its next fit."""
    out = np.zeros(len(given), bool)
    names = [""] * answer.shape[1]
    out[[suspect.row for suspect in find_suspects(kind, names, answer, given)]] = True
    return out


def _of_label(name: str, probability: np.ndarray, given: np.ndarray) -> list[Suspect]:
    """One label of several: the classes are having it and not having it."""
    marks = given.astype(np.int64)
    suggested = contradicted(np.stack([1 - probability, probability], axis=1), marks)
    words = (f"not {name}", name)
    found = []
    for row in np.flatnonzero(suggested >= 0):
        own = float(probability[row] if marks[row] else 1 - probability[row])
        given_word, other_word = words[marks[row]], words[suggested[row]]
        found.append(
            Suspect(row=int(row), given=given_word, suggested=other_word, probability=own, score=own - (1 - own))
        )
    return found


def _of_numbers(predicted: np.ndarray, given: np.ndarray) -> list[Suspect]:
    """Numbers whose residual is far out of the usual.

    The unit is the larger of two robust standard deviations, from the median distance and from the middle 80 %: where
    most targets are one number, as steering angles are 0, the first alone is nearly nothing.
    """
    residual = given.astype(np.float64) - predicted
    if len(residual) < 2 * FEWEST:
        return []
    middle = float(np.median(residual))
    low, high = np.quantile(residual, [0.1, 0.9])
    unit = max(1.4826 * float(np.median(np.abs(residual - middle))), float(high - low) / 2.5631)
    if unit <= 1e-9 * max(1.0, float(np.abs(given).max())):
        return []
    distance = np.abs(residual - middle) / unit
    order = np.lexsort((np.arange(len(residual)), -distance))
    return [
        Suspect(row=int(row), given=_number(given[row]), suggested=_number(predicted[row]), probability=None,
                score=-float(distance[row]))
        for row in order if distance[row] > FARTHEST
    ]  # fmt: skip


def _number(value: Any) -> str:
    return f"{float(value):.6g}"
