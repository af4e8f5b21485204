"""Sets of the Hugging Face `datasets` library, given as objects: their pictures stay where they are until asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import ConfigError, DataError, listing, nearest
from .listings import PART_WORDS, Listing
from .options import Data
from .tables import IMAGE_NAMES, TARGET_NAMES, as_cell
from .texts import cell_text

if TYPE_CHECKING:
    from datasets import Dataset


def is_hub_set(source: object) -> bool:
    """Says whether a source is an object of `datasets`, which is not imported for the question."""
    library = sys.modules.get("datasets")
    kinds = ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")
    return library is not None and isinstance(source, tuple(getattr(library, kind) for kind in kinds))


class Undecoded(Sequence[Any]):
    """The pictures of some sets one after another, as encoded bytes or paths: read when asked for.

    Args:
        sets: Sets with a single column, the undecoded picture.
        column: Its name.
    """

    def __init__(self, sets: Sequence[Dataset], column: str) -> None:
        self._sets = list(sets)
        self._column = column

    def __len__(self) -> int:
        return sum(map(len, self._sets))

    def __getitem__(self, row: Any) -> Any:
        for one in self._sets:
            if row < len(one):
                return _content(one[int(row)][self._column])
            row -= len(one)
        raise IndexError(row)


def _content(cell: Any) -> Any:
    if isinstance(cell, dict):
        return cell["bytes"] if cell.get("bytes") is not None else cell.get("path") or b""
    return b"" if cell is None else cell


def list_hub_set(source: Any, data: Data) -> Listing:
    """Reads a `Dataset`, or the splits of a `DatasetDict` as parts; decodes no picture.

    Args:
        source: The set; loading it, and with it any code of its own, was its owner's doing.
        data: `image`, `target`, `group` and `split` name columns.

    Raises:
        ConfigError: Columns that are not there, or a set that can only be read from front to back.
        DataError: No examples, or splits that are no parts.
    """
    import datasets

    if isinstance(source, (datasets.IterableDataset, datasets.IterableDatasetDict)):
        raise ConfigError("A streaming set has no rows to divide into parts. Load it without streaming=True.")
    sets: dict[str, Dataset] = dict(source) if isinstance(source, dict) else {"": source}
    sets = {name: one for name, one in sets.items() if len(one)}
    if not sets:
        raise DataError("The set holds no examples.")
    notes: list[str] = []
    if len(sets) > 1 or next(iter(sets)).lower() in PART_WORDS:
        other = [name for name in sets if name.lower() not in PART_WORDS]
        sets = {name: one for name, one in sets.items() if name.lower() in PART_WORDS}
        if not sets:
            raise DataError(f"The splits {listing(other)} are no parts. Expected some of {', '.join(PART_WORDS)}.")
        if other:
            notes.append(f"The splits {listing(other)}, which are no parts, were left out.")
    first = next(iter(sets.values()))
    image, target = _columns(first, data)
    notes.append(f'The pictures are taken from the column "{image}", the target from "{target}".')
    length = sum(map(len, sets.values()))
    split = {name: [cell_text(cell) for cell in one[data.split]] for name, one in sets.items()} if data.split else None
    parts: list[str | None] = [name or None for name, one in sets.items() for _ in range(len(one))]
    return Listing(
        ids=[f"{name}/{row}" if name else str(row) for name, one in sets.items() for row in range(len(one))],
        sources=[f"array:{row}" for row in range(length)],
        cells=[cell for one in sets.values() for cell in _cells(one, target)],
        groups=[cell_text(cell) or None for one in sets.values() for cell in one[data.group]]
        if data.group
        else [None] * length,
        splits=[cell for cells in split.values() for cell in cells] if split else parts,
        folders=isinstance(_inner(first.features[target]), datasets.ClassLabel),
        arrays=Undecoded([_undecoded(one, image) for one in sets.values()], image),
        notes=notes,
    )


def _columns(one: Dataset, data: Data) -> tuple[str, str]:
    import datasets

    known = list(one.column_names)
    named = (("image", data.image), ("target", data.target), ("group", data.group), ("split", data.split))
    wrong = [
        f'The set has no column "{name}" ({option}). Its columns: {listing(known, 30)}.{nearest(name, known)}'
        for option, name in named
        if isinstance(name, str) and name not in known
    ]
    if data.target is not None and not isinstance(data.target, str):
        wrong.append("Of a set, target is one column: a class, a list of labels, or a number.")
    pictures = [name for name, kind in one.features.items() if isinstance(kind, datasets.Image)]
    image = data.image or next((name for name in (*pictures, *IMAGE_NAMES) if name in known), None)
    classes = [name for name, kind in one.features.items() if isinstance(_inner(kind), datasets.ClassLabel)]
    target = data.target or next((name for name in (*classes, *TARGET_NAMES) if name in known and name != image), None)
    if image is None:
        wrong.append(f"image does not say which column holds the picture. The set's columns: {listing(known, 30)}.")
    if target is None:
        wrong.append(f"target does not say which column holds the answer. The set's columns: {listing(known, 30)}.")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return str(image), str(target)


def _inner(kind: Any) -> Any:
    """What a list is a list of."""
    return getattr(kind, "feature", kind)


def _cells(one: Dataset, target: str) -> list[Any]:
    import datasets

    kind = _inner(one.features[target])
    values = list(one[target])
    if not isinstance(kind, datasets.ClassLabel):
        return [as_cell(value) for value in values]

    def name(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(kind.int2str(number) for number in value)
        # Hidden labels of a test split are -1 on the hub.
        return "" if value is None or value < 0 else kind.int2str(value)

    return [name(value) for value in values]


def _undecoded(one: Dataset, image: str) -> Dataset:
    import datasets

    alone = one.select_columns([image]).with_format(None)
    return (
        alone.cast_column(image, datasets.Image(decode=False))
        if isinstance(one.features[image], datasets.Image)
        else alone
    )


# The same layout as folders


def metadata_files(root: Path) -> list[Path]:
    """The metadata.csv or metadata.jsonl of an `imagefolder`, of the whole or of each part's folder."""
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir() and path.name.lower() in PART_WORDS)]
    found = [place / name for place in places for name in ("metadata.csv", "metadata.jsonl")]
    return [path for path in found if path.is_file() and _names_files(path)]


