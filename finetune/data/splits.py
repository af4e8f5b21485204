"""Train, validation and test, or folds: by class, group and time at once, the same for one seed, frozen to a file."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, listing
from ..files import replacing
from ..types import PARTS, Kind, Part
from .examples import Examples
from .findings import counted
from .order import LEFT_OUT, by_time, leave_gap, moments, stretches_of
from .stratify import assign_parts, deal_out, settle, strata_of, together
from .texts import Texts, cells_of, give_back, in_order


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Which part each example belongs to.

    Args:
        ids: The examples' ids, N texts in a column of pandas.
        part: (N,) of Python's texts, one of `PARTS` for each example, or "" for one that is in no part.
        units: What was kept together: a name for each of N examples, None where it stands alone.
        fold: (N,) int64, the fold that holds each example out, from 1; 0 for the test part. None without folds.
        refit: Train and test were given without validation, which was carved from train: the final fit uses both.
        notes: What was decided and what it costs, a sentence each.
        leaks: How many pairs of examples in different parts give each other away.
    """

    ids: pd.api.extensions.ExtensionArray
    part: np.ndarray
    units: tuple[str | None, ...]
    fold: np.ndarray | None = None
    refit: bool = False
    notes: tuple[str, ...] = ()
    leaks: int = 0

    def indices(self, part: Part) -> np.ndarray:
        """The rows of one part, (n,) int64, in the examples' order."""
        return np.flatnonzero(self.part == part)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids and parts, whatever their order."""
        both = zip(cells_of(pd.Series(self.ids)), self.part, strict=True)
        digest = hashlib.sha256()
        for line in Texts(f"{name}\t{part}\n" for name, part in both).in_order():
            digest.update(line.encode())
        return digest.hexdigest()

    def units_of(self, examples: Examples) -> Examples:
        """The same examples with what was kept together as their groups: those are independent of each other."""
        return replace(examples, table=examples.table.assign(group=pd.Series(self.units, dtype="object")))

    def holding_out(self, fold: int) -> Splits:
        """The split of one run among folds: this fold is for validation, and no example for testing."""
        assert self.fold is not None  # noqa: S101  # who asks for a fold has divided into folds
        part = np.where(self.fold == fold, "validation", np.where(self.fold == 0, "", "train"))
        note = "The validation part is a fold that was held out; it also chose the best epoch, where there are several."
        told = self.notes[:1] if self.leaks else ()  # what leaks stands first
        return replace(self, part=part, fold=None, notes=(*told, note))


COLUMNS = ("source", "target", "group", "split")

CARVE_AT_LEAST = 4
"""With fewer training examples of a class, those taken for validation would be missed more than they could tell."""


def split_examples(
    examples: Examples, *, validation: float = 0.15, test: float = 0.15, seed: int = 0, carve: bool = True,
    clusters: np.ndarray | None = None, order: str | None = None, stretches: int | None = None, gap: int = 0,
    hold_out: str = "pictures",
) -> Splits:  # fmt: skip
    """Divides examples into parts; those that the source gives are kept.

    The outcome depends on the examples' ids, targets, groups, clusters and moments and on the seed, not on their order
    in the table (unless that is the order asked for).

    Args:
        examples: N examples.
        validation: Share for validation, in (0, 1).
        test: Share for the test part, in [0, 1); not used where parts are given.
        seed: Chooses among the divisions that are equally good.
        carve: Take validation from train where only train and test are given and train is large enough. If not, no
            part is for validation.
        clusters: (N,) int64; examples with equal numbers stay on one side, as those of one group do.
        order: As in `Data`: the earliest examples train, the latest test.
        stretches: As in `Data`: stretches of neighbours in `order` are dealt out instead, and groups are cut.
        gap: As in `Data`.
        hold_out: "pictures" of every class; "classes", of which each is in one part alone; or "classes if enough".

    Raises:
        ConfigError: There is no such order, or nothing to divide by it.
        DataError: A class with one picture and no given parts, parts without one for training, or an order that does
            not divide.
    """
    given = examples.table["split"].to_numpy(dtype=object)
    ids = examples.table["id"].array
    moment = None if order is None else moments(examples, order)
    groups = list(examples.table["group"])
    sequences: list[np.ndarray] = []
    if moment is not None and stretches is not None:
        groups, sequences = stretches_of(moment, groups, list(ids), stretches)
    units = tuple(together(groups, clusters))
    del groups
    give_back()
    how = _How(
        units=units, moment=None if sequences else moment, sequences=sequences, gap=gap, seed=seed, hold_out=hold_out
    )
    have = {str(part) for part in given if part is not None}
    if not have or have == {"train"}:
        if hold_out == "pictures":
            check_lone_classes(examples)
        part, notes = _divide(examples, np.arange(len(examples)), {"validation": validation, "test": test}, how)
        if have:
            notes.insert(0, "Only a train part is given; validation and test were taken from it.")
        return Splits(ids=ids, part=part, units=units, notes=tuple(notes))
    if "train" not in have:
        raise DataError(
            f"No example is for training: the given parts are {listing(sorted(have))}. Expected a train part."
        )
    if order is not None and have != {"train", "test"}:
        raise ConfigError(
            f"There is nothing to divide by order: the source gives the parts {listing(sorted(have))}. "
            "Leave order out, or the parts."
        )
    kept = Splits(ids=ids, part=given.copy(), units=units)
    if "test" not in have:
        note = (
            "There is no test part. The validation part also chooses the best epoch, so its numbers are a little "
            "better than those to expect on new pictures."
        )
        return replace(kept, notes=(note,))
    if "validation" in have:
        return kept
    rows = np.flatnonzero(kept.part == "train")
    if not carve and order is None:
        note = "No validation part is given: figures for it come from training examples held out in turn."
        return replace(kept, notes=(note,))
    if hold_out == "pictures" and _fewest(examples, rows) < CARVE_AT_LEAST:
        note = (
            f"No validation part is given, and with fewer than {CARVE_AT_LEAST} training examples of a class none can "
            "be spared: nothing chooses the epoch, the last one counts."
        )
        return replace(kept, notes=(note,))
    kept.part[rows], notes = _divide(examples, rows, {"validation": validation}, how)
    carved = int((kept.part == "validation").sum())
    notes.insert(0, f"Validation was taken from train ({carved} examples); the final fit uses both.")
    return replace(kept, refit=True, notes=tuple(notes))


def _fewest(examples: Examples, rows: np.ndarray) -> int:
    """The size of the smallest class among these rows, or their number where the target is no class."""
    targets = examples.table["target"].iloc[rows]
    return int(targets.value_counts().min()) if examples.kind == "class" else len(rows)


@dataclass(frozen=True, kw_only=True)
class _How:
    """What decides a division beside shares and targets: either moments, or sequences, or neither."""

    units: tuple[str | None, ...]
    moment: np.ndarray | None
    sequences: list[np.ndarray]
    gap: int
    seed: int
    hold_out: str


def _divide(examples: Examples, rows: np.ndarray, shares: dict[Part, float], how: _How) -> tuple[np.ndarray, list[str]]:
    """The part of each of these rows, and notes on classes that are not in every part."""
    inside = np.zeros(len(examples), bool)
    inside[rows] = True
    rows_by_id = in_order(examples.table["id"])
    if len(rows) < len(examples):
        rows_by_id = rows_by_id[inside[rows_by_id]]
    kept: dict[Part, float] = {"train": 1 - sum(shares.values())}
    kept.update((name, share) for name, share in shares.items() if share > 0)
    places = np.full(len(examples), LEFT_OUT)
    places[rows_by_id] = _placed(examples, rows_by_id, list(kept.values()), how)
    if how.sequences:
        sequences = [one[inside[one]] for one in how.sequences]
        _check_stretches(places, list(kept))
        places = leave_gap(places, sequences, how.gap)
    names = np.array([*kept, ""], dtype=object)
    part = names[places[rows]]
    notes = [] if "test" in kept or "test" not in shares else ["There is no test part, as test=0 asks."]
    notes += _order_notes(part, how, len({how.units[row] for row in rows} if how.sequences else ()))
    targets = examples.table["target"].iloc[rows].tolist()
    if how.moment is None and how.hold_out != "pictures":
        return part, notes + _class_notes(targets, part, list(kept))
    return part, notes + _thin_notes(targets, part, examples.kind, list(kept))


def _placed(examples: Examples, rows: np.ndarray, wanted: list[float], how: _How) -> np.ndarray:
    """The place in `wanted` of each of these rows, which come in the order of their ids."""
    units = [how.units[row] for row in rows]
    if how.moment is not None:
        return by_time(how.moment[rows], units, np.arange(len(rows)), wanted, gap=how.gap)
    targets = examples.table["target"].iloc[rows].tolist()
    if (whole := _by_class(targets, units, wanted, how)) is not None:
        return whole
    strata = strata_of(targets, examples.kind, np.random.default_rng(how.seed))
    place = assign_parts(strata, units, wanted, np.random.default_rng(how.seed))
    if how.sequences:  # a class must be learned and measured; a range of a number is not worth the shares
        place = settle(place, strata, units, wanted, keep=examples.kind != "number")
    return place


def _by_class(targets: list[Any], units: Sequence[str | None], wanted: list[float], how: _How) -> np.ndarray | None:
    """The part of each example where every class is in one part alone; None where parts share the classes."""
    if how.hold_out == "pictures":
        return None
    number = np.unique(np.array(targets, dtype=object).astype(str), return_inverse=True)[1]
    # What is kept together, and copies that two classes have, make these classes one.
    kept = together(list(units), number)
    names = np.array([f"class {own}" if name is None else name for name, own in zip(kept, number, strict=True)])
    place = deal_out(names, wanted, np.random.default_rng(how.seed))
    if place is None and how.hold_out == "classes":
        raise DataError(
            f"There are {len(set(names.tolist()))} classes that can be held out whole, and {len(wanted)} parts. "
            "Expected two or more for each part: more classes, or --hold-out pictures."
        )
    return place


def _class_notes(targets: list[Any], part: np.ndarray, parts: list[Part]) -> list[str]:
    """What is to be known of the classes of parts."""
    held = {name: {target for target, own in zip(targets, part, strict=True) if own == name} for name in parts}
    if all(held["train"].isdisjoint(held[name]) for name in parts if name != "train"):
        told = ", ".join(f"{len(held[name])} of {name}" for name in parts)
        return [f"Classes are in one part alone, {told}: what is measured was never trained."]
    return ["There are too few classes to hold out whole ones: the parts share them, and figures are of known classes."]


def _check_stretches(places: np.ndarray, parts: list[Part]) -> None:
    empty = [name for number, name in enumerate(parts) if not (places == number).any()]
    if empty:
        raise DataError(
            f"There are too few stretches for the parts {listing(parts)}: none is left for {listing(empty)}. Expected "
            "several a part: more --stretches. Copies of one picture join the stretches that they lie in."
        )


def _order_notes(part: np.ndarray, how: _How, units: int) -> list[str]:
    notes = []
    if how.moment is not None:
        notes.append("The parts follow each other in time: train is the earliest, what is measured is later.")
    elif how.sequences:
        of = counted(len(how.sequences), "sequence")
        notes.append(f"{units} stretches of neighbours, of {of}, were dealt out to the parts.")
    left = int((part == "").sum())
    if left:
        notes.append(f"{left} examples within {how.gap} of a border between two parts were left out.")
    return notes


def _thin_notes(targets: Sequence[Any], part: np.ndarray, kind: Kind, parts: list[Part]) -> list[str]:
    """Says which classes are missing in a part, and why."""
    if kind == "number":
        empty = [name for name in parts if not (part == name).any()]
        return [f"There are too few examples or groups to fill the parts {listing(empty)}."] if empty else []
    counted: dict[str, dict[str, int]] = {}
    for (target, name), count in Counter(zip(targets, part.tolist(), strict=True)).items():
        if not name:
            continue
        for label in (target,) if kind == "class" else target:
            tally = counted.setdefault(label, dict.fromkeys(parts, 0))
            tally[name] += count
    notes = []
    for name in parts:
        missing = sorted(label for label, tally in counted.items() if tally[name] == 0)
        if missing:
            sizes = ", ".join(f"{label} ({sum(counted[label].values())})" for label in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            notes.append(f"The {name} part has no example of {sizes}{more}: there are too few, or in too few groups.")
    return notes


def check_lone_classes(examples: Examples) -> None:
    """Refuses classes with one picture: what cannot be both learned and measured.

    Raises:
        DataError: There are such classes.
    """
    if examples.kind != "class":
        return
    counts = examples.table["target"].value_counts()
    lone = sorted(counts[counts == 1].index)
    if lone:
        raise DataError(
            f"{len(lone)} {'classes have' if len(lone) > 1 else 'class has'} a single picture: {listing(lone, 5)}. "
            f"Expected at least 2, better 20, to learn it and to measure that: add pictures, or leave it out."
        )


def write_splits(path: str | Path, examples: Examples, splits: Splits) -> None:
    """Freezes a split to a CSV file with the columns source (the id), target, group, split, and fold where there are.

    Several labels are joined by "|". The file is whole or absent, also after a crash.
    """
    table = examples.table
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS if splits.fold is None else (*COLUMNS, "fold"))
        columns = (*(cells_of(table[name]) for name in ("id", "target", "group")), splits.part)
        for row, (name, target, group, part) in enumerate(zip(*columns, strict=True)):
            joined = "|".join(target) if isinstance(target, tuple) else target
            fold = () if splits.fold is None else (str(splits.fold[row] or ""),)
            writer.writerow((name, joined, group or "", part, *fold))


def read_splits(path: str | Path) -> pd.DataFrame:
    """Reads what `write_splits` wrote: the columns source, target, group, split and perhaps fold, all text.

    Raises:
        DataError: The file is not there, or is not such a table.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"The splits in {path} cannot be read: {error}") from error
    if tuple(table.columns) not in (COLUMNS, (*COLUMNS, "fold")) or not set(table["split"]) <= {*PARTS, ""}:
        raise DataError(f"{path} is no table of splits. Expected the columns source, target, group, split.")
    return table
