"""Shortcuts: facts that should not matter, such as a picture's size or its camera, and that give the answer away.

A model may learn them in place of what was meant: Geirhos et al., "Shortcut learning in deep neural networks", Nature
Machine Intelligence 2020 (arXiv 2004.07780).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import Kind
from .facts import Fact

FOLDS = 5
FEWEST = 2 * FOLDS
"""Classes with fewer examples, or labels with fewer on one side, are left out."""

MOST = 5000
"""So many examples show a shortcut as well as a million do."""

TREES, RESAMPLES = 40, 500
SUSPICIOUS, STRONG = 0.1, 0.8
"""The share of the way from chance to certainty that the lower end of the interval must reach to be told, and to be
told first."""


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """How well one fact gives the answer away.

    Args:
        fact: Which one.
        score: Balanced accuracy (a mean over several labels), or R² of a number, of held-out examples.
        low: Lower end of its 95 % interval.
        high: Upper end.
        chance: What guessing reaches.
        n: How many examples were looked at.
        example: In which value the answers differ most, in words.
        seen: Whether a network may see it in the pixels.
        content: Whether what is meant to be learned may show in it too.
    """

    fact: str
    score: float
    low: float
    high: float
    chance: float
    n: int
    example: str
    seen: bool = True
    content: bool = False

    @property
    def skill(self) -> float:
        """How far the lower end lies from chance to certainty, 0..1 (below 0 where it lies below chance)."""
        return (self.low - self.chance) / (1 - self.chance)

    @property
    def suspicious(self) -> bool:
        """Whether it is worth telling."""
        return self.skill > SUSPICIOUS

    @property
    def strong(self) -> bool:
        """Whether a network could answer nearly everything by what it sees of this fact alone."""
        return self.seen and not self.content and self.skill >= STRONG


def find_shortcuts(
    facts: Sequence[Fact],
    kind: Kind,
    names: Sequence[str],
    given: np.ndarray,
    *,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> list[Shortcut]:
    """Guesses every example's answer from one fact at a time, with trees fitted on other examples.

    Args:
        facts: What to guess from.
        kind: What the target is.
        names: The K classes or labels; empty for a number.
        given: Encoded targets: (N,) int, (N, K) of 0 and 1, or (N,) numbers.
        groups: What must not sit on two sides of a fold: patients, copies.
        seed: Seeds the folds, the trees and the intervals.

    Returns:
        One for each fact, the most telling first; none where the examples are too few.
    """
    rng = np.random.default_rng(seed)
    rows, marks = _enough(kind, given)
    if len(rows) > MOST:
        rows = np.sort(rng.choice(rows, MOST, replace=False))
        again, marks = _enough(kind, given[rows])
        rows = rows[again]
    if not len(rows):
        return []
    target = given[rows] if kind != "labels" else given[rows][:, marks]
    unit = _units(groups, rows)
    folds = _folds(kind, target, unit, seed)
    found = []
    for fact in facts if folds else ():
        table = np.stack([column[rows] for column in fact.columns.values()], axis=1)
        guess = _guess(kind, table, target, folds, seed)
        score, low, high = _interval(kind, guess, target, unit, np.random.default_rng(seed))
        chance = {"class": 1 / len(np.unique(target)), "labels": 0.5, "number": 0.0}[kind]
        found.append(
            Shortcut(
                fact=fact.name, score=score, low=low, high=high, chance=chance, n=len(rows), seen=fact.seen,
                content=fact.content, example=_example(kind, fact, rows, names, target),
            )
        )  # fmt: skip
    return sorted(found, key=lambda shortcut: (-shortcut.skill, shortcut.fact))


def _enough(kind: Kind, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of classes with enough examples, and the labels that hold both values often enough."""
    everything, none = np.arange(len(given)), np.zeros(0, np.int64)
    if kind == "class":
        counts = np.bincount(given)
        rows = np.flatnonzero(counts[given] >= FEWEST)
        return (rows if (counts >= FEWEST).sum() > 1 else none), none
    if kind == "number":
        return (everything if len(given) >= 2 * FEWEST and np.ptp(given) > 0 else none), none
    having = given.sum(axis=0)
    marks = np.flatnonzero((having >= FEWEST) & (len(given) - having >= FEWEST))
    return (everything if len(marks) else none), marks


