"""predictions.csv: what a model answered of each example whose answer is known, so that figures need no pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .data.examples import COLUMNS, Examples
from .errors import RunFolderError
from .folder import PREDICTIONS
from .predict import Answers, as_table, beside_ours, write_table
from .tasks.base import Task
from .tasks.decisions import Decisions

if TYPE_CHECKING:
    import pandas as pd

OWN = ("part", "path", "label", "target", "group")


@dataclass(frozen=True)
class Predicted:
    """What a table of predictions says of one part.

    Args:
        paths: (N,) where the pictures are.
        answer: (N, K) probabilities, or (N, 1) numbers.
        target: (N,) or (N, K) encoded targets.
        groups: (N,) what belongs together, or None for an example.
    """

    paths: list[str]
    answer: np.ndarray
    target: np.ndarray
    groups: list[Any]


def as_predictions(task: Task, parts: Mapping[str, tuple[Examples, np.ndarray]], decisions: Decisions) -> pd.DataFrame:
    """The columns part, path, label, target, one a class, group, and every other column of the source.

    Args:
        task: Says what the answers mean.
        parts: The examples of each part and the (N, K) calibrated answers to them.
        decisions: Those of the model, by whose thresholds the label is told.
    """
    import pandas as pd

    tables = []
    for part, (examples, answer) in parts.items():
        found = Answers(answer, np.arange(len(examples)), {})
        table = as_table(task, examples, found, own=OWN, words=decisions.name(task, answer)).drop(columns="error")
        table.insert(0, "part", part)
        table.insert(3, "target", [_cell(target) for target in examples.targets])
        table["group"] = list(examples.table["group"])
        extra = examples.table.drop(columns=[name for name in COLUMNS if name in examples.table])
        taken = set(table.columns)
        extra = extra.rename(columns={name: f"{name} (column)" for name in extra.columns if name in taken})
        tables.append(pd.concat([table, extra.reset_index(drop=True)], axis=1))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(OWN))


def _cell(target: Any) -> Any:
    return "|".join(target) if isinstance(target, tuple) else target


def write_predictions(folder: Path, table: pd.DataFrame) -> None:
    """Writes predictions.csv into a folder.

    Raises:
        RunFolderError: It cannot be written.
    """
    write_table(table, str(folder / PREDICTIONS))


def read_predictions(folder: Path, task: Task) -> dict[str, Predicted]:
    """What the predictions of a run say of each part.

    Args:
        folder: The run folder.
        task: What its answers mean.

    Raises:
        RunFolderError: There is no such table, or it is not that of this model.
    """
    import pandas as pd

    file = folder / PREDICTIONS
    if not file.is_file():
        raise RunFolderError(
            f"{file} is missing. Expected the folder of a finished run; `finetune evaluate {folder} SOURCE --out "
            f"{folder}-again` makes such a table anew."
        )
    names = [beside_ours(name, OWN) for name in task.labels.names]
    try:
        # As text: numbers then come back to the last digit, and a class called NA stays one.
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        return {str(part): _part(rows, names, task) for part, rows in table.groupby("part", sort=False)}
    except (ValueError, KeyError, OSError) as error:
        raise RunFolderError(f"{file} is no table of this model's predictions: {error}. Was it edited?") from error


def _part(rows: pd.DataFrame, names: list[str], task: Task) -> Predicted:
    kind = task.labels.kind
    columns = ["label"] if kind == "number" else names
    texts = list(rows["target"])
    known: list[Any] = texts
    if kind == "number":
        known = [float(text) for text in texts]
    elif kind == "labels":
        known = [tuple(filter(None, text.split("|"))) for text in texts]
    return Predicted(
        paths=list(rows["path"]),
        answer=rows[columns].to_numpy(np.float64),
        target=task.labels.encode(known),
        groups=[group or None for group in rows["group"]],
    )
