"""Train, validation and test: by class and by group at once, the same for one seed, frozen to a file."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, listing
from ..files import replacing
from ..types import PARTS, Kind, Part
from .examples import Examples
from .stratify import assign_parts, strata_of


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Which part each example belongs to.

    Args:
        ids: (N,) str, the examples' ids.
        part: (N,) str, one of `PARTS` for each example.
        refit: Train and test were given without validation, which was carved from train: the final fit uses both.
        notes: What was decided and what it costs, a sentence each.
    """

    ids: np.ndarray
    part: np.ndarray
    refit: bool = False
    notes: tuple[str, ...] = ()

    def indices(self, part: Part) -> np.ndarray:
        """The rows of one part, (n,) int64, in the examples' order."""
        return np.flatnonzero(self.part == part)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids and parts, whatever their order."""
        lines = sorted(f"{name}\t{part}\n" for name, part in zip(self.ids, self.part, strict=True))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


CARVE_AT_LEAST = 4
"""With fewer training examples of a class, those taken for validation would be missed more than they could tell."""


def split_examples(
    examples: Examples, *, validation: float = 0.15, test: float = 0.15, seed: int = 0, carve: bool = True
) -> Splits:
    """Divides examples into parts; those that the source gives are kept.

    The outcome depends on the examples' ids, targets and groups and on the seed, not on their order.

    Args:
        examples: N examples.
        validation: Share for validation, in (0, 1).
        test: Share for the test part, in [0, 1); not used where parts are given.
        seed: Chooses among the divisions that are equally good.
        carve: Take validation from train where only train and test are given and train is large enough. If not, no
            part is for validation.

    Raises:
        DataError: A class with one picture and no given parts, parts without one for training, or a group that the
            given parts tear apart.
    """
    given = examples.table["split"].to_numpy(dtype=object)
    ids = examples.table["id"].to_numpy(dtype=object)
    have = {str(part) for part in given if part is not None}
    if not have or have == {"train"}:
        _check_lone_classes(examples)
        part, notes = _divide(examples, np.arange(len(examples)), {"validation": validation, "test": test}, seed)
        if have:
            notes.insert(0, "Only a train part is given; validation and test were taken from it.")
        return Splits(ids=ids, part=part, notes=tuple(notes))
    if "train" not in have:
        raise DataError(
            f"No example is for training: the given parts are {listing(sorted(have))}. Expected a train part."
        )
    _check_groups(examples, given)
    part = given.astype("<U10")  # long enough for "validation", which may be put in below
    if "test" not in have:
        note = (
            "There is no test part. The validation part also chooses the best epoch, so its numbers are a little "
            "better than those to expect on new pictures."
        )
        return Splits(ids=ids, part=part, notes=(note,))
    if "validation" in have:
        return Splits(ids=ids, part=part)
    rows = np.flatnonzero(part == "train")
    if not carve:
        note = "No validation part is given: figures for it come from training examples held out in turn."
        return Splits(ids=ids, part=part, notes=(note,))
    if _fewest(examples, rows) < CARVE_AT_LEAST:
        note = (
            f"No validation part is given, and with fewer than {CARVE_AT_LEAST} training examples of a class none can "
            "be spared: nothing chooses the epoch, the last one counts."
        )
        return Splits(ids=ids, part=part, notes=(note,))
    part[rows], notes = _divide(examples, rows, {"validation": validation}, seed)
    notes.insert(
        0, f"Validation was taken from train ({int((part == 'validation').sum())} examples); the final fit uses both."
    )
    return Splits(ids=ids, part=part, refit=True, notes=tuple(notes))


def _fewest(examples: Examples, rows: np.ndarray) -> int:
    """The size of the smallest class among these rows, or their number where the target is no class."""
    targets = examples.table["target"].iloc[rows]
    return int(targets.value_counts().min()) if examples.kind == "class" else len(rows)


def _divide(examples: Examples, rows: np.ndarray, shares: dict[Part, float], seed: int) -> tuple[np.ndarray, list[str]]:
    """The part of each of these rows, and notes on classes that are not in every part."""
    table = examples.table.iloc[rows]
    ids = table["id"].to_numpy(dtype=object)
    order = np.argsort(ids.astype(str), kind="stable")  # numpy orders text by code point, everywhere alike
    ordered = table.iloc[order]
    kept: dict[Part, float] = {"train": 1 - sum(shares.values())}
    kept.update((name, share) for name, share in shares.items() if share > 0)
    strata = strata_of(ordered["target"].tolist(), examples.kind, np.random.default_rng(seed))
    places = assign_parts(strata, ordered["group"].tolist(), list(kept.values()), np.random.default_rng(seed))
    names = np.array(list(kept), dtype=object)
    part = np.empty(len(rows), dtype="<U10")
    part[order] = names[places].astype(str)
    notes = [] if "test" in kept or "test" not in shares else ["There is no test part, as test=0 asks."]
    return part, notes + _thin_notes(table["target"].tolist(), part, examples.kind, list(kept))


def _thin_notes(targets: Sequence[Any], part: np.ndarray, kind: Kind, parts: list[Part]) -> list[str]:
    """Says which classes are missing in a part, and why."""
    if kind == "number":
        empty = [name for name in parts if not (part == name).any()]
        return [f"There are too few examples or groups to fill the parts {listing(empty)}."] if empty else []
    counted: dict[str, dict[str, int]] = {}
    for target, name in zip(targets, part, strict=True):
        for label in (target,) if kind == "class" else target:
            tally = counted.setdefault(label, dict.fromkeys(parts, 0))
            tally[name] += 1
    notes = []
    for name in parts:
        missing = sorted(label for label, tally in counted.items() if tally[name] == 0)
        if missing:
            sizes = ", ".join(f"{label} ({sum(counted[label].values())})" for label in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            notes.append(f"The {name} part has no example of {sizes}{more}: there are too few, or in too few groups.")
    return notes


def _check_lone_classes(examples: Examples) -> None:
    if examples.kind != "class":
        return
    counts = examples.table["target"].value_counts()
    lone = sorted(counts[counts == 1].index)
    if lone:
        raise DataError(
            f"{len(lone)} {'classes have' if len(lone) > 1 else 'class has'} a single picture: {listing(lone, 5)}. "
            f"Expected at least 2, better 20, to learn it and to measure that: add pictures, or leave it out."
        )


def _check_groups(examples: Examples, given: np.ndarray) -> None:
    grouped = pd.DataFrame({"group": examples.table["group"], "part": given}).dropna(subset=["group"])
    torn = grouped.groupby("group", sort=True)["part"].nunique()
    leaking = [str(group) for group in torn[torn > 1].index]
    if leaking:
        raise DataError(
            f"{len(leaking)} groups are in several of the given parts: {listing(leaking)}. Expected each group on "
            f"one side, since its pictures give each other away: mend the parts, or give none."
        )


def write_splits(path: str | Path, examples: Examples, splits: Splits) -> None:
    """Freezes a split to a CSV file with the columns source (the id), target, group and split.

    Several labels are joined by "|". The file is whole or absent, also after a crash.
    """
    table = examples.table
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("source", "target", "group", "split"))
        for name, target, group, part in zip(table["id"], table["target"], table["group"], splits.part, strict=True):
            writer.writerow((name, "|".join(target) if isinstance(target, tuple) else target, group or "", part))


def read_splits(path: str | Path) -> pd.DataFrame:
    """Reads what `write_splits` wrote: the columns source, target, group and split, all text.

    Raises:
        DataError: The file is not there, or is not such a table.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"The splits in {path} cannot be read: {error}") from error
    if list(table.columns) != ["source", "target", "group", "split"] or not set(table["split"]) <= set(PARTS):
        raise DataError(f"{path} is no table of splits. Expected the columns source, target, group, split.")
    return table
