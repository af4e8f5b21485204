"""What every kind of source is read into, before its targets are understood."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from ..errors import DataError, listing, nearest
from ..types import Part

PART_WORDS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

# What people keep pictures in, and is read without running any other program.
EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
        *(".dcm", ".dicom", ".npy"),
    )
)


@dataclass(kw_only=True)
class Listing:
    """Rows as found in a folder, a table or in memory.

    Args:
        ids: The name of each example within its source.
        sources: Where each picture is: an absolute path, or `array:N`.
        cells: Targets as written: text, or a tuple of names.
        groups: What must stay on one side of a split.
        splits: The part each example was given to, in the user's own word.
        extra: All other columns.
        notes: What was inferred, a sentence each.
        folders: The targets are names of folders, so that digits are names too.
        arrays: The pictures themselves, where they were given in memory.
    """

    ids: Sequence[str]
    sources: Sequence[str]
    cells: list[Any]
    groups: list[str | None]
    splits: list[str | None]
    extra: pd.DataFrame | None = None
    notes: list[str] = field(default_factory=list)
    folders: bool = False
    arrays: Sequence[Any] | None = None


def is_hidden(name: str) -> bool:
    """Says whether systems leave such a file or folder behind: `.DS_Store`, `._1.jpg`, `__MACOSX`, `Thumbs.db`."""
    return name.startswith(".") or name == "__MACOSX" or name.lower() == "thumbs.db"


def is_picture(name: str) -> bool:
    """Says whether a file name has an extension of a picture, in any case."""
    # What PurePosixPath(name).suffix is, in a tenth of its time: tables may have a million rows.
    stem, point, suffix = name.rstrip("/").rpartition("/")[2].rpartition(".")
    return bool(stem and point) and f".{suffix.lower()}" in EXTENSIONS


def matched(pattern: str, id: str) -> str | None:
    """The first group of a regular expression in a file name, or all that it matches, or None."""
    found = re.search(pattern, PurePosixPath(id).name)
    if found is None:
        return None
    text = found.group(1) if found.re.groups else found.group(0)
    return text or None


def groups_from(pattern: str, ids: Sequence[str]) -> tuple[list[str | None], str]:
    """Takes the group of each example from its file name.

    Returns:
        The group of each example, None where the name does not match, and a note that counts them.

    Raises:
        DataError: No file name matches.
    """
    groups = [matched(pattern, id) for id in ids]
    unmatched = [id for id, group in zip(ids, groups, strict=True) if group is None]
    if len(unmatched) == len(groups):
        raise DataError(
            f"group_from '{pattern}' matches none of the {len(groups)} file names. "
            f"Expected a regular expression that finds the group in names such as {listing(unmatched)}."
        )
    note = f"{len(set(groups) - {None})} groups were taken from the file names with '{pattern}'."
    if unmatched:
        if len(unmatched) == 1:
            note += f" One name does not match, and stands alone: {listing(unmatched)}."
        else:
            note += f" {len(unmatched)} names do not match; each of them stands alone, such as {listing(unmatched, 1)}."
    return groups, note


def part_of(word: object, row: int) -> Part:
    """Understands the usual words for train, validation and test.

    Args:
        word: What the table says.
        row: The row it says it in, from 0, for the message.

    Raises:
        DataError: It is empty or another word.
    """
    text = str(word or "").strip().lower()
    if text not in PART_WORDS:
        raise DataError(
            f"Row {row + 1} (without the header) belongs to no part: its split is {str(word or '')!r}. Expected one of "
            f"{', '.join(PART_WORDS)}.{nearest(text, PART_WORDS)}"
        )
    return PART_WORDS[text]
