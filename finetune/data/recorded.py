"""A split that an earlier run recorded, kept where the examples are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .examples import Examples
from .splits import Splits, read_splits


def recorded_beside(recipe: str | Path) -> pd.DataFrame | None:
    """The split of the run that a recipe comes from; None where there is a recipe only.

    Args:
        recipe: A run folder, or the recipe.json in one.

    Raises:
        DataError: There is a splits.csv, and it is no table of splits.
    """
    path = Path(recipe)
    file = (path if path.is_dir() else path.parent) / "splits.csv"
    return read_splits(file) if file.exists() else None


def keep_recorded(examples: Examples, fresh: Splits, recorded: pd.DataFrame) -> Splits:
    """The split of an earlier run for the examples that it had; new ones come to their group, or as if divided anew.

    Args:
        examples: N examples.
        fresh: Their division without an earlier run.
        recorded: As from `read_splits`.

    Returns:
        `fresh` where nothing of the record fits: examples in memory (their ids are numbers and say nothing), no
        example in common, other folds, or parts that the source now gives otherwise.
    """
    old = _recorded(examples, fresh, recorded)
    if old is None:
        return fresh
    now: list[Any] = list(fresh.part if fresh.fold is None else fresh.fold)
    by_unit: dict[str, Any] = {}
    for unit, value in zip(fresh.units, old, strict=True):
        if unit is not None and value not in (None, ""):
            by_unit.setdefault(unit, value)
    rows = zip(fresh.units, old, now, strict=True)
    kept = [by_unit.get(unit or "", value) if was is None else was for unit, was, value in rows]
    new = sum(was is None for was in old)
    note = f"The split is that of the earlier run ({len(old) - new} examples)."
    if new:
        note += f" {new} examples are new: they went to the part of their group, or were divided as usual."
    notes = fresh.notes if kept == now else (note,)
    if fresh.fold is None:
        # Without the test part there is nothing that a final fit on validation too would be measured by.
        part = np.array(kept, "<U10")
        return replace(fresh, part=part, notes=notes, refit=fresh.refit and bool((part == "test").any()))
    fold = np.array(kept, np.int64)
    return replace(fresh, part=np.where(fold == 0, "test", "train").astype("<U10"), fold=fold, notes=notes)


def _recorded(examples: Examples, fresh: Splits, recorded: pd.DataFrame) -> list[Any] | None:
    """What was recorded of each example, None for a new one; or None where the record is of something else."""
    folds = fresh.fold is not None
    if examples.arrays is not None or folds != ("fold" in recorded.columns):
        return None
    values: list[Any] = [int(number or 0) for number in recorded["fold"]] if folds else list(recorded["split"])
    if fresh.fold is not None and set(values) - {0} != set(fresh.fold.tolist()) - {0}:
        return None
    known = dict(zip(recorded["source"], values, strict=True))
    old = [known.get(name) for name in fresh.ids]
    if all(value is None for value in old):
        return None
    # A part that the source gives is the source's to say; a fold of a run leaves its test part out.
    left_out = 0 if folds else ""
    for given, value in zip(examples.table["split"], old, strict=True):
        if given == "test" and value not in (None, left_out, "test"):
            return None
        if given in ("train", "validation") and value in (0, "test"):
            return None
        if given == "validation" and value != "validation" and value is not None:
            return None
    return old
