"""Pictures on two sides of a split that give each other away."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import DataError
from ..files import replacing
from .examples import Examples

SHOWN = 100
"""A message names so many pairs; the file beside it names all of them."""


class PairLike(Protocol):
    """Two rows that show one picture, however they were found."""

    @property
    def first(self) -> int:
        """A row of the table of examples."""

    @property
    def second(self) -> int:
        """Another row."""

    @property
    def kind(self) -> str:
        """Whether the pictures are the same, "exact", or one is a changed copy of the other: any other word."""

    @property
    def how(self) -> str:
        """How one became the other, "mirrored" say; empty where nothing is known."""

    @property
    def correlation(self) -> float:
        """How alike their pixels are, at most 1."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Two examples in different parts, of which one tells about the other.

    Args:
        rows: Their rows in the table of examples.
        ids: Their names.
        parts: Where each of them is.
        why: "same group g", "exact copy", or "copy: mirrored, 0.98".
    """

    rows: tuple[int, int]
    ids: tuple[str, str]
    parts: tuple[str, str]
    why: str

    def __str__(self) -> str:
        return f"{self.ids[0]} ({self.parts[0]}) and {self.ids[1]} ({self.parts[1]}): {self.why}"


def find_leaks(examples: Examples, part: np.ndarray, pairs: Iterable[PairLike], *, groups: bool = True) -> list[Leak]:
    """Finds what leaks from one part to another.

    Args:
        examples: N examples.
        part: (N,) the part of each; those in no part ("") tell nobody anything.
        pairs: Rows that show one picture.
        groups: Whether examples of one group belong on one side; not where groups are sequences that were cut.

    Returns:
        The leaks in the order of the table: every pair, and for a group in several parts each of its examples outside
        the part of its first one, beside that one.
    """
    ids = examples.table["id"]

    def leak(one: int, other: int, why: str) -> Leak:
        first, second = sorted((one, other))
        return Leak(
            rows=(first, second), ids=(str(ids.iloc[first]), str(ids.iloc[second])),
            parts=(str(part[first]), str(part[second])), why=why,
        )  # fmt: skip

    found: dict[tuple[int, int], Leak] = {}
    heads: dict[str, int] = {}
    for row, group in enumerate(examples.table["group"] if groups else ()):
        if group is None or not part[row]:
            continue
        head = heads.setdefault(group, row)
        if part[head] != part[row]:
            found[head, row] = leak(head, row, f"same group {group}")
    for pair in pairs:
        if part[pair.first] and part[pair.second] and part[pair.first] != part[pair.second]:
            one = leak(pair.first, pair.second, _why(pair))
            found.setdefault(one.rows, one)
    return [found[rows] for rows in sorted(found)]


def _why(pair: PairLike) -> str:
    if pair.kind == "exact":
        return "exact copy"
    return f"copy: {pair.how or 'the same picture'}, {pair.correlation:.2f}"


def refuse(leaks: Sequence[Leak], *, allow: bool, folder: Path) -> tuple[str, ...]:
    """Stops at leaks, or says what they are where they are allowed.

    Args:
        leaks: As from `find_leaks`.
        allow: Whether to go on.
        folder: The run folder. All leaks go to a file beside it, since a run that stops leaves nothing in it; those
            that are allowed go into it, as leaks.csv.

    Returns:
        Nothing where there are no leaks; else notes, of which the first says how many there are and what it means.

    Raises:
        DataError: There are leaks that are not allowed; the message names them, one a line.
    """
    if not leaks:
        return ()
    count = f"{len(leaks)} pair{'s' if len(leaks) > 1 else ''} of pictures {'are' if len(leaks) > 1 else 'is'} on two"
    if allow:
        write_leaks(folder / "leaks.csv", leaks)
        return (
            f"{count} sides of the split and {'give' if len(leaks) > 1 else 'gives'} each other away (allow_leaks): "
            "the figures below are better than those to expect on new pictures. They are listed in leaks.csv.",
            *(str(leak) for leak in leaks[:3]),
        )
    path, told = folder.with_name(f"{folder.name}.leaks.csv"), ""
    with contextlib.suppress(OSError):  # the message names the first of them in any case
        write_leaks(path, leaks)
        told = f"\nAll of them are in {path}."
    shown = "\n  ".join(str(leak) for leak in leaks[:SHOWN])
    more = f"\n  and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
    raise DataError(
        f"{count} sides of the split and would give each other away:\n  {shown}{more}{told}\n"
        "Expected pictures of one group, and copies of one picture, on one side. Mend the parts; or give none, and "
        "they are divided so; or go on all the same with --allow-leaks, which the report then says first."
    )


def write_leaks(path: Path, leaks: Sequence[Leak]) -> None:
    """Writes leaks as a CSV file with the columns first, first_part, second, second_part, why; whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("first", "first_part", "second", "second_part", "why"))
        for leak in leaks:
            writer.writerow((leak.ids[0], leak.parts[0], leak.ids[1], leak.parts[1], leak.why))
