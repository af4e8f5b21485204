"""Is one model better than another? The difference of every metric on the same examples, with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .data.options import Data
from .embedded import refuse_points
from .errors import DataError, RunFolderError, listing
from .evaluate import examples_for
from .folder import MODEL, read_json
from .predictions import Predicted, read_predictions
from .report.intervals import difference, measure
from .saved import task_of
from .tasks.base import Task
from .tasks.metric_names import FURTHER, HIGHER_IS_BETTER


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same examples.

    Args:
        part: The part that both were measured on.
        n: How many examples it has.
        groups: How many units they are, where some belong together; groups are drawn whole.
        first: Each metric of the first model, with its interval.
        second: The same of the second.
        difference: Second minus first, with its paired interval.
    """

    part: str
    n: int
    groups: int
    first: dict[str, Any]
    second: dict[str, Any]
    difference: dict[str, Any]

    def verdict(self, metric: str) -> str:
        """Which is better, as the interval of the difference says it: "second", "first" or "unclear"."""
        figure = self.difference[metric]
        if figure["low"] is None or figure["low"] <= 0 <= figure["high"]:
            return "unclear"
        higher = (HIGHER_IS_BETTER | FURTHER)[metric]
        return "second" if (figure["value"] > 0) == higher else "first"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values, each metric with its verdict."""
        figures = {
            name: {"first": self.first[name], "second": self.second[name], "difference": figure,
                   "verdict": self.verdict(name)}
            for name, figure in self.difference.items()
        }  # fmt: skip
        return {"part": self.part, "n": self.n, "groups": self.groups, "figures": figures}


def compare(
    first: str | Path, second: str | Path, source: Any = None, *, part: str = "test", batch_size: int = 32,
    accelerator: str = "auto", seed: int = 0, say: Callable[[str], None] | None = None, **options: Any,
) -> Comparison:  # fmt: skip
    """Puts two runs beside each other.

    Both are resampled together, by group where there are groups, so that examples which are hard for both do not
    count as uncertainty.

    Args:
        first: A run folder.
        second: Another; differences are its figures minus those of the first.
        source: Examples to measure both on, as for `fit`; without it, the recorded answers of the two runs to the part.
        part: "test" or "validation".
        batch_size: Pictures at a time.
        accelerator: "auto", "cpu", "gpu", ...
        seed: Seeds the intervals.
        say: Is told what was inferred of the source, a sentence each.
        options: Those of `Data`, where there is a source.

    Raises:
        RunFolderError: A folder that holds no run, or no recorded answers.
        DataError: The runs answer in other words, or were not measured on the same examples.
    """
    folders = Path(first), Path(second)
    tasks = [_task(folder) for folder in folders]
    _check_words(folders, tasks)
    if source is not None:
        data = source if isinstance(source, Data) else Data(source=source, **options)
        examples_for(tasks[0], data)  # refused before any weights are read
        found = [_answered(folder, data, part, batch_size, accelerator, seed, say) for folder in folders]
    else:
        found = [_recorded(folder, task, part) for folder, task in zip(folders, tasks, strict=True)]
    one, other = _aligned(folders, found, part, source is not None)
    task = tasks[0]
    known: list[Any] = [a or b for a, b in zip(one.groups, other.groups, strict=True)]
    groups = known if any(known) else None
    words: dict[str, Any] = {"groups": groups, "seed": seed, "whole": True}
    return Comparison(
        part=part, n=len(one.paths), groups=len(one.paths) if groups is None else len(set(map(str, groups))),
        first=measure(task, one.answer, one.target, **words), second=measure(task, other.answer, one.target, **words),
        difference=difference(task, other.answer, one.answer, one.target, **words),
    )  # fmt: skip


def _task(folder: Path) -> Task:
    inside = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not inside.is_dir():
        raise RunFolderError(f"There is no run folder {folder}. Expected one that `finetune fit --out` made.")
    file = inside / "finetune.json"
    return task_of(read_json(file), file)


def _check_words(folders: tuple[Path, Path], tasks: list[Task]) -> None:
    for task in tasks:
        refuse_points(task, "compare")
    one, other = (task.labels for task in tasks)
    if (one.kind, one.names) != (other.kind, other.names):
        raise DataError(
            f"The two runs answer different questions: {folders[0]} with {one}, {folders[1]} with {other}. Expected "
            "two runs with the same classes, or two of a number."
        )


def _answered(
    folder: Path, data: Data, part: str, batch_size: int, accelerator: str, seed: int,
    say: Callable[[str], None] | None,
) -> Predicted:  # fmt: skip
    """What a run answers to a source, by way of the table that it would write."""
    import tempfile

    from .model import load

    model = load(folder)
    with tempfile.TemporaryDirectory() as place:
        inside = Path(place) / "measured"
        model.evaluate(data, batch_size=batch_size, accelerator=accelerator, seed=seed, say=say, out=inside)
        return _of_part(read_predictions(inside, model.task), part, folder)


def _recorded(folder: Path, task: Task, part: str) -> Predicted:
    return _of_part(read_predictions(folder, task), part, folder)


def _of_part(parts: dict[str, Predicted], part: str, folder: Path) -> Predicted:
    if part not in parts:
        raise DataError(
            f"{folder} has no answers to a {part} part; it has {listing(list(parts)) or 'none'}. Expected one that "
            "both runs were measured on: name another with --part, or give a source to measure both on."
        )
    return parts[part]


def _aligned(
    folders: tuple[Path, Path], found: list[Predicted], part: str, measured: bool
) -> tuple[Predicted, Predicted]:
    """Both in the order of the first, where they are of the same examples with the same targets."""
    one, other = found
    places = {path: row for row, path in enumerate(other.paths)}
    both = [path for path in one.paths if path in places]
    if len(both) != len(one.paths) or len(both) != len(other.paths):
        hint = "" if measured else " Give a source to measure both on, or fit both with --recipe of one of them."
        raise DataError(
            f"The two runs were not measured on the same examples: the {part} part of {folders[0]} has "
            f"{len(one.paths)}, that of {folders[1]} has {len(other.paths)}, and {len(both)} are in both. Expected "
            f"the same ones.{hint}"
        )
    rows = np.array([places[path] for path in one.paths])
    other = Predicted(
        paths=one.paths, answer=other.answer[rows], target=other.target[rows], groups=[other.groups[r] for r in rows]
    )
    odd = [one.paths[i] for i in range(len(rows)) if not np.array_equal(one.target[i], other.target[i])]
    if odd:
        raise DataError(
            f"{len(odd)} of {len(rows)} examples have another target in {folders[1]} than in {folders[0]}: "
            f"{listing(odd)}. Expected the same answers to be right for both."
        )
    return one, other
