"""Which pictures are so much alike that they may be copies of each other: guesses, to be confirmed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .ahead import read_ahead
from .looks import THUMBNAIL, Looks
from .sights import NO_POINTS, Sight
from .words import Words

NEAREST = 5
"""How many neighbours of a picture are proposed at most by each kind of likeness."""

LEAST_COSINE = 0.4
"""Of features of which the mean of all is taken away."""

HASH_RADIUS = 12
"""Bits of 64 in which the hashes of a proposed pair differ at most."""

BLOCK = 512
"""Rows that are compared with all others at a time: 100 MB with 50,000 pictures."""

LEARNT_FROM = 500
"""Pictures whose corners give the words of the bags."""


def by_hash(looks: Looks, rows: np.ndarray) -> set[tuple[int, int]]:
    """Pairs whose hashes are near in some pose.

    Args:
        looks: The looks of all pictures.
        rows: The rows to compare.

    Returns:
        The pairs of rows, the smaller first.
    """
    # Hamming distance as a product: with bits of -1 and 1 it is 64 - 2 * distance.
    signs = np.where(pose_hashes(looks.thumbnail[rows]), np.float32(1), np.float32(-1))
    return _nearest(signs[0], signs, rows, 64 - 2 * HASH_RADIUS)


def by_features(features: np.ndarray, rows: np.ndarray) -> set[tuple[int, int]]:
    """Pairs whose features are near, without what all pictures have in common.

    Args:
        features: (N, D) float, a row an example; zeros where there are none.
        rows: The rows to compare.

    Returns:
        The pairs of rows, the smaller first.
    """
    known = np.nan_to_num(np.asarray(features, np.float32)[rows])
    given = np.abs(known).sum(axis=1) > 0
    if not given.any():
        return set()
    known = np.where(given[:, None], known - known[given].mean(axis=0), 0)
    known /= np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-12)
    return _nearest(known, known[None], rows, LEAST_COSINE)


def by_corners(
    sight: Callable[[int], Sight | None], rows: np.ndarray, threads: int, told: Callable[[int], None]
) -> set[tuple[int, int]]:
    """Pairs whose bags of corners are near, as they are or mirrored.

    Args:
        sight: Gives the picture of a row, or None.
        rows: The rows to compare.
        threads: How many pictures are made ready at once.
        told: Is told of pictures that are done.

    Returns:
        The pairs of rows, the smaller first.
    """
    some = np.random.default_rng(0).permutation(rows)[:LEARNT_FROM].tolist()
    words = Words.learn([s.points.descriptors for s in read_ahead(sight, some, threads) if s is not None])
    if words is None:
        told(len(rows))
        return set()

    def both(row: int) -> tuple[np.ndarray, np.ndarray]:
        seen = sight(row)
        points = [seen.points, seen.mirrored_points] if seen is not None else [NO_POINTS] * 2
        return words.bag(points[0].descriptors), words.bag(points[1].descriptors)

    bags = np.zeros((2, len(rows), words.centres.size), np.float32)
    for number, bag in enumerate(read_ahead(both, rows.tolist(), threads)):
        bags[:, number] = bag
        told(1)
    # However far the nearest are: how near a copy is depends on how many pictures the words were learnt from.
    return _nearest(bags[0], bags, rows, -1)


def pose_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """The perceptual hashes of pictures in their eight poses, as bits.

    Args:
        thumbnails: (N, 32, 32).

    Returns:
        (8, N, 64) bool: plain and mirrored, then the same of the transposed picture; the first is that of `Look.hash`.
    """
    waves = np.cos(np.pi / THUMBNAIL * np.outer(np.arange(8), np.arange(THUMBNAIL) + 0.5))
    low = waves @ thumbnails.astype(np.float64) @ waves.T
    odd = np.where(np.arange(8) % 2, -1.0, 1.0)  # a wave that is odd about the middle changes its sign in a mirror
    poses = []
    for turned in (low, low.transpose(0, 2, 1)):
        for down in (1.0, odd[:, None]):
            poses += [turned * down, turned * down * odd]
    flat = np.stack(poses).reshape(8, len(thumbnails), 64)
    bits: np.ndarray = flat > np.median(flat, axis=2, keepdims=True)
    return bits


def _nearest(vectors: np.ndarray, poses: np.ndarray, rows: np.ndarray, least: float) -> set[tuple[int, int]]:
    """The nearest neighbours of each row, at least so similar in one of the poses, a block at a time.

    Args:
        vectors: (n, D), compared by their products.
        poses: (P, n, D), the same of the pictures in their poses.
        rows: (n,) what they are called.
        least: How similar neighbours are at least.
    """
    found = set()
    for start in range(0, len(rows), BLOCK):
        part = vectors[start : start + BLOCK]
        similar: np.ndarray = part @ poses[0].T
        for pose in poses[1:]:
            np.maximum(similar, part @ pose.T, out=similar)
        own = np.arange(len(part))
        similar[own, start + own] = -np.inf
        most = min(NEAREST, len(rows))
        near = np.argpartition(similar, -most, axis=1)[:, -most:]
        enough = np.take_along_axis(similar, near, axis=1) >= least
        for row, column in zip(*np.nonzero(enough), strict=True):
            pair = (int(rows[start + row]), int(rows[near[row, column]]))
            found.add((min(pair), max(pair)))
    return found
