"""Pictures in, answers out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .crew import Crew, Progress
from .data.addresses import printable
from .data.examples import Examples
from .data.readers import Also
from .errors import ConfigError, DataError
from .features import Between, device_for, run_over
from .files import prove_writable, replacing, told_unwritable
from .models.network import Network
from .tasks.base import Task
from .tasks.classify import ClassifyTask
from .tasks.decisions import Decisions
from .tasks.taxonomy import Level

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answers:
    """What a model says of pictures.

    Args:
        answer: (n, K) probabilities or numbers of the pictures that could be read.
        rows: (n,) their rows among the examples.
        errors: Row to reason for the others.
    """

    answer: np.ndarray
    rows: np.ndarray
    errors: dict[int, str]


def answers(
    network: Network,
    task: Task,
    examples: Examples,
    *,
    batch_size: int = 32,
    accelerator: str = "auto",
    progress: Progress | None = None,
    also: Also | None = None,
    between: Between | None = None,
    crew: Crew | None = None,
) -> Answers:
    """The answers for all pictures, in the order of the table; the arguments are those of `run_over`."""
    found = run_over(network, examples, batch_size=batch_size, device=device_for(accelerator), progress=progress,
                     also=also, between=between, crew=crew)  # fmt: skip
    if not len(found.rows):
        return Answers(np.zeros((0, task.labels.num_outputs)), found.rows, found.errors)
    return Answers(task.answer(torch.from_numpy(found.values)), found.rows, found.errors)


def as_examples(inputs: Any) -> Examples:
    """Pictures without targets: one or many paths, folders and globs, or arrays and PIL pictures in memory.

    Raises:
        DataError: A folder or pattern without pictures, or an array that may be one picture or many.
    """
    import pandas as pd
    from PIL import Image

    from .data.examples import list_pictures

    if isinstance(inputs, Examples):
        return inputs
    asked = _listed(inputs)
    paths = [isinstance(item, str | os.PathLike) for item in asked]
    arrays: list[Any] | None = None
    if all(paths):
        sources = list_pictures(asked)
    elif any(paths):
        raise DataError("Paths and pictures in memory are mixed. Expected a list of one or of the other.")
    else:
        # PIL's pictures stay what they are: the reader knows their palettes and turns them upright.
        arrays = [item if isinstance(item, Image.Image) else np.asarray(item) for item in asked]
        sources = [f"array:{i}" for i in range(len(arrays))]
    table = pd.DataFrame({"id": sources, "source": sources, "target": None, "group": None, "split": None})
    return Examples(table=table, kind="class", arrays=arrays)


def _listed(inputs: Any) -> list[Any]:
    """What was asked for, an entry each; an array of height x width (x 1, 3 or 4 channels) is one picture."""
    from PIL import Image

    if isinstance(inputs, torch.Tensor):
        inputs = inputs.numpy(force=True)
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "USO":
        if inputs.ndim == 2 or (inputs.ndim == 3 and inputs.shape[2] in (1, 3, 4)):
            return [inputs]
        if inputs.ndim != 4:
            raise DataError(
                f"An array of shape {inputs.shape} is ambiguous: it may be one picture or many. Expected "
                "height x width (x 1, 3 or 4 channels), or a list of pictures; list(array) makes one."
            )
    if isinstance(inputs, str | os.PathLike | Image.Image) or not isinstance(inputs, Iterable):
        return [inputs]
    return list(inputs)


OWN = ("path", "label", "error")


def beside_ours(name: str, own: Sequence[str]) -> str:
    """A column's name for a class, which may be called like one of our own columns."""
    return name if name not in own else f"{name} (class)"


