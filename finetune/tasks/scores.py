"""What several tasks need of scikit-learn's metrics."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

MOST_LEVELS = 200
"""Of a scale whose kappa is told by itself; beyond it names that are numbers are rather names."""


@contextlib.contextmanager
def quiet_scores() -> Iterator[None]:
    """Metrics without repeated checks of arrays that we made, and without warnings on a class that is absent.

    A resample of a small part often lacks a class: the metric is then over those that are there, which is what the
    interval should see, and one warning for each of a thousand resamples helps nobody.
    """
    import sklearn

    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def constant_columns(target: np.ndarray) -> np.ndarray:
    """Which columns of an (N, K) 0/1 target hold one value only: a ranking of those is undefined."""
    return np.asarray((target == target[:1]).all(axis=0))


def ranking_score(target: np.ndarray, answer: np.ndarray) -> float:
    """The mean area under the ROC curve over the columns of (N, K) that hold both values; NaN where none does."""
    from sklearn.metrics import roc_auc_score

    ranked = np.flatnonzero(~constant_columns(target))
    if len(ranked) == 0:
        return float("nan")
    return float(roc_auc_score(_columns(target, ranked), _columns(answer, ranked)))


def precision_score(target: np.ndarray, answer: np.ndarray) -> float:
    """The mean average precision over the columns of (N, K) that hold both values; NaN where none does."""
    from sklearn.metrics import average_precision_score

    ranked = np.flatnonzero(~constant_columns(target))
    if len(ranked) == 0:
        return float("nan")
    return float(average_precision_score(_columns(target, ranked), _columns(answer, ranked)))


def _columns(table: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Those columns, for one call of scikit-learn in place of one each, whose checks cost more than the metric.

    One column is told as (N,): as a table of one it would not be known for two classes.
    """
    return table[:, chosen] if len(chosen) > 1 else table[:, chosen[0]]


def levels_of(names: Sequence[str]) -> np.ndarray | None:
    """The whole numbers that three or more class names are, counted from the lowest; None where they are none.

    They are the places on a scale of all levels from the lowest to the highest, those that no class has too: a grade
    of 6 is as far from a grade of 2 where nobody got a 4.
    """
    if len(names) < 3 or not all(re.fullmatch(r"[-+]?\d{1,6}", name) for name in names):
        return None
    numbers = np.array([int(name) for name in names], np.int64)
    distinct, spread = len(set(numbers.tolist())) == len(numbers), int(numbers.max() - numbers.min())
    return numbers - numbers.min() if distinct and spread < MOST_LEVELS else None


def class_scores(positive: np.ndarray, given: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1, auroc and auprc of each class against the rest, (K,); NaN where one is undefined."""
    from sklearn import metrics

    with quiet_scores():
        named = dict(zip(("precision", "recall", "f1"), metrics.precision_recall_fscore_support(
            positive, given, average=None, zero_division=np.nan), strict=False))  # fmt: skip
        named["auroc"], named["auprc"] = np.full((2, positive.shape[1]), np.nan)
        if len(ranked := np.flatnonzero(~constant_columns(positive))):
            told = _columns(positive, ranked), _columns(score, ranked)
            named["auroc"][ranked] = metrics.roc_auc_score(*told, average=None)
            named["auprc"][ranked] = metrics.average_precision_score(*told, average=None)
    return {name: np.asarray(values, np.float64) for name, values in named.items()}
