"""Dividing by time: what came first, and cuts between neighbours instead of draws from a hat."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, listing, nearest
from .examples import COLUMNS, Examples
from .texts import cell_text

ROW = "row"
"""The order in which the source lists its examples, where no column is called so."""

LEFT_OUT = -1


class _Rows(Protocol):
    @property
    def first(self) -> int: ...

    @property
    def second(self) -> int: ...


Pair = TypeVar("Pair", bound=_Rows)


def moments(examples: Examples, order: str) -> np.ndarray:
    """When each example was, as ranks from 0; equal moments have equal ranks.

    Args:
        examples: N examples.
        order: A column of numbers or dates, or "row".

    Returns:
        (N,) int64.

    Raises:
        ConfigError: There is no such column.
        DataError: Values that cannot be ordered.
    """
    table = examples.table
    name = f"{order}_" if order in COLUMNS else order  # as `read_examples` names a source's own columns
    if name not in table.columns:
        if order == ROW:
            return np.arange(len(table))
        known = [str(column) for column in table.columns if column not in COLUMNS]
        raise ConfigError(
            f'There is no column "{order}" (order) beside those of picture, target, group and split. Expected "row" '
            f"or one of {listing(known, 30) or 'none'}.{nearest(order, known)}"
        )
    texts = [cell_text(cell).strip() for cell in table[name]]
    numbers = [_number(text) for text in texts]
    odd = [text for text, number in zip(texts, numbers, strict=True) if number is None]
    # A column of numbers with a few gaps is no column of dates.
    values = numbers if 2 * len(odd) < len(texts) else _dates(texts)
    wrong = [f"{table['id'].iloc[row]}: {texts[row]!r}" for row, value in enumerate(values) if value is None]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(texts)} values of the column {order!r} cannot be ordered: {listing(wrong, 5)}. "
            "Expected numbers, or dates such as 2024-01-31 or 2024-01-31 21:59:37.712, in every row."
        )
    rank = {value: place for place, value in enumerate(sorted(set(values)))}  # type: ignore[type-var]
    return np.array([rank[value] for value in values], np.int64)


def _number(text: str) -> int | float | None:
    """A number, exact where it is whole: a time in microseconds has more digits than a float."""
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) and "_" not in text else None


def _dates(texts: Sequence[str]) -> list[int | None]:
    """Each text as nanoseconds, None where it is no date; all are read in one way.

    Raises:
        DataError: 1/2/2024 in a column where every day could be the month.
    """
    readings = []
    for way in ({"format": "ISO8601"}, {"dayfirst": False}, {"dayfirst": True}):
        read = _read_dates(texts, way)
        if read is not None:
            readings.append(read)
        if way.get("format") and read is not None and read.notna().all():
            return _nanoseconds(read)
    whole = [read for read in readings if read.notna().all()]
    if len(whole) > 1 and list(whole[0].argsort(kind="stable")) != list(whole[1].argsort(kind="stable")):
        raise DataError(
            f"Dates such as {listing(list(dict.fromkeys(texts)))} can be read with the day or with the month first, "
            "and the order depends on it. Expected dates such as 2024-01-31."
        )
    best = max(readings, key=lambda read: int(read.notna().sum()), default=pd.Series([pd.NaT] * len(texts)))
    return _nanoseconds(best)


def _read_dates(texts: Sequence[str], way: dict[str, Any]) -> pd.Series[Any] | None:
    # Recorded, for as an error it would be raised where nobody can catch it.
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            read = pd.Series(pd.to_datetime(list(texts), errors="coerce", utc=True, **way))
        except ValueError:
            return None
    # Without a format that fits the first date pandas guesses anew for each row, now the day first, now the month.
    return None if any("Could not infer format" in str(warning.message) for warning in told) else read


def _nanoseconds(read: pd.Series[Any]) -> list[int | None]:
    return [None if stamp is pd.NaT else int(stamp.value) for stamp in read]


def by_time(
    moment: np.ndarray, units: Sequence[str | None], ids: Sequence[str] | np.ndarray, shares: Sequence[float], *,
    gap: int = 0,
) -> np.ndarray:  # fmt: skip
    """The earliest examples in the first part, the latest in the last.

    Args:
        moment: (N,) ranks as from `moments`.
        units: Examples of equal units stay together, at the latest moment of them all; None stands alone.
        ids: Names, or their ranks: they decide who is beside a border among examples of one moment.
        shares: Share of each part; the sum is 1.
        gap: How many examples on each side of a border are left out.

    Returns:
        (N,) int64, the place in `shares` of each example's part, or `LEFT_OUT`.

    Raises:
        DataError: Fewer moments than parts, or a gap that leaves nothing of a part.
    """
    latest: dict[str, int] = {}
    for unit, at in zip(units, moment, strict=True):
        if unit is not None:
            latest[unit] = max(latest.get(unit, 0), int(at))
    when = np.array([at if unit is None else latest[unit] for unit, at in zip(units, moment, strict=True)], np.int64)
    _, block, sizes = np.unique(when, return_inverse=True, return_counts=True)
    parts, blocks = len(shares), len(sizes)
    if blocks < parts:
        raise DataError(
            f"There are {blocks} distinct moments for {parts} parts (groups count at their latest one). Expected at "
            "least one a part: give an order with finer steps, or fewer parts with --test 0."
        )
    filled, cuts = np.cumsum(sizes), [0]
    for number, wanted in enumerate(np.cumsum(shares)[:-1] * len(moment), start=1):
        # After how many moments to cut; each part before and after gets one at least.
        possible = range(cuts[-1] + 1, blocks - (parts - number) + 1)
        cuts.append(min(possible, key=lambda blocks_before: abs(filled[blocks_before - 1] - wanted)))
    part = np.searchsorted(cuts[1:], block, side="right").astype(np.int64)
    return leave_gap(part, [np.lexsort((np.asarray(ids), moment, when))], gap)


def stretches_of(
    moment: np.ndarray, sequences: Sequence[str | None], ids: Sequence[str], count: int
) -> tuple[list[str], list[np.ndarray]]:
    """Cuts sequences into stretches of neighbours, of equal length as far as examples of one moment allow.

    Args:
        moment: (N,) ranks as from `moments`.
        sequences: The drive or video of each example; None stands alone where others have one.
        ids: Decide the order among examples of one moment.
        count: How many stretches a sequence.

    Returns:
        The name of each example's stretch, and the rows of each sequence in order.
    """
    alone = all(sequence is None for sequence in sequences)
    # A number never equals a text, so that a lone example cannot fall into a sequence.
    keys = ["" if alone else row if sequence is None else sequence for row, sequence in enumerate(sequences)]
    rows_of: dict[str | int, list[int]] = {}
    for row in np.lexsort((np.asarray(ids, str), moment)):
        rows_of.setdefault(keys[row], []).append(int(row))
    names, ordered = [""] * len(keys), []
    for key, rows in rows_of.items():
        start = np.searchsorted(moment[rows], moment[rows])  # of one moment all are where the first of them is
        for row, place in zip(rows, start, strict=True):
            names[row] = f"{ids[row] if isinstance(key, int) else key}#{place * count // len(rows)}"
        ordered.append(np.array(rows, np.int64))
    return names, ordered


def leave_gap(part: np.ndarray, sequences: Sequence[np.ndarray], gap: int) -> np.ndarray:
    """Takes out so many examples on each side of every border between two parts.

    Args:
        part: (N,) int64, the part of each example.
        sequences: Rows in order; neighbours in one of these are neighbours in time.
        gap: How many on each side.

    Raises:
        DataError: It leaves nothing of a part.
    """
    out = part.copy()
    for rows in sequences if gap else ():
        for border in np.flatnonzero(np.diff(part[rows])) + 1:
            out[rows[max(0, border - gap) : border + gap]] = LEFT_OUT
    if len(set(part)) > len(set(out) - {LEFT_OUT}):
        raise DataError(
            f"A gap of {gap} on each side of every border leaves nothing of a part of {len(part)} examples. Expected "
            "longer stretches or parts than gaps: a smaller --gap, or fewer --stretches."
        )
    return out


def beyond_gap(examples: Examples, pairs: Iterable[Pair], *, order: str, gap: int) -> list[Pair]:
    """The copies that a gap does not keep apart where sequences are cut into stretches.

    Neighbours in a video look alike, one and the next all along it: what joins all of them leaves nothing to divide.
    Of two frames no further apart than the gap one at least is left out when a border lies between them.

    Args:
        examples: N examples, whose groups are sequences.
        pairs: Rows that show one picture.
        order: As in `Data`.
        gap: As in `Data`.

    Returns:
        Those of two sequences, and those further apart in one; the others need not be kept on one side.
    """
    ids = [str(name) for name in examples.table["id"]]
    _, sequences = stretches_of(moments(examples, order), list(examples.table["group"]), ids, 1)
    place = {int(row): (number, at) for number, rows in enumerate(sequences) for at, row in enumerate(rows)}

    def near(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one[0] == other[0] and abs(one[1] - other[1]) <= gap

    return [pair for pair in pairs if not near(place[pair.first], place[pair.second])]
