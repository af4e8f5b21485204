"""The examples of a run, as it read them and divided them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .data.addresses import is_remote, printable
from .data.examples import Examples, read_examples
from .data.hub_sets import is_hub_set
from .data.splits import read_splits
from .errors import DataError, FinetuneError, RunFolderError
from .folder import RECIPE, SPLITS
from .recipe import read_recipe
from .types import Part


def run_part(
    folder: Path, parts: Sequence[Part] = ("train",), *, instead: str
) -> tuple[Examples, np.ndarray, list[str]]:
    """All examples of a run, the rows of one of its parts as splits.csv has them, and notes.

    Args:
        folder: The run folder.
        parts: Of these the first that there was.
        instead: What the user can do where they are not known.

    Raises:
        DataError: They are not there any more, or were in memory.
        RunFolderError: It is no run folder.
    """
    if not (folder / RECIPE).is_file() or not (folder / SPLITS).is_file():
        raise RunFolderError(
            f"{folder} does not say what the model learned from: {RECIPE} and {SPLITS} are expected there. {instead}"
        )
    data = read_recipe(folder).data
    if isinstance(data.source, Mapping):
        raise DataError(
            f"The model learned from pictures in memory (a {data.source.get('in_memory', 'source')}), which are not "
            f"kept. {instead}"
        )
    recorded = read_splits(folder / SPLITS)
    part = next((part for part in parts if (recorded["split"] == part).any()), parts[0])
    named = set(recorded["source"][recorded["split"] == part])
    try:
        examples = read_examples(data, for_training=False)
    except DataError as error:
        error.add_note(f"The run had its pictures from there. {instead}")
        raise
    rows = np.flatnonzero([name in named for name in examples.table["id"]])
    what = {"train": "training", "validation": "validation", "test": "test"}[part]
    if not len(rows):
        raise DataError(
            f"None of the {len(named)} {what} pictures that {folder / SPLITS} names is in "
            f"{printable(str(data.source))} any more. {instead}"
        )
    gone = len(named) - len(rows)
    return examples, rows, [f"{gone} of {len(named)} {what} pictures are not there any more."] if gone else []


def learned_from(run: Path) -> tuple[Examples | None, str | None]:
    """The training part of a run as it is listed, and a note where its source is not there any more.

    Returns:
        None where that cannot be known here, or only by a download.
    """
    folder = run if (run / RECIPE).is_file() else run.parent
    try:
        data = read_recipe(folder).data
        if is_hub_set(data.source) or is_remote(data.source) or is_remote(data.root):
            return None, None
        if isinstance(data.source, str | Path) and not Path(data.source).exists():
            return None, (f"Whether the model learned from some of these pictures is not known: its own, "
                          f"{printable(str(data.source))}, are not there any more.")  # fmt: skip
        examples, rows, _ = run_part(folder, instead="")
    except FinetuneError:
        return None, None
    return examples.take(rows), None
