"""The pictures that a network finds most like others: product search, and what an answer may rest on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..crew import Progress
from ..data.addresses import printable
from ..data.bare import bare_pictures
from ..data.examples import Examples, read_examples
from ..data.folders import walk
from ..data.options import Data
from ..errors import ConfigError, DataError
from ..features import device_for, features, kept_features
from ..files import replacing, told_unwritable
from ..folder import NEIGHBOURS, RECIPE
from ..models.network import Network
from ..predict import as_examples, write_table
from ..run_examples import run_part
from .index import Index, compared, index_of
from .nearby import Query, nearest_to

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest known pictures of some pictures.

    Args:
        queries: One a picture in the order asked.
        pictures: How many were searched among.
        among: What they are.
        network: By whose features.
        notes: What was left out and could not be read, a sentence each.
        asked: The pictures that were asked about.
        known: Those that were searched among.
        in_chans: Channels that pictures are read with.
    """

    queries: tuple[Query, ...]
    pictures: int
    among: str
    network: str
    notes: tuple[str, ...]
    asked: Examples = field(repr=False)
    known: Examples = field(repr=False)
    in_chans: int = 3

    def table(self) -> pd.DataFrame:
        """The columns query, rank, file, label, similarity; a row a neighbour."""
        import pandas as pd

        rows = [(query.file, rank, one.file, one.label, one.similarity)
                for query in self.queries for rank, one in enumerate(query.neighbours, start=1)]  # fmt: skip
        return pd.DataFrame(rows, columns=["query", "rank", "file", "label", "similarity"])

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "network": self.network, "among": self.among, "pictures": self.pictures, "notes": list(self.notes),
            "queries": [
                {
                    "query": query.file, "left_out": query.left_out, "error": query.error,
                    "neighbours": [{"file": one.file, "label": one.label, "similarity": one.similarity}
                                   for one in query.neighbours],
                }
                for query in self.queries
            ],
        }  # fmt: skip

    def write(self, folder: str | Path) -> Path:
        """Writes neighbours.csv, neighbours.json and neighbours.png; earlier ones are replaced.

        Returns:
            The folder.

        Raises:
            RunFolderError: It cannot be written.
        """
        from .sheet import draw_neighbours

        place = Path(folder)
        with told_unwritable(str(place)):
            place.mkdir(parents=True, exist_ok=True)
            write_table(self.table(), str(place / f"{NEIGHBOURS}.csv"))
            with replacing(place / f"{NEIGHBOURS}.json") as temporary:
                temporary.write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            if any(query.neighbours for query in self.queries):
                draw_neighbours(self, place / f"{NEIGHBOURS}.png")
        return place


def find_neighbours(
    network: Network, inputs: Any, run: Path, *, among: Any = None, k: int = 9, batch_size: int = 32,
    accelerator: str = "auto", progress: Progress | None = None, options: Mapping[str, Any] | None = None,
) -> Neighbours:  # fmt: skip
    """The k known pictures nearest to each picture, by the cosine between features.

    Features are what the head is given, averaged over places where they are a map; of a model of the task embed its
    points. A picture is never its own neighbour: what has its address, or its pixels, is left out, and of several
    copies among the known ones the first is shown.

    Args:
        network: Whose features count.
        inputs: The pictures asked about, as for `Model.predict`.
        run: The run folder: its training part is searched where nothing else is named, and the index is kept there.
        among: Any source as of `fit`, or a folder of pictures without labels.
        k: How many, 1 or more.
        batch_size: Pictures at a time.
        accelerator: "auto", "cpu", "gpu", ...
        progress: Is told of each batch.
        options: Those of `Data` for `among`.

    Raises:
        ConfigError: A k below 1, or options without `among`.
        DataError: Pictures that cannot be found, or none that can be read.
        RunFolderError: The run does not say what it learned from.
    """
    words = {name: value for name, value in (options or {}).items() if value is not None}
    if k < 1:
        raise ConfigError(f"k is how many neighbours are shown, 1 or more. Got {k}.")
    if words and among is None:
        raise ConfigError(
            f"{', '.join(words)} say how to read pictures that are searched among. Name them too, with among "
            "(--among), or leave these out: the training part of the run is read as the run read it."
        )
    device = device_for(accelerator)
    asked = as_examples(inputs)
    index, name, notes = known_index(network, run, among=among, words=words, batch_size=batch_size, device=device,
                                     progress=progress)  # fmt: skip
    values = features(network, asked, batch_size=batch_size, device=device, progress=progress)
    vectors = compared(network, values.values) if len(values.rows) else np.zeros((0, 0), np.float32)
    found = nearest_to(index, asked, values.rows, vectors, k=k, in_chans=network.spec.in_chans)
    by_row = {query.row: query for query in found}
    sources = list(asked.table["source"])
    queries = [by_row.get(row) or Query(file=printable(source), error=values.errors[row], row=row)
               for row, source in enumerate(sources)]  # fmt: skip
    return Neighbours(
        queries=tuple(queries), pictures=len(index.examples), among=name, network=network.id,
        notes=(*notes, *_told_copies(queries)), asked=asked, known=index.examples, in_chans=network.spec.in_chans,
    )  # fmt: skip


