"""What a target is: one class, several labels, or a number, read from what a source says."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import ConfigError, DataError, listing
from ..types import Kind

MOST_CLASSES = 20
"""A column of more distinct whole numbers than this is taken for a number, unless the user says otherwise."""

TASK_OF = {"class": "classify", "labels": "tag", "number": "regress"}
"""What users call a kind of target."""


class Targets(NamedTuple):
    """Targets as understood.

    values: A name, a tuple of names, or a number for each example.
    delimiter: What separated several labels in a cell, or None.
    notes: What was inferred, a sentence each.
    """

    kind: Kind
    values: list[Any]
    delimiter: str | None
    notes: list[str]


def parse_targets(
    cells: Sequence[Any], *, kind: str = "auto", delimiter: str | None = None, folders: bool = False
) -> Targets:
    """Understands the targets of a source.

    Args:
        cells: What each example says: text, or a tuple of names.
        kind: "class", "labels", "number", or "auto" to infer it.
        delimiter: What separates several labels in one cell.
        folders: The cells are names of folders: digits and signs are part of a name.

    Raises:
        ConfigError: A kind that goes against a delimiter or several columns.
        DataError: Empty targets, or targets that are not of the kind asked for.
    """
    several = any(isinstance(cell, tuple) for cell in cells)
    if (several or delimiter) and kind in ("class", "number"):
        raise ConfigError(
            f"--task {TASK_OF[kind]} takes one answer an example, but {'several' if several else 'a delimiter'} came. "
            f"Expected --task tag, or a single column{'' if several else ' and no delimiter'}."
        )
    if several:
        return Targets("labels", [tuple(dict.fromkeys(cell)) for cell in cells], None, _label_notes(cells))
    texts = [str(cell).strip() for cell in cells]
    notes: list[str] = []
    if delimiter is None and not folders:
        delimiter, notes = _infer_delimiter(texts, kind)
    if delimiter or kind == "labels":
        return _labels(texts, delimiter, notes)
    empty = [row + 1 for row, text in enumerate(texts) if text == "" or (kind != "class" and text.lower() == "nan")]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(texts)} examples have no target: row {listing(empty, 5)} (counted from 1, without "
            f"the header). Expected a target for each: fill them in, or remove the rows."
        )
    return _one_answer(texts, kind, folders)


def _one_answer(texts: list[str], kind: str, folders: bool) -> Targets:
    distinct = {text: _number(text) for text in set(texts)}
    numeric = all(number is not None for number in distinct.values())
    fractional = numeric and any(number is not None and number != int(number) for number in distinct.values())
    if kind == "number":
        if not numeric:
            wrong = [text for text in texts if distinct[text] is None]
            raise DataError(
                f"{len(wrong)} of {len(texts)} targets are no numbers: {listing([repr(w) for w in wrong])}. Expected "
                f"numbers such as 3.5, since a number was asked for; with --task classify they are names."
            )
        return Targets("number", [distinct[text] for text in texts], None, [])
    if kind == "class" and fractional and len(distinct) > MOST_CLASSES:
        raise DataError(
            f"A class was asked for, but the target is a number: {len(distinct)} distinct values such as "
            f"{listing(texts)}. Expected names of a few classes: use --task regress, or make classes of ranges first."
        )
    notes: list[str] = []
    if kind == "auto" and not folders and numeric and len(distinct) > 2:
        many = fractional or len(distinct) > MOST_CLASSES
        notes.append(
            f"The target is taken for a {'number' if many else 'class'}: it has {len(distinct)} distinct numbers. "
            f"Say --task {'classify' if many else 'regress'} if it is not."
        )
        if many:
            return Targets("number", [distinct[text] for text in texts], None, notes)
    if numeric and not fractional and not folders:
        # A column with a gap reads as 3.0 where it was 3: names must not depend on that.
        whole = {text: re.sub(r"\.0*$", "", text) for text in distinct}
        texts = [whole[text] for text in texts]
    return Targets("class", texts, None, notes)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    # Python reads "1_000" as a number; nobody who names a class so means one.
    return number if math.isfinite(number) and "_" not in text else None


def _infer_delimiter(texts: list[str], kind: str) -> tuple[str | None, list[str]]:
    """The sign between labels: only "|" says so by itself; the others also stand within names and need the word."""
    signs = {"auto": "|", "labels": "|;,"}.get(kind, "")
    for sign in signs:
        several = sum(sign in text for text in texts)
        if several:
            how = "--task classify takes each cell as one name." if kind == "auto" else ""
            return sign, [f'"{sign}" separates several labels in a cell ({several} cells have it). {how}'.strip()]
    return None, []


def _labels(texts: list[str], delimiter: str | None, notes: list[str]) -> Targets:
    # An example without any label is an answer too (no finding), so an empty cell is no mistake here.
    pieces = [text.split(delimiter) if delimiter else [text] for text in texts]
    values = [tuple(dict.fromkeys(piece.strip() for piece in cell if piece.strip())) for cell in pieces]
    return Targets("labels", values, delimiter, [*notes, *_label_notes(values)])


def _label_notes(values: Sequence[tuple[str, ...]]) -> list[str]:
    empty = sum(not names for names in values)
    if empty:
        return [f"{empty} of {len(values)} examples carry no label at all."]
    if all(len(names) == 1 for names in values):
        return [
            "Every example carries exactly one label; if labels exclude each other, one class column says it better."
        ]
    return []
