"""Which pictures are copies of each other: likeness proposes a pair, aligned pixels confirm it.

Two pictures of one kind look alike and are two pictures. A copy is one that was made from another, or both from a
third: encoded again, resized, mirrored, turned, cut or lit otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from ..errors import UnreadableError
from .aligned import align, one_thread
from .examples import Examples
from .looks import THUMBNAIL, Looks
from .readers import read_ahead, read_image
from .sights import SIDE, Sight, sight_of

CONFIRMED = 0.95
"""The correlation of aligned detail from which two pictures are copies."""

NEAREST = 5
"""How many neighbours of a picture are proposed at most, by features and again by hashes."""

LEAST_COSINE = 0.4
"""Of features of which the mean of all is taken away."""

HASH_RADIUS = 12
"""Bits of 64 in which the hashes of a proposed pair differ at most."""

LEAST_CONTRAST = 0.004
"""Pictures of one level of grey, more or less, have nothing to lay over each other."""

BLOCK = 512
"""Rows that are compared with all others at a time: 100 MB with 50,000 pictures."""

SIGHTS = 600
"""Pictures held ready to be aligned, half a megabyte each."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two rows that show the same picture.

    Args:
        first: The smaller row.
        second: The larger row.
        kind: "exact" where all pixels are the same, otherwise "copy".
        how: What tells the two apart, in words.
        correlation: Of the detail of both where both are, at most 1.
    """

    first: int
    second: int
    kind: Literal["exact", "copy"]
    how: str
    correlation: float


def find_copies(
    examples: Examples,
    looks: Looks,
    *,
    features: np.ndarray | None = None,
    in_chans: int = 3,
    threads: int = 4,
    progress: Callable[[int], None] | None = None,
) -> list[Pair]:
    """Finds pictures that are copies of each other.

    Not every pair of a large family of copies is listed, but as many as connect it: of pictures with the same pixels
    each is paired with the first, and that one alone with others.

    Args:
        examples: The table.
        looks: What its pictures look like; rows that could not be read are in no pair.
        features: (N, D) float, of a backbone, a row an example; zeros where there are none. With None, hashes alone
            propose pairs, and few of those that were cut are found.
        in_chans: As for `read_image`.
        threads: How many pairs are aligned at once.
        progress: Is told of pictures that are done, as many in all as there are.

    Returns:
        The pairs, in the order of their rows.
    """
    exact, single = _same_pixels(looks)
    proposed = sorted(_proposals(looks, features, single))
    pictures = examples.pictures()

    @lru_cache(SIGHTS)
    def sight(row: int) -> Sight | None:
        try:
            return sight_of(read_image(pictures[row], in_chans=in_chans, shrink_to=SIDE))
        except UnreadableError:  # it could be read a moment ago
            return None

    def confirm(pair: tuple[int, int]) -> Pair | None:
        first, second = sight(pair[0]), sight(pair[1])
        laid = align(first, second) if first is not None and second is not None else None
        if laid is None or laid.correlation < CONFIRMED:
            return None
        how = laid.how or _plainly(looks, *pair)
        return Pair(first=pair[0], second=pair[1], kind="copy", how=how, correlation=min(1.0, laid.correlation))

    found, done = exact, 0
    with one_thread():
        for pair, confirmed in zip(proposed, read_ahead(confirm, proposed, threads), strict=True):
            if confirmed is not None:
                found.append(confirmed)
            if progress is not None and pair[0] > done:
                progress(pair[0] - done)
                done = pair[0]
    if progress is not None:
        progress(len(examples) - done)
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def clusters(pairs: Iterable[Pair], count: int) -> np.ndarray:
    """Numbers families of copies, so that each can be kept on one side of a split.

    Args:
        pairs: The pairs.
        count: How many rows there are.

    Returns:
        (count,) int64, the number of each row's family, from 0 in the order of their first rows; a picture without
        copies is a family of its own.
    """
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for pair in pairs:
        low, high = sorted((root(pair.first), root(pair.second)))
        parent[high] = low
    roots = np.array([root(row) for row in range(count)], np.int64)
    families: np.ndarray = np.unique(roots, return_inverse=True)[1].astype(np.int64)
    return families


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


def _plainly(looks: Looks, first: int, second: int) -> str:
    same = looks.height[first] == looks.height[second] and looks.width[first] == looks.width[second]
    return "other pixels of the same size" if same else "resized"


def _same_pixels(looks: Looks) -> tuple[list[Pair], np.ndarray]:
    """The pairs of pictures with the same pixels, and the rows that are left to compare: the first of each."""
    firsts: dict[bytes, int] = {}
    pairs = []
    for row in np.flatnonzero(looks.read).tolist():
        first = firsts.setdefault(looks.digest[row].tobytes(), row)
        if first != row:
            pairs.append(Pair(first=first, second=row, kind="exact", how="the same pixels", correlation=1.0))
    return pairs, np.array(sorted(firsts.values()), np.int64)


def _proposals(looks: Looks, features: np.ndarray | None, rows: np.ndarray) -> set[tuple[int, int]]:
    """The pairs of these rows that may be copies, the smaller row first."""
    rows = rows[looks.contrast[rows] >= LEAST_CONTRAST]
    # Hamming distance as a product: with bits of -1 and 1 it is 64 - 2 * distance.
    signs = np.where(pose_hashes(looks.thumbnail[rows]), np.float32(1), np.float32(-1))

    def by_hash(part: slice) -> np.ndarray:
        best: np.ndarray = signs[0, part] @ signs[0].T
        for pose in signs[1:]:
            np.maximum(best, signs[0, part] @ pose.T, out=best)
        return best

    found = set(_nearest(by_hash, len(rows), 64 - 2 * HASH_RADIUS))
    if features is not None:
        known = np.nan_to_num(np.asarray(features, np.float32)[rows])
        given = np.abs(known).sum(axis=1) > 0
        known = np.where(given[:, None], known - known[given].mean(axis=0) if given.any() else known, 0)
        known /= np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-12)
        found |= set(_nearest(lambda part: known[part] @ known.T, len(rows), LEAST_COSINE))
    return {(int(rows[first]), int(rows[second])) for first, second in found}


def _nearest(similarity: Callable[[slice], np.ndarray], count: int, least: float) -> Iterator[tuple[int, int]]:
    """The nearest neighbours of each, at least so similar, a block of rows at a time."""
    for start in range(0, count, BLOCK):
        similar = similarity(slice(start, start + BLOCK))
        own = np.arange(len(similar))
        similar[own, start + own] = -np.inf
        most = min(NEAREST, count)
        near = np.argpartition(-similar, most - 1, axis=1)[:, :most]
        enough = np.take_along_axis(similar, near, axis=1) >= least
        for row, column in zip(*np.nonzero(enough), strict=True):
            pair = (start + int(row), int(near[row, column]))
            yield min(pair), max(pair)
