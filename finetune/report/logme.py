"""How well features suit targets, without fitting a head: the evidence of a linear model, as large as it gets."""

from __future__ import annotations

import numpy as np

RATIOS = (1e-12, 1e6)
"""Between what bounds the prior's precision over the noise's is looked for, in squares of the largest singular value.
Below the first the features explain everything, above the second nothing; the evidence hardly changes any more."""

PER_DECADE = 4
ROUNDS = 5


def logme(features: np.ndarray, target: np.ndarray) -> float:
    """The logarithm of maximum evidence (You et al. 2021, arXiv 2102.11005): the higher, the better features suit.

    Of each column y of the targets (a class against the rest, a label, a number) the model is y = F w + noise with
    w ~ N(0, 1/alpha) and noise ~ N(0, 1/beta). Its evidence, the likelihood of y with all possible w averaged, is
    maximised over alpha and beta, divided by the number of examples, and averaged over the columns. Nothing is held
    out: a model that could be anything gives any one outcome little likelihood.

    The paper climbs with a fixed point in alpha and beta. With singular values s and y in their coordinates the best
    beta follows from the ratio alpha/beta alone, and the evidence is then a function of that one number. It is searched
    over all its magnitudes at once for all columns, which finds the same maximum also where the fixed point creeps:
    with more features than examples it often lies at a bound. It costs O(n d min(n, d)) once, for the singular values,
    and O(min(n, d)) a column and ratio after that.

    Scaling all features changes nothing. The scale of a number shifts the evidence of all backbones alike; numbers are
    standardised first.

    Args:
        features: (n, d) finite, as they come.
        target: (n,) int64 of classes, (n, K) of 0 and 1 for labels, (n,) float for numbers.

    Returns:
        Comparable between features of the same examples, and only there; not a number where all targets are the same.
    """
    y = _columns(np.asarray(target))
    if not y.shape[1]:
        return float("nan")
    squares, part = _coordinates(np.asarray(features, np.float64), y)
    total = np.square(y).sum(axis=0)
    # What no weights explain: rounding must not make it negative.
    rest = np.maximum(total - part.sum(axis=0), 0)
    rest[rest < 1e-12 * total] = 0
    if not len(squares):
        return float(_evidence(np.ones((1, y.shape[1])), np.zeros(0), part, rest, len(y)).mean())
    low, high = np.log10(RATIOS)
    tried = np.repeat(np.linspace(low, high, round((high - low) * PER_DECADE) + 1)[:, None], y.shape[1], axis=1)
    best, step = np.full(y.shape[1], -np.inf), 1 / PER_DECADE
    for _ in range(ROUNDS):
        found = _evidence(squares[0] * 10**tried, squares, part, rest, len(y))
        best = np.maximum(best, found.max(axis=0))
        at = np.take_along_axis(tried, found.argmax(axis=0)[None], axis=0)
        # The maximum lies between the neighbours of the best one tried.
        tried = np.clip(at + step * np.linspace(-1, 1, 17)[:, None], low, high)
        step /= 8
    return float(best.mean())


def _columns(target: np.ndarray) -> np.ndarray:
    """(n, K) float64: what is regressed on; a column that is the same everywhere can be told by nothing."""
    if target.ndim == 1 and target.dtype.kind == "i":
        y = (target[:, None] == np.unique(target)).astype(np.float64)
    elif target.ndim == 1:
        y = target[:, None].astype(np.float64)
        y = y - y.mean()
        spread = float(np.sqrt(np.square(y).mean()))
        # A spread that is rounding noise beside the values is none.
        y = y / spread if spread > 1e-9 * max(1.0, float(np.abs(target).max(initial=0))) else np.zeros_like(y)
    else:
        y = target.astype(np.float64)
    varies = y.min(axis=0) < y.max(axis=0) if len(y) else np.zeros(y.shape[1], bool)
    return np.asarray(y[:, varies])


def _coordinates(features: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The squared singular values (r,), largest first, and the squares (r, K) of y along their left vectors."""
    n, width = features.shape
    wide = width >= n
    # Of the smaller of the two products: an order of magnitude cheaper than singular vectors of the features.
    values, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
    kept = values > 1e-12 * max(values.max(initial=0), np.finfo(float).tiny)
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    if wide:
        return values, np.square(vectors.T @ y)
    return values, np.square(vectors.T @ (features.T @ y)) / values[:, None]


def _evidence(ratio: np.ndarray, squares: np.ndarray, part: np.ndarray, rest: np.ndarray, n: int) -> np.ndarray:
    """The evidence an example (T, K) under T ratios (T, K) of alpha to beta, each with its best beta.

    Args:
        ratio: alpha/beta, above 0.
        squares: (r,) squared singular values.
        part: (r, K) squares of the targets along the left singular vectors.
        rest: (K,) squares of what lies beside them.
        n: Number of examples.
    """
    out = np.empty(ratio.shape)
    for row, one in enumerate(ratio):
        shrunk = one / (one + squares[:, None])  # (r, K): the share of the noise in the variance along each vector
        noise = ((shrunk * part).sum(axis=0) + rest) / n
        with np.errstate(divide="ignore"):
            out[row] = -0.5 * np.log(2 * np.pi * noise) + 0.5 / n * np.log(shrunk).sum(axis=0) - 0.5
    return out
