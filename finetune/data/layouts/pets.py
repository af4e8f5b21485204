"""Cats and dogs, as Kaggle and as Microsoft distribute them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from .rows import Rows, nothing_fits, part, pictures

# The lecture's division goes by the number in the file's name, of each class alike.
LECTURE = ((8_750, "train"), (10_625, "validation"), (12_500, "test"))
EXPECTED = (
    "train/cat.0.jpg, train/dog.0.jpg, ... (Kaggle), or PetImages/Cat/0.jpg, PetImages/Dog/0.jpg, ... (Microsoft)"
)


def read_pets(source: Path) -> Rows:
    """Kaggle's flat files, whose names carry the label, or Microsoft's two folders; other pictures are counted.

    `official` is the part that the folders name where they name more than one, else the lecture's by number: 0 to
    8749 train, 8750 to 10624 validation, 10625 to 12499 test.

    Raises:
        DataError: Neither is there.
    """
    found = pictures(source)
    rows = [(path, *known) for path in found if (known := _label(path)) is not None]
    if not rows:
        raise nothing_fits(source, EXPECTED, found[:3])
    parts = [part(path) for path, _, _ in rows]
    given = len(set(parts)) > 1 and None not in parts
    official = parts if given else [_by_number(number) for _, _, number in rows]
    table = pd.DataFrame({"image": [str(path) for path, _, _ in rows], "target": [name for _, name, _ in rows],
                          "number": [number for _, _, number in rows]})  # fmt: skip
    if None not in official:
        table["official"] = official
    left = len(found) - len(rows)
    notes = (f"{left} pictures whose name says neither cat nor dog were left out.",) if left else ()
    return Rows(table=table, root=source, notes=notes)


def _label(path: PurePosixPath) -> tuple[str, int] | None:
    flat = re.match(r"(cat|dog)\.(\d+)\.", path.name, re.IGNORECASE)
    if flat:
        return flat[1].lower(), int(flat[2])
    folder, number = path.parent.name.lower(), re.match(r"(\d+)\.", path.name)
    return (folder, int(number[1])) if folder in ("cat", "dog") and number else None


def _by_number(number: int) -> str | None:
    return next((name for end, name in LECTURE if number < end), None)
