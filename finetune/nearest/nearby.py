"""The pictures of an index that are nearest to some others, none of which is the picture itself or shown twice."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import numpy as np

from ..data.addresses import is_remote, parse_address, printable
from ..data.examples import Examples
from ..data.readers import read_image
from ..errors import UnreadableError
from .index import Index, search, told


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A known picture near one that was asked about.

    Args:
        file: Where it is.
        label: Its answer in words; empty where it has none.
        similarity: The cosine of the angle between the features of both, at most 1.
        row: Its row among the pictures that were searched.
    """

    file: str
    label: str
    similarity: float
    row: int


@dataclass(frozen=True, kw_only=True)
class Query:
    """A picture that was asked about.

    Args:
        file: Where it is.
        neighbours: The nearest, the first of all.
        left_out: How many pictures were left out since they are this one (the file itself, or the same pixels), or
            another copy of one that is in `neighbours`.
        error: Why it could not be read; empty where it could.
        row: Its row among those asked about.
    """

    file: str
    neighbours: tuple[Neighbour, ...] = ()
    left_out: int = 0
    error: str = ""
    row: int = 0


def nearest_to(
    index: Index, asked: Examples, rows: np.ndarray, vectors: np.ndarray, *, k: int, in_chans: int
) -> list[Query]:
    """The nearest pictures of an index to some others.

    Args:
        index: What is searched.
        asked: The pictures asked about.
        rows: (q,) rows of `asked`.
        vectors: (q, D) of these, of length 1.
        k: How many each.
        in_chans: Channels that pixels are compared with.
    """
    known, mine = _Identities(index.examples, in_chans), _Identities(asked, in_chans)
    files = [printable(source) for source in index.examples.table["source"]]
    labels, sources = index.examples.targets, list(asked.table["source"])
    found = []
    for row, vector in zip(rows.tolist(), vectors, strict=True):
        near, left = search(index, vector, k=k, same=_Sameness(known, mine, row))
        neighbours = tuple(Neighbour(file=files[at], label=told(labels[at]), similarity=cosine, row=at)
                           for at, cosine in near)  # fmt: skip
        found.append(Query(file=printable(sources[row]), neighbours=neighbours, left_out=left, row=row))
    return found


class _Sameness:
    """Says whether a row of the index is the picture asked about, or another copy of one that is shown."""

    def __init__(self, known: _Identities, mine: _Identities, row: int) -> None:
        self._known, self._mine, self._row = known, mine, row

    def __call__(self, row: int, other: int | None) -> bool:
        if other is not None:
            return self._known.pixels(row) == self._known.pixels(other)
        if self._known.place(row) == self._mine.place(self._row):
            return True
        return self._known.pixels(row) == self._mine.pixels(self._row)


class _Identities:
    """Where pictures are and what their pixels are; these are read where somebody asks, and once."""

    def __init__(self, examples: Examples, in_chans: int) -> None:
        self._pictures, self._in_chans = examples.pictures(), in_chans
        self._known: dict[int, str] = {}

    def place(self, row: int) -> str | int:
        picture = self._pictures[row]
        if not isinstance(picture, str):
            return id(picture)
        file = parse_address(picture).file
        return picture if is_remote(file) else os.path.realpath(file) + picture[len(file) :]

    def pixels(self, row: int) -> str:
        """A digest of shape, type and pixels; of a picture that cannot be read any more one of its own."""
        if row not in self._known:
            try:
                picture = np.ascontiguousarray(read_image(self._pictures[row], in_chans=self._in_chans))
                said = f"{picture.shape}{picture.dtype}".encode() + picture.tobytes()
                self._known[row] = hashlib.sha256(said).hexdigest()
            except UnreadableError:
                self._known[row] = f"unreadable {id(self)} {row}"
        return self._known[row]
