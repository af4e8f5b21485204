"""The layouts by name: data sets as people download them, read as any other table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...errors import ConfigError, DataError, nearest
from ..listings import Listing
from ..options import Data
from ..tables import list_table
from .documents import read_documents
from .driving import read_driving, read_driving_three
from .pets import read_pets
from .products import read_products
from .rows import Reader, Rows
from .skin import read_skin
from .xray import read_xray

READERS: dict[str, Reader] = {
    "pets": read_pets,
    "skin-lesions": read_skin,
    "chest-xrays": read_xray,
    "driving": read_driving,
    "driving-three-cameras": read_driving_three,
    "documents": read_documents,
    "products": read_products,
}


def read_layout(source: object, name: str) -> Rows:
    """The rows of a data set in its own layout.

    Args:
        source: Its folder, or its main table.
        name: One of `data.options.LAYOUTS`.

    Raises:
        ConfigError: The source is no folder and no file.
        DataError: It is not there, or is laid out otherwise.
    """
    if not isinstance(source, str | Path):
        raise ConfigError(f"layout {name!r} reads a folder or a file. Got a {type(source).__name__}.")
    path = Path(source).absolute()
    if not path.exists():
        raise DataError(f"There is no folder or file {source}. Expected a data set laid out as {name!r}.")
    return READERS[name](path)


def list_layout(data: Data) -> Listing:
    """The examples of a source whose layout was named; what the user says of columns holds.

    Raises:
        ConfigError: A column that is not there.
        DataError: As for `read_layout`.
    """
    assert data.layout is not None  # noqa: S101  # who comes here named one
    rows = read_layout(data.source, data.layout)
    has = set(rows.table.columns)
    if data.split is not None and data.split not in has:
        raise ConfigError(
            f'{data.source} as {data.layout!r} has no column "{data.split}" (split): it gives no such division. Leave '
            f"--split out, and it is divided anew.{nearest(data.split, has)}"
        )
    own_group = "group" if "group" in has and not data.group_from else None
    asked = replace(data, image=data.image or "image", target=data.target or "target", group=data.group or own_group)
    found = list_table(rows.table, asked, rows.root, str(data.source))
    if rows.delimiter and data.delimiter is None:
        found.cells = [tuple(filter(None, str(cell).split(rows.delimiter))) for cell in found.cells]
    found.notes = [*rows.notes, *found.notes]
    return found
