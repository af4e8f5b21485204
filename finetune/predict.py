"""Pictures in, answers out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .data.examples import Examples
from .errors import RunFolderError
from .features import Progress, device_for, run_over
from .files import replacing
from .models.network import Network
from .tasks.base import Task

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
) -> Answers:
    """The answers for all pictures, in the order of the table."""
    found = run_over(network, examples, batch_size=batch_size, device=device_for(accelerator), progress=progress)
    if not len(found.rows):
        return Answers(np.zeros((0, task.labels.num_outputs)), found.rows, found.errors)
    return Answers(task.answer(torch.from_numpy(found.values)), found.rows, found.errors)


def as_examples(inputs: Any) -> Examples:
    """Pictures without targets: paths, folders and globs, or arrays in memory."""
    import pandas as pd

    from .data.examples import list_pictures

    if isinstance(inputs, str) or not isinstance(inputs, Sequence | np.ndarray):
        inputs = [inputs]
    arrays: list[np.ndarray] | None = None
    if len(inputs) and not isinstance(inputs[0], str) and not hasattr(inputs[0], "__fspath__"):
        arrays = [np.asarray(picture) for picture in inputs]
        sources = [f"array:{i}" for i in range(len(arrays))]
    else:
        sources = list_pictures(list(inputs))
    table = pd.DataFrame({"id": sources, "source": sources, "target": None, "group": None, "split": None})
    return Examples(table=table, kind="class", arrays=arrays)


def as_table(task: Task, examples: Examples, found: Answers) -> pd.DataFrame:
    """The columns path, label, one a class (its probability), error; a row for each picture in the order asked."""
    import pandas as pd

    n = len(examples)
    names = list(task.labels.names)
    numbers = np.full((n, len(names)), np.nan)
    label: list[Any] = [None] * n
    for row, word in zip(found.rows, task.name(found.answer) if len(found.rows) else [], strict=True):
        label[row] = word
    if names and len(found.rows):
        numbers[found.rows] = found.answer
    table = pd.DataFrame({"path": examples.table["source"], "label": label})
    for k, name in enumerate(names):
        # A class may be called like one of our own columns.
        table[name if name not in ("path", "label", "error") else f"{name} (class)"] = numbers[:, k]
    table["error"] = [found.errors.get(row, "") for row in range(n)]
    return table


def write_table(table: pd.DataFrame, out: str | None) -> None:
    """Writes a table of answers as CSV to a file, whole or not at all, or to standard output.

    Raises:
        RunFolderError: The file cannot be written.
    """
    text = table.to_csv(index=False)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        with replacing(Path(out).absolute()) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"The answers cannot be written to {out}: {error.strerror}. Choose another --out."
        ) from error