def _units(groups: Sequence[Any] | None, rows: np.ndarray) -> np.ndarray:
    """The number of the unit that each row belongs to."""
    keys = [("alone", row) if groups is None or groups[row] is None else ("group", str(groups[row])) for row in rows]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def _folds(kind: Kind, target: np.ndarray, unit: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    units = [len(np.unique(unit[target == k])) for k in np.unique(target)] if kind == "class" else [unit.max() + 1]
    count = min(FOLDS, *units)
    if count < 2:
        return []
    split: Any
    if kind == "class":
        split = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    else:
        # Units are numbered as they are listed, and a listing has an order: mixed, or a fold would be a stretch of it.
        unit = np.random.default_rng(seed).permutation(unit.max() + 1)[unit]
        split = GroupKFold(count)
    return list(split.split(np.zeros(len(unit)), target if kind == "class" else None, unit))


def _guess(
    kind: Kind, table: np.ndarray, target: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], seed: int
) -> np.ndarray:
    """What trees say of each example that were grown without it: they take facts of any scale, and no tuning."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    out = np.zeros_like(target)
    for fit, held in folds:
        words: dict[str, Any] = {"n_estimators": TREES, "min_samples_leaf": 3, "random_state": seed}
        if kind == "number":
            out[held] = ExtraTreesRegressor(**words).fit(table[fit], target[fit]).predict(table[held])
        elif kind == "class":
            model = ExtraTreesClassifier(**words, class_weight="balanced")
            out[held] = model.fit(table[fit], target[fit]).predict(table[held])
        else:
            for k in range(target.shape[1]):
                model = ExtraTreesClassifier(**words, class_weight="balanced")
                out[held, k] = model.fit(table[fit], target[fit, k]).predict(table[held])
    return out


def _interval(
    kind: Kind, guess: np.ndarray, target: np.ndarray, unit: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, float]:
    """The score and the ends of its bootstrap interval; groups are drawn whole."""
    number = unit.max() + 1
    counts = rng.multinomial(number, np.full(number, 1 / number), size=RESAMPLES)[:, unit].astype(np.float64)
    counts = np.concatenate([np.ones((1, len(unit))), counts])
    if kind == "number":
        mean = counts @ target / counts.sum(axis=1)
        spread = counts @ target**2 / counts.sum(axis=1) - mean**2
        scores = 1 - (counts @ (target - guess) ** 2) / counts.sum(axis=1) / np.maximum(spread, 1e-12)
    else:
        columns = [target] if target.ndim == 1 else list(target.T)
        guesses = [guess] if guess.ndim == 1 else list(guess.T)
        each = [_balanced(g == t, t, counts) for g, t in zip(guesses, columns, strict=True)]
        scores = np.mean(each, axis=0)
    low, high = np.quantile(scores[1:], [0.025, 0.975])
    return float(scores[0]), float(low), float(high)


def _balanced(right: np.ndarray, target: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Balanced accuracy under the counts of each resample; a class that a resample lacks counts as missed."""
    recalls = [
        counts @ (right & (target == k)).astype(float) / np.maximum(counts @ (target == k).astype(float), 1)
        for k in np.unique(target)
    ]
    return np.asarray(np.mean(recalls, axis=0))


def _example(kind: Kind, fact: Fact, rows: np.ndarray, names: Sequence[str], target: np.ndarray) -> str:
    """The column in which the answers differ most, and for classes how."""
    told = {}
    for name, column in fact.columns.items():
        values = column[rows]
        if kind == "class":
            apart, sentence = _between(name, values, names, target)
        else:
            each = [t for t in (target.reshape(len(target), -1)).T if np.ptp(t) > 0 and np.ptp(values) > 0]
            apart, sentence = max((abs(float(np.corrcoef(values, t)[0, 1])) for t in each), default=0.0), name
        told[sentence] = apart
    return max(told, key=lambda sentence: told[sentence])


def _between(name: str, values: np.ndarray, names: Sequence[str], target: np.ndarray) -> tuple[float, str]:
    """How many standard deviations lie between the two classes farthest apart, and a sentence on their means."""
    means = {k: float(values[target == k].mean()) for k in np.unique(target)}
    low, *_, high = sorted(means, key=lambda k: means[k])
    within = float(np.mean([values[target == k].var() for k in (low, high)]))
    apart = (means[high] - means[low]) / (within**0.5 + 1e-3 * float(values.std()) + 1e-9)
    share = set(np.unique(values)) <= {0.0, 1.0}
    said = [
        f"{means[k]:.0%} of {names[k]}" if share else f"{means[k]:.4g} on average in {names[k]}" for k in (low, high)
    ]
    return apart, f"{name}: {said[0]}, {said[1]}"