def known_index(
    network: Network, run: Path, *, among: Any = None, words: Mapping[str, Any] | None = None, batch_size: int = 32,
    device: Any = None, progress: Progress | None = None,
) -> tuple[Index, str, list[str]]:  # fmt: skip
    """What is searched among, how it is called, and notes on it; the arguments are those of `find_neighbours`.

    Raises:
        DataError: Pictures that cannot be found, or none that can be read.
        RunFolderError: The run does not say what it learned from.
    """
    folder = run if (run / RECIPE).is_file() else run.parent
    beside = folder / NEIGHBOURS if (folder / RECIPE).is_file() else None
    known = None
    if among is None:
        instead = "Name pictures to search among: among=..., or --among FOLDER."
        examples, rows, notes = run_part(folder, instead=instead)
        name = "the training part"
        # A run computed features of all its examples; where its backbone stayed, they are those of this model.
        whole = kept_features(network, examples)
        examples, known = examples.take(rows), whole if whole is None else whole.of(rows)
        beside = beside and beside / "train"
    else:
        examples, notes = _examples(among, words or {})
        source = among.source if isinstance(among, Data) else among
        name = printable(str(source)) if isinstance(source, str | Path) else f"a {type(source).__name__} in memory"
        place = hashlib.sha256("\0".join(examples.table["source"]).encode()).hexdigest()[:12]
        beside = beside / f"among-{place}" if beside and examples.arrays is None else None
    index = index_of(network, examples, beside=beside, known=known, batch_size=batch_size, device=device,
                     progress=progress)  # fmt: skip
    if not len(index.examples):
        reasons = "; ".join(f"{file}: {why}" for file, why in list(index.errors.items())[:3])
        raise DataError(f"There is nothing to search: none of {len(examples)} pictures can be read ({reasons}).")
    if index.errors:
        file, why = next(iter(index.errors.items()))
        notes.append(
            f"{len(index.errors)} of {len(examples)} pictures cannot be read and were left out: {file}, {why}."
        )
    return index, name, notes


def _examples(among: Any, words: Mapping[str, Any]) -> tuple[Examples, list[str]]:
    """The pictures of a source, with their answers where it has any."""
    if isinstance(among, Examples):
        return among, []
    if isinstance(among, str | Path) and not words and Path(among).is_dir():
        root = str(Path(among))
        if all(Path(path).parent == Path(root) for path in walk(root)):
            return bare_pictures(among), []
    data = among if isinstance(among, Data) else Data(source=among, **words)
    examples = read_examples(data, for_training=False)
    return examples, list(examples.notes)


def _told_copies(queries: Sequence[Query]) -> list[str]:
    left = sum(query.left_out for query in queries)
    if not left:
        return []
    return [f"{left} pictures were left out that are the one asked about, or a copy of one that is shown."]
