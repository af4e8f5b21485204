"""Which pictures are copies of each other: likeness proposes a pair, aligned pixels confirm it.

Two pictures of one kind look alike and are two pictures. A copy is one that was made from another, or both from a
third: encoded again, resized, mirrored, turned, cut or lit otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import UnreadableError
from ..files import replacing
from .ahead import read_ahead
from .aligned import align, one_thread
from .examples import Examples
from .families import heads
from .likeness import by_corners, by_features, by_hash
from .looks import Looks
from .readers import read_image
from .sights import SIDE, Sight, sight_of

FORMAT = 1
"""Counts up when the search changes, so that what was found before is not taken for what is found now."""

CONFIRMED = 0.95
"""The correlation of aligned detail from which two pictures are copies."""

LEAST_CONTRAST = 0.004
"""Pictures of one level of grey, more or less, have nothing that could lie on something."""

LEAST_SIDE = 48
"""Pixels of the shorter side below which only equal pixels make a copy: two handwritten ones of 28 pixels are as alike
as a picture and its copy (66 false pairs among 400 digits of MNIST, 124 among 300 of 8 pixels)."""

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

    Of pictures with a shorter side of less than 48 pixels only those with the same pixels count.

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
    clear = (looks.contrast >= LEAST_CONTRAST) & (np.minimum(looks.height, looks.width) >= LEAST_SIDE)
    single = single[clear[single]]
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


def exact_copies(looks: Looks) -> list[Pair]:
    """The pairs of pictures with the same pixels, each with the first of its kind."""
    return _same_pixels(looks)[0]


def known_copies(
    examples: Examples,
    looks: Looks,
    *,
    features: np.ndarray | None = None,
    in_chans: int = 3,
    threads: int = 4,
    progress: Callable[[int], None] | None = None,
    cache: Path | None = None,
) -> list[Pair]:
    """What `find_copies` finds, from the cache where the same pictures were looked through before.

    Args:
        examples: As for `find_copies`, and so the next five.
        looks: Likewise.
        features: Likewise.
        in_chans: Likewise.
        threads: Likewise.
        progress: Likewise.
        cache: The folder of the cache; by default `$FINETUNE_CACHE`, else `~/.cache/finetune`.
    """
    digest = hashlib.sha256(f"{FORMAT}\0{in_chans}\0{version('opencv-python-headless')}".encode())
    digest.update(np.ascontiguousarray(looks.digest).tobytes())
    if features is not None:
        digest.update(np.ascontiguousarray(features).tobytes())
    base = cache or Path(os.environ.get("FINETUNE_CACHE", "~/.cache/finetune")).expanduser()
    path = base / "copies" / f"{digest.hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = [Pair(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
        if progress is not None:
            progress(2 * len(examples))
        return found
    found = find_copies(
        examples, looks, features=features, in_chans=in_chans, threads=threads, progress=progress
    )  # fmt: skip
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time later, and nothing now
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps([asdict(pair) for pair in found]), encoding="utf-8")
    return found


def clusters(pairs: Iterable[Pair], count: int) -> np.ndarray:
    """Numbers families of copies, so that each can be kept on one side of a split.

    Args:
        pairs: The pairs.
        count: How many rows there are.

    Returns:
        (count,) int64, the number of each row's family, from 0 in the order of their first rows; a picture without
        copies is a family of its own.
    """
    head = heads(count, ((pair.first, pair.second) for pair in pairs))
    number: np.ndarray = (np.cumsum(head == np.arange(count)) - 1)[head]
    return number


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
