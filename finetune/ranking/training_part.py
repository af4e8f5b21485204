"""The examples that backbones may be compared on: those that a fit would learn from, and none that measures it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..data.examples import Examples, read_examples
from ..data.looks import Onlooker
from ..data.readers import scan, without_unreadable
from ..data.splits import split_examples
from ..data.stratify import assign_parts, strata_of, together
from ..data.texts import in_order
from ..errors import ConfigError, DataError, listing
from ..recipe import Recipe, task_for
from ..report.printed import Talk
from ..running.gather import find_pairs, joined, told_pairs
from ..tasks.base import Task
from ..tasks.options import Embed
from ..tasks.taxonomy import labels_for


@dataclass(frozen=True, kw_only=True)
class TrainingPart:
    """Examples to compare on; each can be read.

    Args:
        examples: n of them, whose groups are what must stay together.
        target: Their encoded targets.
        task: What their answers mean.
        metric: What orders.
        notes: What was decided and left out, a sentence each.
    """

    examples: Examples
    target: np.ndarray
    task: Task
    metric: str
    notes: tuple[str, ...]

    @property
    def units(self) -> list[Any] | None:
        """What must stay together: a name for each example, None for one that stands alone; None where all do."""
        groups = list(self.examples.table["group"])
        return groups if any(group is not None for group in groups) else None


def training_part(recipe: Recipe, *, most: int, in_chans: int, talk: Talk) -> TrainingPart:
    """Finds the examples that a fit of this recipe would learn from, or some of them.

    Of parts that the source gives it is the one for training, and nothing of the others is opened. Where none are
    given it is all but the test part that a fit takes with the same options, as long as both find the same copies.

    Args:
        recipe: Its backbone is not looked at.
        most: Draws about so many where there are more.
        in_chans: Channels that pictures are read with.
        talk: Shows how far it is.

    Raises:
        ConfigError: Options that do not fit the examples.
        DataError: Examples that cannot be used.
    """
    if isinstance(recipe.task, Embed):
        raise ConfigError(
            "Backbones are ranked by a linear head on their features, and an embedding has no classes for one. "
            "Expected ft.retrieval(ft.Backbone(NAME), SOURCE) of each: how well its features find what is alike."
        )
    data, seed = recipe.data, recipe.plan.seed
    examples = read_examples(data)
    options = task_for(recipe.task, examples.kind)
    told = list(examples.notes)
    examples, given = _given(examples)
    told += given

    # Copies first: they must stay on one side of all that follows.
    looks, note = None, None
    if data.copies != "ignore":
        with talk.bar("reading pictures", len(examples)) as moved:
            looks = Onlooker(examples, in_chans=in_chans).looks(progress=moved)
        readable, note = without_unreadable(examples, dict(looks.errors), data.on_corrupt)
        looks = looks.take([row for row in range(len(examples)) if row not in looks.errors])
        examples = readable
    pairs = find_pairs(examples, looks, data, in_chans=in_chans, talk=talk)
    told += [*([note] if note else []), *told_pairs(pairs)]

    # Nothing of a test part; of very many a share; and no class of which nothing could be held out.
    clusters = joined(examples, pairs, data)
    if given:
        units = together(list(examples.table["group"]), clusters)
        examples = replace(examples, table=examples.table.assign(group=pd.Series(units, dtype="object")))
    else:
        examples, note = _without_test(examples, recipe, clusters)
        told.append(note)
    examples, drawn = _sample(examples, most, seed)
    note = None
    if looks is None:
        with talk.bar("reading pictures", len(examples)) as moved:
            examples, note = without_unreadable(examples, scan(examples, in_chans, progress=moved), data.on_corrupt)
    examples, lone = _tellable(examples)
    told += [*drawn, *([note] if note else []), *lone]

    labels = labels_for(options, examples.kind, examples.targets)
    task = options.build(labels, examples.targets)
    return TrainingPart(
        examples=examples, target=labels.encode(examples.targets), task=task,
        metric=task.check_monitor(recipe.plan.monitor), notes=tuple(told),
    )  # fmt: skip


def _given(examples: Examples) -> tuple[Examples, list[str]]:
    """Of given parts the one for training; all of them, and no note, where no other part is given.

    Raises:
        DataError: There are parts, and none is for training.
    """
    parts = examples.table["split"].to_numpy(dtype=object)
    have = sorted({str(part) for part in parts if part is not None})
    if have in ([], ["train"]):
        return examples, []
    rows = np.flatnonzero(parts == "train")
    if not len(rows):
        raise DataError(f"No example is for training: the given parts are {listing(have)}. Expected a train part.")
    note = f"Ranked on the given training part alone; the {len(examples) - len(rows)} other examples were not opened."
    return examples.take(rows), [note]


def _without_test(examples: Examples, recipe: Recipe, clusters: np.ndarray) -> tuple[Examples, str]:
    """All but the test part that a fit with these options would take, with what must stay together as groups."""
    data = recipe.data
    splits = split_examples(
        examples, validation=data.validation, test=data.test, seed=recipe.plan.seed, clusters=clusters,
        order=data.order, stretches=data.stretches, gap=data.gap,
    )  # fmt: skip
    rows = np.flatnonzero((splits.part == "train") | (splits.part == "validation"))
    left = int((splits.part == "test").sum())
    note = (
        f"The test part that fit takes with seed {recipe.plan.seed} was left out: {left} of {len(examples)} examples."
        if left else "There is no test part to leave out: figures that fit measures on these examples flatter the best."
    )  # fmt: skip
    return splits.units_of(examples).take(rows), note


def _sample(examples: Examples, most: int, seed: int) -> tuple[Examples, list[str]]:
    """About `most` of the examples, with their mix of targets, and groups whole."""
    if len(examples) <= most:
        return examples, []
    # In the order of their names, so that the order of files decides nothing.
    order = in_order(examples.table["id"])
    targets, units = list(examples.table["target"].iloc[order]), list(examples.table["group"].iloc[order])
    strata = strata_of(targets, examples.kind, np.random.default_rng(seed))
    share = most / len(examples)
    place = assign_parts(strata, units, [share, 1 - share], np.random.default_rng(seed))
    kept = np.sort(order[place == 0])
    return examples.take(kept), [f"{len(kept)} of {len(examples)} examples were drawn; --most takes more."]


def _tellable(examples: Examples) -> tuple[Examples, list[str]]:
    """Without classes of which none can be held out while another is learned from.

    Raises:
        DataError: Too little is left to tell anything apart.
    """
    units = [name if name is not None else row for row, name in enumerate(examples.table["group"])]
    few = "There are too few examples to rank on, copies and groups counted once: expected 2 of each of two classes."
    if examples.kind != "class":
        if len(set(units)) < 2:
            raise DataError(few)
        return examples, []
    seen: dict[Any, set[Any]] = {}
    for target, unit in zip(examples.targets, units, strict=True):
        seen.setdefault(target, set()).add(unit)
    lone = sorted(name for name, some in seen.items() if len(some) < 2)
    if len(seen) - len(lone) < 2:
        raise DataError(few)
    if not lone:
        return examples, []
    kept = [row for row, target in enumerate(examples.targets) if target not in lone]
    return examples.take(kept), [f"Left out, with one example to rank on: {listing(lone, 5)}."]
