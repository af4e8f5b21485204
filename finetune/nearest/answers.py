"""The nearest training pictures beside answers: what a model may have had in mind, for a person to compare with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.examples import Examples
from ..data.labels import Labels
from ..features import Values, features, run_over
from ..models.network import Network
from .index import index_of, vectors_of
from .nearby import Query, nearest_to
from .neighbours import known_index

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("neighbours", "neighbour_labels", "agreeing")
SEPARATOR = "; "

MOST_KNOWN = 2000
"""Training pictures beyond which their features are not computed for a report alone. Of MobileNet v2 it takes 13 ms of
a processor each (243 pictures, 3.1 s), where a default fit takes 170 s."""


@dataclass
class Overheard:
    """The vectors of pictures that a pass over them comes by, for `run_over`."""

    rows: list[np.ndarray] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)

    def __call__(self, rows: np.ndarray, values: torch.Tensor) -> None:
        """Takes down a batch."""
        self.rows.append(rows)
        self.vectors.append(vectors_of(values.float().cpu().numpy()))


def with_neighbours(
    table: pd.DataFrame, network: Network, examples: Examples, heard: Overheard, run: Path, *, k: int,
    labels: Labels, batch_size: int = 32, device: torch.device | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A table of answers with the columns neighbours (files), neighbour_labels, and, but for numbers, agreeing.

    `agreeing` is the share of the neighbours whose label is the one that was answered: all labels alike, where there
    may be several.

    Args:
        table: With the column label, a row an example.
        network: That answered.
        examples: The pictures.
        heard: Their vectors, where they could be read.
        run: The run folder, whose training part is searched.
        k: How many neighbours, 1 or more.
        labels: What the answers are called, and which finer names stand for one of them.
        batch_size: Pictures at a time, where those that are searched have to be read.
        device: Where to compute.

    Raises:
        DataError: The training pictures are not there any more.
        RunFolderError: The run does not say what it learned from.
    """
    index, _, _ = known_index(network, run, batch_size=batch_size, device=device)
    queries: list[Query] = []
    if heard.rows:
        rows, vectors = np.concatenate(heard.rows), np.concatenate(heard.vectors)
        queries = nearest_to(index, examples, rows, vectors, k=k, in_chans=network.spec.in_chans)
    columns: dict[str, list[Any]] = {
        name: [None] * len(table) for name in COLUMNS[: 2 if labels.kind == "number" else 3]
    }
    answered = list(table["label"])
    for query in queries:
        theirs = [labels.merged.get(one.label, one.label) for one in query.neighbours]
        columns["neighbours"][query.row] = SEPARATOR.join(one.file for one in query.neighbours)
        columns["neighbour_labels"][query.row] = SEPARATOR.join(theirs)
        if "agreeing" in columns and theirs:
            given = set(str(answered[query.row]).split("|")) if labels.kind == "labels" else {str(answered[query.row])}
            alike = [(set(label.split("|")) if labels.kind == "labels" else {label}) == given for label in theirs]
            columns["agreeing"][query.row] = sum(alike) / len(alike)
    found = table.copy()
    for name, values in columns.items():
        found.insert(list(found.columns).index("error"), name, values)
    return found


@dataclass(frozen=True, kw_only=True)
class TaughtBy:
    """What a model learned from.

    Args:
        rows: (n,) rows of the examples that are its training part.
        features: Those of the model for all examples, where they are known.
    """

    rows: np.ndarray
    features: Values | None = None

    @property
    def affordable(self) -> bool:
        """Whether neighbours among them cost little enough to be shown unasked."""
        return self.features is not None or len(self.rows) <= MOST_KNOWN


def near_rows(
    network: Network, examples: Examples, rows: np.ndarray, taught: TaughtBy, *, k: int, batch_size: int = 32,
    device: torch.device | None = None,
) -> dict[int, list[tuple[int, float]]]:  # fmt: skip
    """The rows of the training part that are nearest to some rows of the same examples, with their cosine.

    Args:
        network: Whose features count.
        examples: All examples, each of which can be read.
        rows: Those asked about.
        taught: The training part.
        k: How many each.
        batch_size: Pictures at a time, where features are not known.
        device: Where to compute.
    """
    train, asked = examples.take(taught.rows), examples.take(rows)
    if taught.features is not None:
        known, mine = taught.features.of(taught.rows), taught.features.of(rows)
    else:
        known = features(network, train, batch_size=batch_size, device=device)
        mine = run_over(network, asked, what="features", batch_size=batch_size, device=device)
    index = index_of(network, train, known=known)
    if not len(index.examples) or not len(mine.rows):
        return {}
    kept = taught.rows[known.rows]
    found = nearest_to(index, asked, mine.rows, vectors_of(mine.values), k=k, in_chans=network.spec.in_chans)
    return {int(rows[query.row]): [(int(kept[one.row]), one.similarity) for one in query.neighbours]
            for query in found}  # fmt: skip
