"""How good a model is on examples whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .crew import Progress
from .data.columns import LOOKED_AT, check_columns, columns_of
from .data.examples import Examples, read_examples
from .data.looks import Looks, Onlooker
from .data.options import Data
from .data.readers import without_unreadable
from .data.same_files import same_files
from .embedded import Points, judge_points, told_points
from .errors import DataError, RunFolderError
from .folder import METRICS, PREDICTIONS
from .models.network import Network
from .predict import answers
from .predictions import as_predictions
from .report.baselines import MOST_COMPARED, baselines
from .report.decided import told_of
from .report.judged import Seen, judge
from .report.slices import sliced
from .tasks.base import Task
from .tasks.decisions import Decisions
from .tasks.embed import EmbedTask
from .types import PARTS

if TYPE_CHECKING:
    import pandas as pd

Metrics = dict[str, Any]
"""What metrics.json holds: a part's name to its metrics, and beside the parts what else is told of them."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What was found on a source.

    Args:
        metrics: The figures of each part, as from `report.judged.judge`.
        predictions: The answers, as predictions.csv holds them.
        notes: On what was read.
    """

    metrics: Metrics
    predictions: pd.DataFrame
    notes: tuple[str, ...]


def evaluate_on(
    network: Network,
    task: Task,
    data: Data,
    *,
    decisions: Decisions,
    batch_size: int = 32,
    accelerator: str = "auto",
    progress: Progress | None = None,
    seed: int = 0,
    learned_from: Examples | None = None,
) -> Evaluated:
    """Measures a model on a source.

    Args:
        network: The model.
        task: What its outputs mean.
        data: The examples. A source without parts answers under "test"; of one with parts, validation and test are
            measured, and train only where there is nothing else.
        decisions: What its answers are calibrated and decided by.
        batch_size: Pictures at a time.
        accelerator: "auto", "cpu", "gpu", ...
        progress: Is told of each batch.
        seed: Seeds the intervals.
        learned_from: What the model learned from, where that is known: how many of the examples are among it is told.

    Raises:
        DataError: Examples that cannot be read, or whose targets this model does not know.
    """
    asked, part_of, notes = examples_for(task, data)
    again = same_files(asked, learned_from) if learned_from is not None else np.zeros(len(asked), bool)
    check_columns(asked, data.by)
    onlooker = Onlooker(asked, in_chans=network.spec.in_chans)
    found = answers(network, task, asked, batch_size=batch_size, accelerator=accelerator, progress=progress,
                    also=onlooker)  # fmt: skip
    looks = onlooker.looks(errors=found.errors)
    if found.errors:
        asked, note = without_unreadable(asked, found.errors, data.on_corrupt)
        notes += [note] if note else []
        looks, again = looks.take(found.rows), again[found.rows]
    part_of = [part_of[row] for row in found.rows]
    rows = {part: np.flatnonzero([name == part for name in part_of]) for part in dict.fromkeys(part_of)}
    counts = {part: int(again[own].sum()) for part, own in rows.items() if again[own].any()}
    again_told: Metrics = {"learned_from": counts} if counts else {}
    if isinstance(task, EmbedTask):
        points = {
            part: Points(examples=asked.take(own), answer=found.answer[own], looks=looks.take(own))
            for part, own in rows.items()
        }
        metrics, table = judge_points(points, learned=task.labels.names, seed=seed)
        notes += told_points(metrics, task.metrics[0])
        return Evaluated(metrics=metrics | again_told, predictions=table, notes=tuple(notes))
    target, groups = task.labels.encode(asked.targets), np.array(asked.table["group"], dtype=object)
    seen, even = {}, {}
    for part, own in rows.items():
        together = list(groups[own])
        seen[part] = Seen(answer=found.answer[own], target=target[own], groups=together if any(together) else None)
        even[part] = replace(seen[part], answer=decisions.calibrated(task, found.answer[own]))
    metrics = judge(task, even, seed=seed) | told_of(task, decisions, seen, even, seed=seed)
    if learned_from is not None:
        known = None if again.any() else looks
        metrics |= _beside(network, task, {part: (rows[part], one) for part, one in even.items()}, target, known,
                           learned_from, seed)  # fmt: skip
    columns = columns_of(asked, looks, list(dict.fromkeys((*LOOKED_AT, *data.by))))
    return Evaluated(
        metrics=metrics | sliced(task, even, columns, rows, seed=seed) | again_told,
        predictions=as_predictions(task, {p: (asked.take(rows[p]), one.answer) for p, one in even.items()}, decisions),
        notes=tuple(notes),
    )


def _beside(
    network: Network, task: Task, parts: Mapping[str, tuple[np.ndarray, Seen]], target: np.ndarray,
    looks: Looks | None, learned: Examples, seed: int,
) -> Metrics:  # fmt: skip
    """What naive answers that learned from the training part are worth on the same examples.

    Args:
        network: Says how many channels a picture has.
        task: Says what the answers mean.
        parts: Of each part the rows of its examples, and what the model answered.
        target: The encoded targets of all examples.
        looks: Of the same; None where a nearest picture would be the picture itself.
        learned: The training part.
        seed: Seeds the intervals.
    """
    try:
        before = task.labels.encode(learned.targets)
    except DataError:  # the source was relabelled since: it does not say any more what was learned
        return {}
    count = len(learned)
    train, thumbnails = np.arange(count), None
    if looks is not None and count <= MOST_COMPARED:
        known = Looks.of(learned, in_chans=network.spec.in_chans)
        train, thumbnails = np.flatnonzero(known.read), np.concatenate([known.thumbnail, looks.thumbnail])
    return baselines(
        task, {part: (rows + count, seen) for part, (rows, seen) in parts.items()}, train=train,
        target=np.concatenate([before, target]), thumbnails=thumbnails, probe={},
        seed=seed,
    )  # fmt: skip


def examples_for(task: Task, data: Data) -> tuple[Examples, list[str], list[str]]:
    """The examples of a source that a model is measured on, the part of each, and notes on what was read.

    Raises:
        DataError: The targets are not of the model's kind, or none that it knows.
    """
    if data.kind == "auto":
        # A source is read as the model's own kind: five different numbers are no classes to a model of numbers.
        data = replace(data, kind=task.labels.kind)
    examples = read_examples(data, for_training=False)
    if examples.kind != task.labels.kind:
        raise DataError(
            f"The targets of this source are of kind {examples.kind!r}; this model answers with {task.labels.kind!r}. "
            "Name the column that holds the right target with --target."
        )
    if not isinstance(task, EmbedTask):  # to which classes that nobody has seen are what it is for
        task.labels.encode(examples.targets)  # unknown classes are refused before any picture is read
    given = {part: [i for i, s in enumerate(examples.table["split"]) if s == part] for part in PARTS}
    kept: dict[str, list[int]] = {part: rows for part, rows in given.items() if rows}
    if not kept:
        kept = {"test": list(range(len(examples)))}
    elif len(kept) > 1:
        kept.pop("train", None)
    asked = examples.take([row for rows in kept.values() for row in rows])
    return asked, [part for part, rows in kept.items() for _ in rows], list(examples.notes)


def check_free(folder: Path) -> None:
    """Refuses a folder in which figures would replace others, before anything is read.

    Raises:
        RunFolderError: It holds metrics.json or predictions.csv, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"--out {folder} is a file. Expected a folder for {METRICS} and {PREDICTIONS}.")
    there = [name for name in (METRICS, PREDICTIONS) if (folder / name).exists()]
    if there:
        raise RunFolderError(f"{folder} holds {' and '.join(there)} already, perhaps of a run. Choose another --out.")
