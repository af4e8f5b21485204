"""How good a model is on examples whose answers are known."""

from __future__ import annotations

from typing import Any

from .data.examples import read_examples
from .data.options import Data
from .data.readers import without_unreadable
from .errors import DataError
from .features import Progress
from .models.network import Network
from .predict import answers
from .report.intervals import Measured, measure
from .tasks.base import Task
from .types import PARTS

Metrics = dict[str, Measured]
"""A part's name to its metrics."""


def evaluate_on(
    network: Network,
    task: Task,
    data: Data,
    *,
    batch_size: int = 32,
    accelerator: str = "auto",
    progress: Progress | None = None,
    seed: int = 0,
) -> tuple[Metrics, tuple[str, ...]]:
    """Measures a model on a source.

    Args:
        network: The model.
        task: What its outputs mean.
        data: The examples. A source without parts answers under "test"; of one with parts, validation and test are
            measured, and train only where there is nothing else.
        batch_size: Pictures at a time.
        accelerator: "auto", "cpu", "gpu", ...
        progress: Is told of each batch.
        seed: Seeds the intervals.

    Returns:
        The metrics of each part, and notes on what was read.

    Raises:
        DataError: Examples that cannot be read, or whose targets this model does not know.
    """
    if data.kind == "auto":
        data = _of_kind(data, task)
    examples = read_examples(data, for_training=False)
    if examples.kind != task.labels.kind:
        raise DataError(
            f"The targets of this source are of kind {examples.kind!r}; this model answers with {task.labels.kind!r}. "
            "Name the column that holds the right target with --target."
        )
    task.labels.encode(examples.targets)  # unknown classes are refused before any picture is read
    given = {part: [i for i, s in enumerate(examples.table["split"]) if s == part] for part in PARTS}
    given = {part: rows for part, rows in given.items() if rows}
    if not given:
        given = {"test": list(range(len(examples)))}
    elif len(given) > 1:
        given.pop("train", None)
    asked = examples.take([row for rows in given.values() for row in rows])
    found = answers(network, task, asked, batch_size=batch_size, accelerator=accelerator, progress=progress)
    notes = list(examples.notes)
    if found.errors:
        asked, note = without_unreadable(asked, found.errors, data.on_corrupt)
        notes += [note] if note else []
    part_of = [part for part, rows in given.items() for _ in rows]
    parts = [part_of[row] for row in found.rows]
    target = task.labels.encode(asked.targets)
    groups = list(asked.table["group"])
    metrics: Metrics = {}
    for part in given:
        rows = [i for i, name in enumerate(parts) if name == part]
        if rows:
            own = [groups[i] for i in rows]
            metrics[part] = measure(task, found.answer[rows], target[rows], groups=own if any(own) else None, seed=seed)
    return metrics, tuple(notes)


def _of_kind(data: Data, task: Task) -> Any:
    """A source is read as the model's own kind: five different numbers are no classes to a model of numbers."""
    from dataclasses import replace

    return replace(data, kind=task.labels.kind)
