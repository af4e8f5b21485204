"""Which pictures are copies of each other: likeness proposes a pair, aligned pixels confirm it.

Two pictures of one kind look alike and are two pictures. A copy is one that was made from another, or both from a
third: encoded again, resized, mirrored, turned, cut or lit otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from ..errors import UnreadableError
from .aligned import align, one_thread
from .examples import Examples
from .likeness import by_corners, by_features, by_hash
from .looks import Looks
from .readers import read_ahead, read_image
from .sights import SIDE, Sight, sight_of

CONFIRMED = 0.95
"""The correlation of aligned detail from which two pictures are copies."""

LEAST_CONTRAST = 0.004
"""Pictures of one level of grey, more or less, have nothing that could lie on something."""

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
        features: (N, D) float, of a backbone, a row an example; zeros where there are none. Beside hashes and corners
            they propose pairs.
        in_chans: As for `read_image`.
        threads: How many pairs are aligned at once.
        progress: Is told of pictures that are done: twice as many in all as there are, for a picture is made ready
            and then laid over others.

    Returns:
        The pairs, in the order of their rows.
    """
    sight = _sights(examples, in_chans)
    exact, single = _same_pixels(looks)
    single = single[looks.contrast[single] >= LEAST_CONTRAST]
    told = progress or (lambda count: None)

    def confirm(pair: tuple[int, int]) -> Pair | None:
        first, second = sight(pair[0]), sight(pair[1])
        laid = align(first, second) if first is not None and second is not None else None
        if laid is None or laid.correlation < CONFIRMED:
            return None
        how = laid.how or _plainly(looks, *pair)
        return Pair(first=pair[0], second=pair[1], kind="copy", how=how, correlation=min(1.0, laid.correlation))

    found, done = exact, 0
    with one_thread():
        proposed = by_hash(looks, single) | by_corners(sight, single, threads, told)
        told(len(examples) - len(single))
        if features is not None:
            proposed |= by_features(features, single)
        pairs = sorted(proposed)
        for pair, confirmed in zip(pairs, read_ahead(confirm, pairs, threads), strict=True):
            if confirmed is not None:
                found.append(confirmed)
            if pair[0] > done:
                told(pair[0] - done)
                done = pair[0]
    told(len(examples) - done)
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


def _sights(examples: Examples, in_chans: int) -> Callable[[int], Sight | None]:
    pictures = examples.pictures()

    @lru_cache(SIGHTS)
    def sight(row: int) -> Sight | None:
        try:
            return sight_of(read_image(pictures[row], in_chans=in_chans, shrink_to=SIDE))
        except UnreadableError:  # it could be read a moment ago
            return None

    return sight
