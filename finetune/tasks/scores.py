"""What several tasks need of scikit-learn's metrics."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np


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
    return float(np.mean([roc_auc_score(target[:, k], answer[:, k]) for k in ranked]))