def _names_files(path: Path) -> bool:
    with path.open("rb") as file:
        return b"file_name" in file.readline(1 << 16)


def joined(found: Sequence[Listing], files: Sequence[Path], root: Path) -> Listing:
    """The listings of an `imagefolder`, one a metadata file, as one; the parts are the folders that pictures lie in.

    Raises:
        DataError: Pictures outside of the folder.
    """
    ids = [id for one, file in zip(found, files, strict=True) for id in _ids_within(root, file, one.ids)]
    splits = [split for one in found for split in one.splits]
    tops = [id.split("/")[0].lower() for id in ids]
    if not any(splits) and all(top in PART_WORDS for top in tops):
        splits = list(tops)
    extra = [one.extra for one in found if one.extra is not None]
    return Listing(
        ids=ids,
        sources=[source for one in found for source in one.sources],
        cells=[cell for one in found for cell in one.cells],
        groups=[group for one in found for group in one.groups],
        splits=splits,
        extra=pd.concat(extra, ignore_index=True) if len(extra) == len(found) else None,
        notes=list(dict.fromkeys(note for one in found for note in one.notes)),
    )


def _ids_within(root: Path, file: Path, ids: Sequence[str]) -> list[str]:
    """The ids of a metadata file's pictures relative to the whole folder; a downloaded one names nothing beside it."""
    top, real = os.path.normpath(root), os.path.realpath(root)
    paths = [Path(os.path.normpath(file.parent / id)) for id in ids]
    # What is relative was found beside the metadata file, where links that lead out are not followed.
    outside = [
        f"{path} (row {row})"
        for row, (path, id) in enumerate(zip(paths, ids, strict=True), start=1)
        if not path.is_relative_to(top) or (Path(id).is_absolute() and not _leads_into(path, real))
    ]
    if outside:
        raise DataError(
            f"{len(outside)} of {len(ids)} pictures that {file} names lie outside of {root}: {listing(outside)}. "
            f"Expected a file_name that is relative and stays inside: move the pictures, or remove these rows."
        )
    return [path.relative_to(top).as_posix() for path in paths]


def _leads_into(path: Path, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)
