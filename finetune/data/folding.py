"""K folds: every example is held out once, with the same mix of targets in each fold and no group in two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, listing
from ..types import Kind
from .examples import Examples
from .splits import Splits, check_lone_classes
from .stratify import assign_folds, strata_of, together
from .texts import in_order


def fold_examples(examples: Examples, folds: int, *, seed: int = 0, clusters: np.ndarray | None = None) -> Splits:
    """Divides examples into folds, each of which is held out once; a test part that the source gives stays apart.

    Args:
        examples: N examples.
        folds: How many folds there are, 2 or more.
        seed: Chooses among the divisions that are equally good.
        clusters: As for `split_examples`.

    Raises:
        ConfigError: The source gives a validation part.
        DataError: Too few examples or groups for so many folds, or a class that one fold holds alone.
    """
    table = examples.table
    if (table["split"] == "validation").any():
        raise ConfigError(
            "folds and a validation part were both given, and each says which examples are held out. Expected one: "
            "leave folds out, or the parts."
        )
    rows = np.flatnonzero(table["split"] != "test")
    check_lone_classes(examples.take(rows))
    units = together(list(table["group"]), clusters)
    alone = [unit if unit is not None else row for row, unit in enumerate(units)]
    counted = len({alone[row] for row in rows})
    if counted < folds:
        raise DataError(
            f"There are {counted} examples or groups to hold out for {folds} folds. Expected one a fold at least: "
            "fewer --folds, or more examples."
        )
    held_out = (table["split"] != "test").to_numpy()
    rows = in_order(table["id"])
    rows = rows[held_out[rows]]
    targets = table["target"].iloc[rows].tolist()
    strata = strata_of(targets, examples.kind, np.random.default_rng(seed))
    fold = np.zeros(len(table), np.int64)
    fold[rows] = 1 + assign_folds(strata, [units[row] for row in rows], folds, np.random.default_rng(seed))
    _check_folds(targets, fold[rows], examples.kind, folds)
    return Splits(
        ids=table["id"].array, part=np.where(fold == 0, "test", "train").astype("<U10"),
        units=tuple(units), fold=fold,
        notes=(f"Each example is held out once, in one of {folds} folds; the model averages the {folds} networks.",),
    )  # fmt: skip


def _check_folds(targets: Sequence[Any], fold: np.ndarray, kind: Kind, folds: int) -> None:
    empty = sorted(set(range(1, folds + 1)) - set(fold.tolist()))
    if empty:
        raise DataError(
            f"Some of the {folds} folds would hold nothing out: the examples lie in too few or too uneven groups. "
            "Expected fewer --folds."
        )
    if kind != "class":
        return
    held = pd.DataFrame({"target": targets, "fold": fold}).groupby("target", sort=True)["fold"].nunique()
    lone = [str(name) for name in held[held < 2].index]
    if lone:
        raise DataError(
            f"All examples of {listing(lone, 5)} are in one group: the fold that holds it out has nothing to learn "
            "the class from. Expected two groups a class at least; leave the class out, or mend the groups."
        )
