"""Pictures of products: Stanford Online Products, or a folder a product."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from ...errors import DataError
from .rows import Rows, nothing_fits, pictures

LISTS = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}
HEADER = ["image_id", "class_id", "super_class_id", "path"]
EXPECTED = (
    "Ebay_train.txt and Ebay_test.txt with image_id, class_id, super_class_id, path (Stanford), or a folder a product"
)


def read_products(source: Path) -> Rows:
    """The product is the target; `side` says which products are known and which are new.

    Stanford's lists have products of their own each. Of folders, half of the products are new, chosen by a hash of
    their name, so that another picture moves no product to the other side.

    Raises:
        DataError: Neither is there.
    """
    if not any((source / name).is_file() for name in LISTS.values()):
        return _folders(source)
    rows = []
    for side, name in LISTS.items():
        if not (source / name).is_file():
            continue
        lines = (source / name).read_text(encoding="utf-8").splitlines()
        cells = [line.split() for line in lines if line.strip()]
        if not cells or cells[0] != HEADER or any(len(row) != 4 for row in cells):
            raise DataError(f"{source / name} does not hold the four columns {', '.join(HEADER)}.")
        rows += [
            (path, product, path.partition("/")[0].removesuffix("_final"), side) for _, product, _, path in cells[1:]
        ]
    table = pd.DataFrame(rows, columns=["image", "target", "kind", "side"])
    shared = set(table["target"][table["side"] == "train"]) & set(table["target"][table["side"] == "test"])
    if shared:
        raise DataError(f"{len(shared)} products are in both lists of {source}, {min(shared)} say.")
    return Rows(table=table, root=source)


def _folders(source: Path) -> Rows:
    found = [path for path in pictures(source) if len(path.parts) > 1]
    names = sorted({path.parent.as_posix() for path in found})
    if len(names) < 2:
        raise nothing_fits(source, EXPECTED, found[:3])
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    new = set(order[: len(order) // 2])
    rows = [(str(path), path.parent.as_posix(), path.parts[0], "test" if path.parent.as_posix() in new else "train")
            for path in found]  # fmt: skip
    return Rows(table=pd.DataFrame(rows, columns=["image", "target", "kind", "side"]), root=source)
