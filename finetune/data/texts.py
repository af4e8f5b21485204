"""Long columns of texts: what a million examples are called, in a third of the room that Python's own texts take."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import DataError

PIECE = 1 << 15
"""So many texts are Python's own at a time."""

POOL = pa.system_memory_pool()
"""Arrow's own default keeps 83 MB for the 47 MB of a million short rows."""


class Texts(Sequence[str]):
    """Texts in the order in which they are added, held by Arrow: a list of them that needs less room.

    Args:
        values: The first of them.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._held: list[pa.Array] = []
        self._open: list[str] = []
        self._length = 0
        self.extend(values)

    @classmethod
    def of(cls, column: pd.Series[Any]) -> Texts:
        """What the cells of a column say, empty texts for gaps; a column of texts is not copied."""
        found = cls()
        if isinstance(column.dtype, pd.StringDtype) and column.dtype.storage == "pyarrow":
            for piece in _arrow(column).chunks:
                found._hold(pc.fill_null(piece, "") if piece.null_count else piece)
        else:
            found.extend(cell_text(cell) for cell in cells_of(column))
        return found

    def append(self, text: str) -> None:
        """Adds one.

        Raises:
            DataError: No UTF-8 can hold one of those that were added.
        """
        self._open.append(text)
        self._length += 1
        if len(self._open) == PIECE:
            self._close()

    def extend(self, texts: Iterable[str]) -> None:
        """Adds several, as `append` does."""
        more = iter(texts)
        while piece := list(islice(more, PIECE - len(self._open))):
            self._open += piece
            self._length += len(piece)
            if len(self._open) == PIECE:
                self._close()

    def column(self) -> Any:
        """The same as pandas holds a column, without a copy."""
        self._close()
        whole = pa.chunked_array(self._held, type=pa.large_string())
        return pd.StringDtype("pyarrow", na_value=np.nan).__from_arrow__(whole)  # type: ignore[attr-defined]

    def in_order(self) -> Iterator[str]:
        """The same by code point, some at a time."""
        self._close()
        whole = pa.chunked_array(self._held, type=pa.large_string()).combine_chunks(memory_pool=POOL)
        order = pc.sort_indices(whole, memory_pool=POOL)
        for start in range(0, len(order), PIECE):
            yield from whole.take(order.slice(start, PIECE)).to_pylist()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[str]:
        for piece in self._held:
            for start in range(0, len(piece), PIECE):
                yield from piece.slice(start, PIECE).to_pylist()
        yield from self._open

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(self._length))]
        at = range(self._length)[place]
        for piece in self._held:
            if 0 <= at < len(piece):
                return str(piece[at].as_py())
            at -= len(piece)
        return self._open[at]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(one == two for one, two in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def _hold(self, piece: pa.Array) -> None:
        self._held.append(piece)
        self._length += len(piece)

    def _close(self) -> None:
        if not self._open:
            return
        try:
            piece = pa.array(self._open, type=pa.large_string(), memory_pool=POOL)
        except UnicodeEncodeError as error:  # a file's name of other bytes, which Python reads by lone surrogates
            raise DataError(
                f"{error.object!r} holds signs that no UTF-8 can write. Expected names of valid text: rename the file, "
                "or mend the cell."
            ) from error
        self._held.append(piece)
        self._open = []


def cells_of(column: pd.Series[Any]) -> Iterator[Any]:
    """The cells of a column as Python's own values, some at a time."""
    for start in range(0, len(column), PIECE):
        yield from column.iloc[start : start + PIECE].tolist()


def cell_text(cell: Any) -> str:
    """What a cell says, as text; an empty text for a gap (None, NaN, NaT)."""
    if isinstance(cell, str):
        return cell
    if cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, (float, np.floating)) and np.isnan(cell)):
        return ""
    return str(cell)


def in_order(column: pd.Series[Any]) -> np.ndarray:
    """(N,) int64, the rows of a column of texts by code point, which is the same order everywhere."""
    order: np.ndarray = pc.sort_indices(_arrow(column), memory_pool=POOL).to_numpy().view(np.int64)
    return order


def all_differ(column: pd.Series[Any]) -> bool:
    """Whether no text is there twice; a set of them would take five times the room."""
    hashes = np.fromiter(map(hash, cells_of(column)), np.int64, len(column))
    hashes.sort()
    return bool((hashes[1:] != hashes[:-1]).all()) or bool(column.is_unique)


@contextlib.contextmanager
def thrifty() -> Iterator[None]:
    """What Arrow is asked for meanwhile, by whomever, comes from `POOL`."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(POOL)
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def give_back() -> None:
    """Gives the system the memory that was freed; an allocator keeps it where it lies between what is still needed."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # a C library without it
            ctypes.CDLL(None).malloc_trim(0)


def _arrow(column: pd.Series[Any]) -> pa.ChunkedArray:
    found = pa.array(column.array, type=pa.large_string())  # what it is of already, where it is texts
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])
