"""What every layout gives: the rows of a data set as it is distributed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from ...errors import DataError, listing
from ..folders import walk
from ..listings import PART_WORDS
from ..tables import read_table

OFFICIAL = "official"
"""The column that holds the division that a data set's makers, or the lecture, gave."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The examples of a data set, read from its own files.

    Args:
        table: Columns `image` (a path as its files have it) and `target`; `group` where something belongs together;
            `official` where a division is given; and what else the data set says of each example.
        root: What the paths are relative to, and where files are searched for by name.
        delimiter: What separates several labels in a target; None where there is one.
        notes: What was found and what was left out, a sentence each.
    """

    table: pd.DataFrame
    root: Path
    delimiter: str | None = None
    notes: tuple[str, ...] = ()


Reader = Callable[[Path], Rows]


def pictures(folder: Path) -> list[PurePosixPath]:
    """Every picture under a folder, relative to it.

    Raises:
        DataError: There is none.
    """
    found = [PurePosixPath(path).relative_to(folder.as_posix()) for path in walk(folder)]
    if not found:
        raise DataError(f"There are no pictures under {folder}.")
    return found


def part(path: PurePosixPath) -> str | None:
    """The part that a folder on the way to a picture names, `train` say; the innermost counts."""
    return next((PART_WORDS[name.lower()] for name in reversed(path.parts[:-1]) if name.lower() in PART_WORDS), None)


def tables_of(source: Path, patterns: Sequence[str]) -> list[tuple[Path, pd.DataFrame]]:
    """The tables that a data set's folder holds at its top or one folder down, or the one that `source` is.

    Args:
        source: A folder, or a file.
        patterns: Of file names.
    """
    if source.is_file():
        return [(source, read_table(source)[0])]
    files = {file for pattern in patterns for file in [*source.glob(pattern), *source.glob(f"*/{pattern}")]}
    return [(file, read_table(file)[0]) for file in sorted(files) if file.is_file()]


def nothing_fits(source: Path, expected: str, found: Sequence[object]) -> DataError:
    """What is told where a folder holds no layout of the kind that was asked for."""
    got = listing([str(one) for one in found], 5) if found else "no table and no folder of that kind"
    return DataError(f"{source} is not laid out as expected. Expected {expected}. Got {got}.")