def as_table(
    task: Task, examples: Examples, found: Answers, *, own: Sequence[str] = OWN,
    words: Sequence[str | float] | None = None, more: Mapping[str, Sequence[Any]] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The columns path, label, one a class (its probability), `more`, error; a row a picture in the order asked.

    Args:
        task: Says what the answers mean.
        examples: The pictures.
        found: The answers.
        own: The columns that the table has, or will have, beside those of the classes.
        words: What each answer is called, where it is not the likeliest.
        more: Further columns, an entry an answer.
    """
    import pandas as pd

    n = len(examples)
    names = list(task.labels.names)
    numbers = np.full((n, len(names)), np.nan)
    label: list[Any] = [None] * n
    named = words if words is not None else task.name(found.answer) if len(found.rows) else []
    for row, word in zip(found.rows, named, strict=True):
        label[row] = word
    if names and len(found.rows):
        numbers[found.rows] = found.answer
    columns: dict[str, Any] = {"path": [printable(source) for source in examples.table["source"]], "label": label}
    for k, name in enumerate(names):
        columns[beside_ours(name, (*own, *(more or {})))] = numbers[:, k]
    for name, values in (more or {}).items():
        column: list[Any] = [None] * n
        for row, value in zip(found.rows, values, strict=True):
            column[row] = value
        columns[name] = column
    columns["error"] = [found.errors.get(row, "") for row in range(n)]
    # Made at once: added one by one, a hundred columns and more are moved again and again, and pandas warns.
    return pd.DataFrame(columns)


def as_decided(
    task: Task, examples: Examples, found: Answers, decisions: Decisions, *, prior: Mapping[str, float] | None = None,
    level: int | None = None, own: Sequence[str] = OWN,
) -> pd.DataFrame:  # fmt: skip
    """The same with a model's decisions: calibrated, by thresholds, and with sets or intervals where there are any.

    Sets are not told at another prior: that they hold the right class as often as they say is known of examples as
    frequent as the held-out ones alone. Thresholds decide by the answers at the old one, which is what moving them
    along with the frequencies comes to.

    Args:
        task: Says what the answers mean.
        examples: The pictures.
        found: The answers as the network gives them.
        decisions: Those of the model.
        prior: How frequent some classes are where the pictures are from.
        level: Answers with the nodes of this level of the taxonomy alone; no threshold of a class is for those, and
            sets and abstaining are the level's own.
        own: As for `as_table`.

    Raises:
        ConfigError: A prior of no class, or one that cannot be; a level that there is not.
    """
    even = decisions.calibrated(task, found.answer) if len(found.rows) else found.answer
    shown = decisions.at_prior(task, even, prior) if prior else even
    if level is not None:
        asked, nodes = level_of(task, level)
        below, sums = decisions.at_level(level), replace(found, answer=shown @ nodes.matrix)
        beside = _decided(nodes.names, below, even @ nodes.matrix) if below.coverage is None or not prior else {}
        return as_table(asked.of_level(nodes), examples, sums, more=beside)
    words = decisions.name(task, even, shown) if len(found.rows) else []
    more: dict[str, Sequence[Any]] = {}
    if decisions.coverage is not None and task.labels.kind == "number":
        limit = np.inf if decisions.limit is None else decisions.limit
        more = {"low": (even[:, 0] - limit).tolist(), "high": (even[:, 0] + limit).tolist()}
    elif decisions.coverage is None or not prior:
        more = _decided(task.labels.names, decisions, even)
    if isinstance(task, ClassifyTask) and (tree := task.taxonomy) is not None:
        sums = shown @ tree.matrix(tree.inner)
        taken = (*own, *task.labels.names, *more)
        more |= {f"{name} (node)" if name in taken else name: sums[:, k] for k, name in enumerate(tree.inner)}
    return as_table(task, examples, replace(found, answer=shown), words=words, more=more, own=own)


def _decided(names: Sequence[str], decisions: Decisions, even: np.ndarray) -> dict[str, Sequence[Any]]:
    """The columns that sets of classes, or abstaining, add to calibrated answers."""
    if decisions.coverage is not None:
        held, named = decisions.sets(even), np.array(names, dtype=object)
        return {"set": ["|".join(named[row]) for row in held], "abstained": (held.sum(axis=1) != 1).tolist()}
    return {} if decisions.answered is None else {"abstained": decisions.abstained(even).tolist()}


def level_of(task: Task, level: int) -> tuple[ClassifyTask, Level]:
    """The task with its taxonomy, and the level of it that a number means.

    Raises:
        ConfigError: There is no taxonomy, or no such level.
    """
    if not isinstance(task, ClassifyTask) or task.taxonomy is None:
        raise ConfigError(
            f"A level, {level}, was asked for, and this model knows no taxonomy. Expected one fitted with --taxonomy."
        )
    return task, task.taxonomy.at(level)


def as_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table of answers as plain values with all their digits; None where there is no answer."""
    plain = table.astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in plain.where(table.notna(), None).to_dict("records")
    ]


def write_table(table: pd.DataFrame, out: str | None) -> None:
    """Writes a table of answers as CSV to a file, whole or not at all, or to standard output.

    Raises:
        RunFolderError: The file cannot be written.
    """
    text = table.to_csv(index=False)
    if out is None:
        sys.stdout.write(text)
        return
    with told_unwritable(out), replacing(Path(out).absolute()) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_table_file(out: str | None) -> None:
    """Refuses a file that no table of answers can be written to, before anything is answered.

    Raises:
        RunFolderError: The file cannot be written.
    """
    if out is not None:
        with told_unwritable(out):
            prove_writable(Path(out))
