"""What belongs together: examples of one group, and copies of one picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np


def clusters(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The sets of rows that links join, each sorted, in the order of their first rows; rows alone are sets of one.

    Args:
        count: How many rows there are.
        links: Pairs of rows.
    """
    found: defaultdict[int, list[int]] = defaultdict(list)
    for row, head in enumerate(heads(count, links).tolist()):
        found[head].append(row)
    return list(found.values())


def heads(count: int, links: Iterable[tuple[int, int]]) -> np.ndarray:
    """(count,) int64, the first row of the set that links join each row to; itself for a row alone.

    Args:
        count: How many rows there are.
        links: Pairs of rows.
    """
    head: dict[int, int] = {}  # of those that have links: of a million rows few have

    def top(row: int) -> int:
        while (above := head.setdefault(row, row)) != row:
            head[row] = row = head[above]
        return row

    for one, other in links:
        first, second = sorted((top(one), top(other)))
        head[second] = first
    found = np.arange(count)
    for row in head:
        found[row] = top(row)
    return found


def families(groups: Sequence[str | None], links: Iterable[tuple[int, int]]) -> list[str | None]:
    """A name for everything that a fold or a part must not tear apart; None for an example that stands alone.

    Args:
        groups: The group of each of N examples, or None.
        links: Pairs of rows that show one picture.
    """
    first: dict[str, int] = {}
    joined = list(links)
    for row, group in enumerate(groups):
        if group is not None:
            joined.append((first.setdefault(group, row), row))
    names: list[str | None] = [None] * len(groups)
    for rows in clusters(len(groups), joined):
        if len(rows) > 1:
            for row in rows:
                names[row] = f"family {rows[0]}"
    return names
