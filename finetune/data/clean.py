"""A table of the examples as they might be cleaned up. It proposes; nothing is changed where it lies."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError
from ..files import replacing
from ..types import PARTS
from .examples import Examples
from .families import clusters, families
from .findings import answer_key
from .leaks import Leak, PairLike
from .splits import split_examples
from .suspects import Suspect

KEPT = ("source", "target", "group", "split", "reason", "suggested_target")
DROPPED = ("source", "target", "group", "split", "reason")


def clean_table(
    examples: Examples,
    *,
    errors: Mapping[int, str],
    pairs: Sequence[PairLike] = (),
    leaks: Sequence[Leak] = (),
    suspects: Sequence[Suspect] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """What to keep and what to leave out, with the reasons.

    Left out are pictures that cannot be read, and of copies with one answer all but one, near copies only where they
    lie in different given parts: the one of the test part stays before that of validation and train, for that is where
    figures come from, and else the first. What a person must decide is only marked: copies with different answers,
    groups in several parts, suspects.

    Args:
        examples: The table.
        errors: The reason for each row that cannot be read.
        pairs: Copies.
        leaks: Pairs on two sides of the given parts.
        suspects: Answers that the others contradict.
        seed: Seeds the parts, which are given where the source has none, as a fit would divide what is kept.

    Returns:
        A row an example: source, target, group, split, drop, reason, suggested_target.
    """
    reasons: defaultdict[int, list[str]] = defaultdict(list)
    drop = set(errors)
    for row, why in errors.items():
        reasons[row].append(f"unreadable: {why}")
    table, ids, keys = examples.table, list(examples.table["id"]), [answer_key(target) for target in examples.targets]
    for rows in clusters(len(examples), ((p.first, p.second) for p in pairs if p.kind == "exact")):
        if len(rows) > 1:
            dropped, said = _of_copies(table.iloc[rows], rows)
            drop |= dropped
            for row, text in said.items():
                reasons[row].append(text)
    for pair in pairs:
        if pair.kind != "exact" and keys[pair.first] != keys[pair.second] and examples.kind != "number":
            reasons[pair.first].append(f"conflict: near copy of {ids[pair.second]} with another answer")
            reasons[pair.second].append(f"conflict: near copy of {ids[pair.first]} with another answer")
    for pair in pairs:
        rows = [pair.first, pair.second]
        torn = table["split"][rows[0]] != table["split"][rows[1]]
        if pair.kind != "exact" and torn and keys[rows[0]] == keys[rows[1]] and not drop & set(rows):
            (gone,), said = _of_copies(table.iloc[rows], rows)
            drop.add(gone)
            reasons[gone].append(said[gone].replace("exact", "near", 1))
    for leak in leaks:
        if not drop & set(leak.rows):
            reasons[leak.rows[1]].append(f"leak: {leak.why}, {leak.ids[0]} in {leak.parts[0]}")
    suggested: dict[int, str] = {}
    for suspect in suspects:
        suggested.setdefault(suspect.row, suspect.suggested)
        reasons[suspect.row].append(f"suspect: given {suspect.given}, suggested {suspect.suggested}")
    numbers = range(len(examples))
    return pd.DataFrame(
        {
            "source": table["source"],
            "target": [_text(target) for target in examples.targets],
            "group": [group or "" for group in table["group"]],
            "split": _parts(examples, pairs, [row for row in numbers if row not in drop], seed),
            "drop": [row in drop for row in numbers],
            "reason": ["; ".join(reasons[row]) for row in numbers],
            "suggested_target": [suggested.get(row, "") for row in numbers],
        }
    )


def _of_copies(table: pd.DataFrame, rows: list[int]) -> tuple[set[int], dict[int, str]]:
    """Which of these copies go, and why; where their answers differ all stay, and each says so."""
    ids = dict(zip(rows, table["id"], strict=True))
    targets = dict(zip(rows, table["target"], strict=True))
    if len({answer_key(target) for target in targets.values()}) > 1:
        others = {row: ", ".join(f"{ids[r]} ({_text(targets[r])})" for r in rows if r != row) for row in rows}
        return set(), {row: f"conflict: exact copy of {text}" for row, text in others.items()}
    order = {part: place for place, part in enumerate(reversed(PARTS))}
    splits = dict(zip(rows, table["split"], strict=True))
    kept = min(rows, key=lambda row: (order.get(splits[row], 0), row))
    gone = [row for row in rows if row != kept]
    return set(gone), {row: f"exact copy of {ids[kept]}" for row in gone}


def _text(target: Any) -> str:
    if isinstance(target, tuple):
        return "|".join(target)
    return "" if target is None else repr(float(target)) if isinstance(target, float) else str(target)


def _parts(examples: Examples, pairs: Sequence[PairLike], kept: list[int], seed: int) -> list[str]:
    """The given parts, or those that a fit would make of what is kept; empty where it could make none."""
    given = list(examples.table["split"])
    if any(split is not None for split in given) or not kept or examples.targets[0] is None:
        return [split or "" for split in given]
    parts = [""] * len(examples)
    names = families(list(examples.table["group"]), [(pair.first, pair.second) for pair in pairs])
    whole = replace(examples, table=examples.table.assign(group=pd.Series(names, dtype="object")))
    try:
        divided = split_examples(whole.take(kept), seed=seed).part
    except DataError:  # a class with one picture, say: the check says so, and a fit would
        return parts
    for row, part in zip(kept, divided, strict=True):
        parts[row] = str(part)
    return parts


def write_clean(path: Path, table: pd.DataFrame) -> Path | None:
    """Writes the rows to keep to `path`, which `finetune fit` takes, and those left out to a second file beside it.

    Args:
        path: A CSV file.
        table: As from `clean_table`.

    Returns:
        The second file; None where nothing was left out.
    """
    _write(path, table[~table["drop"]], KEPT)
    if not table["drop"].any():
        return None
    beside = path.with_name(f"{path.stem}.dropped{path.suffix}")
    _write(beside, table[table["drop"]], DROPPED)
    return beside


def is_clean(path: Path) -> bool:
    """Whether a file begins as one that `write_clean` wrote."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().strip() == ",".join(KEPT)


def _write(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(table[list(columns)].itertuples(index=False))
