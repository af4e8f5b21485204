"""The metrics of a thousand resamples at once, for intervals.

scikit-learn computes each figure that is quoted; a bootstrap needs the same figure a thousand times, which one call
each would make the longest part of a short run (6 to 40 ms a resample were measured). So a resample is written here
as how often it drew each example, and a metric as sums under those counts. The tests hold every one of these to
scikit-learn's answer on the repeated rows.

Shapes: N examples, K outputs, B resamples; `counts` is (B, N).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # scipy ships no hints

Floats = NDArray[np.float64]


def mean(values: Floats, counts: Floats) -> Floats:
    """The mean of (N,) values in each resample, (B,)."""
    averages: Floats = counts @ values / counts.sum(axis=1)
    return averages


def share(part: NDArray[np.bool_], whole: NDArray[np.bool_], counts: Floats) -> Floats:
    """How much of (N,) `whole` is in `part` in each resample, (B,); NaN where none of it was drawn."""
    return _ratio(counts @ part.astype(np.float64), counts @ whole.astype(np.float64))


def class_sums(target: NDArray[np.int64], given: NDArray[np.int64], classes: int, counts: Floats) -> tuple[Floats, ...]:
    """How often each class was right, was true and was given in each resample: three arrays (B, K)."""
    rows = np.arange(len(target))

    def summed(columns: NDArray[np.int64], keep: NDArray[np.bool_] | None = None) -> Floats:
        keep = np.ones(len(columns), bool) if keep is None else keep
        one_hot = sparse.csr_matrix((np.ones(keep.sum()), (rows[keep], columns[keep])), shape=(len(rows), classes))
        sums: Floats = (one_hot.T @ counts.T).T
        return sums

    return summed(target, target == given), summed(target), summed(given)


def balanced_accuracy(right: Floats, true: Floats) -> Floats:
    """The mean recall over the classes that a resample holds, (B,)."""
    return np.asarray(np.nanmean(_ratio(right, true), axis=1), np.float64)


def macro_f1(right: Floats, true: Floats, given: Floats) -> Floats:
    """The mean F1 over the classes that a resample holds or answers, (B,)."""
    return np.asarray(np.nanmean(_ratio(2 * right, true + given), axis=1), np.float64)


def auroc(positive: NDArray[np.bool_], score: Floats, counts: Floats) -> Floats:
    """The area under the ROC curve of (N,) scores in each resample, (B,); NaN where only one value was drawn.

    It is the share of (positive, negative) pairs in the right order, ties counting one half (Mann and Whitney 1947).
    """
    positives = counts[:, positive]
    negatives, ordered = _running(counts, score, ~positive)
    below, upto = (negatives[:, np.searchsorted(ordered, score[positive], side)] for side in ("left", "right"))
    pairs = positives.sum(axis=1) * negatives[:, -1]
    return _ratio((positives * (below + upto)).sum(axis=1) / 2, pairs)


def auprc(positive: NDArray[np.bool_], score: Floats, counts: Floats) -> Floats:
    """The average precision of (N,) scores in each resample, (B,); NaN where only one value was drawn.

    It is the sum of the precision at each distinct score, weighted by the recall that it adds (no interpolation).
    """
    drawn = counts[:, positive]
    # Of each positive: how many positives, and how many examples, have its score or a higher one.
    right, answered = (
        running[:, np.searchsorted(ordered, -score[positive], "right")]
        for running, ordered in (_running(counts, -score, which) for which in (positive, np.ones_like(positive)))
    )
    precision = np.divide(right, answered, out=np.zeros_like(answered), where=answered > 0)
    positives, total = drawn.sum(axis=1), counts.sum(axis=1)
    # Of positives alone the formula gives 1, which says nothing: there was nothing to tell them from.
    return _ratio((drawn * precision).sum(axis=1), np.where(total > positives, positives, 0.0))


def _running(counts: Floats, score: Floats, which: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """How many of those have been drawn up to each place in the order of their scores, (B, n + 1), and those scores."""
    order = np.flatnonzero(which)[np.argsort(score[which], kind="stable")]
    running = np.zeros((len(counts), len(order) + 1))
    np.cumsum(counts[:, order], axis=1, out=running[:, 1:])
    return running, score[order]


def kappa(target: NDArray[np.int64], given: NDArray[np.int64], levels: int, counts: Floats) -> Floats:
    """Cohen's kappa with quadratic weights over levels 0 to `levels - 1` in each resample, (B,).

    NaN where target and answer are one and the same level throughout.
    """
    gap = mean((target - given).astype(np.float64) ** 2, counts)
    total = counts.sum(axis=1)
    rows = np.arange(len(target))

    def shares(level: NDArray[np.int64]) -> Floats:
        one_hot = sparse.csr_matrix((np.ones(len(rows)), (rows, level)), shape=(len(rows), levels))
        found: Floats = (one_hot.T @ counts.T).T / total[:, None]
        return found

    places = np.arange(levels)
    apart = (places[:, None] - places[None]).astype(np.float64) ** 2
    by_chance = np.einsum("bi,ij,bj->b", shares(target), apart, shares(given), optimize=True)
    return 1 - _ratio(gap, by_chance)


def class_figures(positive: NDArray[np.bool_], given: NDArray[np.bool_], score: Floats, counts: Floats) -> Floats:
    """Precision, recall, F1, auroc and auprc of each class against the rest in each resample, (5, B, K)."""
    found = []
    for k in range(positive.shape[1]):
        right = counts @ (positive[:, k] & given[:, k]).astype(np.float64)
        true, answered = (counts @ which[:, k].astype(np.float64) for which in (positive, given))
        areas = (area(positive[:, k], score[:, k], counts) for area in (auroc, auprc))
        found.append([_ratio(right, answered), _ratio(right, true), _ratio(2 * right, true + answered), *areas])
    return np.asarray(found, np.float64).transpose(1, 2, 0)


def mean_auroc(target: NDArray[np.bool_], score: Floats, counts: Floats) -> Floats:
    """The mean of `auroc` over the columns of (N, K) that hold both values in the resample, (B,)."""
    return _over_columns([auroc(target[:, k], score[:, k], counts) for k in range(target.shape[1])])


def mean_auprc(target: NDArray[np.bool_], score: Floats, counts: Floats) -> Floats:
    """The mean of `auprc` over the columns of (N, K) that hold both values in the resample, (B,)."""
    return _over_columns([auprc(target[:, k], score[:, k], counts) for k in range(target.shape[1])])


def _over_columns(columns: list[Floats]) -> Floats:
    stacked = np.stack(columns)
    defined = (~np.isnan(stacked)).sum(axis=0)
    return _ratio(np.nansum(stacked, axis=0), defined.astype(np.float64))


def r2(target: Floats, number: Floats, counts: Floats) -> Floats:
    """The coefficient of determination in each resample, (B,); NaN where the target is constant."""
    spread = mean(target**2, counts) - mean(target, counts) ** 2
    # Below rounding the spread is that of one value drawn again and again.
    spread = np.where(spread > 1e-12 * max(float(np.abs(target).max()) ** 2, 1e-300), spread, 0.0)
    return 1 - _ratio(mean((target - number) ** 2, counts), spread)


def _ratio(above: Floats, below: Floats) -> Floats:
    out: Floats = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
