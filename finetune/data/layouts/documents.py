"""Scanned pages: RVL-CDIP's lists."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...errors import DataError
from .rows import Rows, nothing_fits, part, pictures

# The order of the numbers in the lists, by the data set's own card.
CLASSES = (
    *("letter", "form", "email", "handwritten", "advertisement", "scientific report", "scientific publication"),
    *("specification", "file folder", "news article", "budget", "invoice", "presentation", "questionnaire"),
    *("resume", "memo"),
)
LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
EXPECTED = (
    "labels/train.txt, labels/val.txt and labels/test.txt with lines `PATH NUMBER`, and images/; or class folders"
)


def read_documents(source: Path) -> Rows:
    """One of sixteen kinds a page, from the lists; `official` says in which list a page stands. Or class folders.

    Raises:
        DataError: Neither is there, or a line is no path and number.
    """
    labels = source / "labels"
    if not any((labels / name).is_file() for name in LISTS.values()):
        return _folders(source)
    rows = []
    for name, file in ((name, labels / file) for name, file in LISTS.items()):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if file.is_file() else (), start=1):
            path, _, label = line.strip().rpartition(" ")
            if not path or not label.isdigit() or int(label) >= len(CLASSES):
                raise DataError(f"{file}, line {number} is {line!r}. Expected a path and a number from 0 to 15.")
            rows.append((f"images/{path}", CLASSES[int(label)], name))
    return Rows(table=pd.DataFrame(rows, columns=["image", "target", "official"]), root=source)


def _folders(source: Path) -> Rows:
    found = [path for path in pictures(source) if len(path.parts) > 1]
    if len({path.parent.name for path in found}) < 2:
        raise nothing_fits(source, EXPECTED, found[:3])
    table = pd.DataFrame({"image": [str(path) for path in found], "target": [path.parent.name for path in found]})
    parts = [part(path) for path in found]
    if None not in parts and len(set(parts)) > 1:
        table["official"] = parts
    return Rows(table=table, root=source)
