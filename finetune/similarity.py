"""What looks like this, by a model or by a backbone as it comes: nearest pictures, and how often they are right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .data.examples import Examples, read_examples
from .data.looks import Looks
from .data.options import Data
from .embedded import UNITS, Points, figures_of, unit_of
from .errors import ConfigError, DataError, listing, nearest
from .features import device_for
from .model import Model, load
from .models.network import Network
from .models.options import Backbone
from .nearest.index import index_of
from .nearest.neighbours import Neighbours, find_neighbours
from .tasks.retrieval import retrieval_scores


def neighbours(
    of: Model | Backbone | str | Path, inputs: Any, *, among: Any = None, only: Mapping[str, str] | None = None,
    k: int = 9, batch_size: int = 32, accelerator: str = "auto", **options: Any,
) -> Neighbours:  # fmt: skip
    """The known pictures nearest to some pictures, as `Model.neighbours`, also by a backbone that was never fitted.

    Args:
        of: A model, its run folder, or a backbone.
        inputs: The pictures asked about.
        among: What is searched; of a model by default what it learned from.
        only: Column to value of the rows of `among` that are searched: {"kind": "lamp"}.
        k: How many.
        batch_size: Pictures at a time.
        accelerator: "auto", "cpu", "gpu", ...
        options: Those of `Data` for `among`.

    Raises:
        ConfigError: Options that do not fit.
        DataError: Pictures that cannot be found, or none that can be read.
        RunFolderError: There is no such run.
    """
    network, run, _ = _network(of)
    if only:
        among, options = _kept(_read(among, options), only), {}
    return find_neighbours(network, inputs, run, among=among, k=k, batch_size=batch_size, accelerator=accelerator,
                           options=options)  # fmt: skip


def retrieval(
    of: Model | Backbone | str | Path, source: Any, *, only: Mapping[str, str] | None = None, known: bool = False,
    drawn: str | None = None, batch_size: int = 32, accelerator: str = "auto", seed: int = 0, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """How often the nearest pictures are of the same product, on products that the model has not learned from.

    Each picture is looked for among all others of the source; never itself, nor a copy to the pixel. Pictures whose
    product has no other count among those that are searched, and ask nothing.

    Args:
        of: A model, its run folder, or a backbone.
        source: Any source of `fit` whose target is the product.
        only: Column to value of the rows that are taken: {"side": "test"}.
        known: Whether products that the model learned from may be measured on, which flatters it.
        drawn: What the intervals draw whole: "product", for other products; "group" (`group=` of the source), for other
            scenes or customers; "picture", for other pictures of the same products. By default groups where the source
            has any, else products where there are 20 or more, else pictures.
        batch_size: Pictures at a time.
        accelerator: "auto", "cpu", "gpu", ...
        seed: Seeds the intervals.
        options: Those of `Data`.

    Returns:
        "features" (of a model of the task embed its points), and beside them "pixels" (grey thumbnails of 32 by 32):
        each recall_at_1, recall_at_10, map_at_r with value, low, high, n; how many "pictures" and "products" there
        are, and what was "drawn".

    Raises:
        ConfigError: Another word for `drawn`.
        DataError: Products that were learned from, targets that are no classes, or nothing that can be read.
    """
    if drawn not in (None, *UNITS):
        raise ConfigError(f'drawn="{drawn}" is unknown. Expected {", ".join(UNITS)}.{nearest(str(drawn), UNITS)}')
    network, _, learned = _network(of)
    examples = _kept(_read(source, options), only or {})
    grouped = bool(examples.table["group"].notna().any())
    if drawn == "group" and not grouped:
        raise DataError("Groups are to be drawn, and the source names none. Expected group=COLUMN, or another `drawn`.")
    if examples.kind != "class":
        raise DataError(f"The target must be the product of each picture. Got targets of kind {examples.kind!r}.")
    shared = sorted(set(learned) & set(examples.targets))
    if shared and not known:
        raise DataError(
            f"{len(shared)} of the products were learned from: {listing(shared)}. Figures on those say nothing of new "
            "ones: expected a source of other products, or known=True where that is meant."
        )
    index = index_of(network, examples, batch_size=batch_size, device=device_for(accelerator))
    if not len(index.examples):
        raise DataError(f"None of the {len(examples)} pictures can be read: {listing(list(index.errors.values()))}.")
    looks = Looks.of(index.examples, in_chans=network.spec.in_chans)
    points = Points(examples=index.examples, answer=index.vectors, looks=looks)
    products = points.classes
    drawn = drawn or unit_of(products, points.groups)
    figures = {
        name: figures_of(
            retrieval_scores(vectors, products, points.identity), products, points.groups, drawn=drawn, seed=seed
        )
        for name, vectors in (("features", index.vectors), *points.beside.items())
    }
    return {**figures, "pictures": len(products), "products": len(set(products.tolist())), "drawn": drawn}


def _network(of: Model | Backbone | str | Path) -> tuple[Network, Path, tuple[str, ...]]:
    """The network, where its run is, and what it learned to tell apart."""
    if isinstance(of, Backbone):
        return of.build(1).eval(), Path(), ()
    model = load(of) if isinstance(of, str | Path) else of
    return model.network, model.folder, model.classes


def _read(source: Any, options: Mapping[str, Any]) -> Examples:
    data = source if isinstance(source, Data) else Data(source=source, **options)
    return read_examples(data, for_training=False)


def _kept(examples: Examples, only: Mapping[str, str]) -> Examples:
    """The rows whose columns have these values.

    Raises:
        DataError: There is no such column, or no such row.
    """
    table = examples.table
    for column, value in only.items():
        if column not in table:
            raise DataError(f'There is no column "{column}".{nearest(column, map(str, table.columns))}')
        has = sorted(set(map(str, table[column])))
        rows = np.flatnonzero(table[column].map(str) == value)
        if not len(rows):
            raise DataError(f'No row has {column} "{value}". There are {listing(has, 8)}.{nearest(value, has)}')
        examples = examples.take(rows)
        table = examples.table
    return examples
