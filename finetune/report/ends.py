"""From a figure's spread to the ends of its interval: one way for shares and ranks, one for means of losses."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, stdtrit

from ..tasks.base import Parts

SAME = 1e-12
"""Within which two figures are the same."""

Ends = tuple[float, float]


def bounded_ends(
    value: float, scores: np.ndarray, units: int, level: float, low: float, high: float, *, unseen: float = 0.0
) -> Ends:  # fmt: skip
    """The interval of a figure between two bounds: its bootstrap standard error, carried over to the log-odds scale.

    Near a bound the figures of samples lean away from it, and percentiles of resamples, which lean the same way, miss
    the truth too often. On the scale of log-odds they hardly lean: for areas under curves see Pepe 2003, "The
    Statistical Evaluation of Medical Tests", ch. 5, and Boyd et al. 2013, "Area under the precision-recall curve".
    The ends are there as many standard errors away as Student's t says for so many units.

    Args:
        value: The figure, from `low` to `high`.
        scores: (B,) the figure in resamples, NaN where it is undefined.
        units: How many units were drawn from; 2 or more.
        level: The share of samples whose interval is to hold the truth, in (0, 1).
        low: The lowest that the figure can be; without bounds there are no log-odds, and the interval is symmetric.
        high: The highest.
        unseen: Variance that resamples cannot show.

    Returns:
        Low and high end; NaN where the figure is undefined in nearly every resample.
    """
    known = scores[np.isfinite(scores)]
    if len(known) < 2:
        return np.nan, np.nan
    # A resample is drawn from the sample, whose own spread is too small by one unit.
    error = float(np.sqrt(known.var(ddof=1) * units / (units - 1) + unseen))
    reach = float(stdtrit(units - 1, (1 + level) / 2)) * error
    share = (value - low) / (high - low) if np.isfinite(high - low) else 0.0
    if error < SAME or not SAME < share < 1 - SAME:
        return max(low, value - reach), min(high, value + reach)
    step = reach / ((high - low) * share * (1 - share))
    below, above = (low + (high - low) * float(expit(logit(share) + side)) for side in (-step, step))
    return below, above


def leaning_ends(parts: Parts, unit: np.ndarray, level: float) -> Ends:
    """The interval of a mean whose summands lean, by Hall's transformation of Student's t.

    The mean of losses with a few large ones among them lies below the truth more often than above it, and where it does
    its standard error is too small as well. Hall 1992, "On the removal of skewness by transformation" (J. R. Statist.
    Soc. B 54, eq. 2.5), gives the t statistic a cubic shape that takes the lean away to first order; Zhou and Gao 2000,
    "One-sided confidence intervals for means of positively skewed distributions", compare it with others. It needs
    no resamples.

    Args:
        parts: What each example adds.
        unit: (N,) the number of the unit that each example belongs to; two units or more.
        level: As for `bounded_ends`.
    """
    mean, units = float(parts.values.mean()), int(unit.max()) + 1
    sums = np.bincount(unit, parts.values - mean, minlength=units)
    size = float(np.sqrt((sums**2).mean()))
    if size <= SAME * max(1.0, float(np.abs(parts.values).max())):
        return _of_mean(parts, mean), _of_mean(parts, mean)
    error = units / np.sqrt(units - 1) * size / len(unit)
    lean = float(((sums / size) ** 3).mean()) / np.sqrt(units)
    reach = float(stdtrit(units - 1, (1 + level) / 2))
    below, above = (mean - error * _upright(side, lean) for side in (reach, -reach))
    return _of_mean(parts, below), _of_mean(parts, above)


def _of_mean(parts: Parts, mean: float) -> float:
    within = min(max(parts.low, mean), parts.high)
    return float(np.sqrt(within)) if parts.root else within


def _upright(t: float, lean: float) -> float:
    """The t statistic that Hall's cubic takes to `t`."""
    if abs(lean) < SAME:
        return t
    return float(3 / lean * (np.cbrt(1 + lean * (t - lean / 6)) - 1))
