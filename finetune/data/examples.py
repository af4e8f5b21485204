"""Any source of examples -> one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, listing, nearest
from ..types import Kind
from .addresses import is_remote, parse_address, printable
from .folders import list_pictures, read_folder, walk
from .generated import NOTE, is_generated
from .hub_sets import is_hub_set, joined, list_hub_set, metadata_files
from .idx import idx_files, is_idx, list_idx
from .labels import natural_key
from .listings import Listing, groups_from, part_of
from .memory import list_memory
from .options import Data
from .packed import list_packed
from .remote import is_own
from .shards import list_shards
from .tables import TABLES, list_table, read_table
from .targets import parse_targets
from .tars import find_archives, is_shards
from .texts import Texts, all_differ, give_back

__all__ = ["Examples", "list_pictures", "read_examples"]

COLUMNS = ("id", "source", "target", "group", "split")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """All examples of a source; no picture has been opened yet.

    Args:
        table: One row an example, numbered from 0: `id` (unique; the path relative to the source, or the row's
            number), `source` (absolute path, or `array:N`), `target` (a class name, a tuple of label names, or a
            number), `group` and `split` (or None), and every other column of the source.
        kind: What the target is.
        arrays: The pictures, where they were given in memory; `array:N` is the Nth of these.
        notes: What was inferred, a sentence each, to be shown to the user.
        delimiter: What separated several labels in one cell, or None.
        generated: A recipe drew the pictures.
    """

    table: pd.DataFrame
    kind: Kind
    arrays: Sequence[Any] | None = None
    notes: tuple[str, ...] = ()
    delimiter: str | None = None
    generated: bool = False

    def __len__(self) -> int:
        return len(self.table)

    def take(self, indices: Sequence[int] | np.ndarray) -> Examples:
        """These rows, in this order, numbered anew."""
        return replace(self, table=self.table.iloc[np.asarray(indices, np.int64)].reset_index(drop=True))

    @property
    def targets(self) -> list[Any]:
        """The target of each example."""
        return list(self.table["target"])

    def pictures(self) -> Sequence[Any]:
        """What to read for each example: a path, or the picture itself, which is taken when it is asked for."""
        sources = list(self.table["source"])
        return sources if self.arrays is None else _InMemory(self.arrays, sources)


class _InMemory(Sequence[Any]):
    """Pictures of a sequence that may decode, or read from disk, what is asked of it."""

    def __init__(self, arrays: Sequence[Any], sources: list[str]) -> None:
        self._arrays = arrays
        self._places = [int(source.removeprefix("array:")) for source in sources]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: Any) -> Any:
        return self._arrays[self._places[row]]


def read_examples(data: Data, *, for_training: bool = True, new_classes: bool = False) -> Examples:
    """Reads a source's listing; opens no picture.

    Args:
        data: Where the examples are, and how to read them.
        for_training: Whether there must be something to tell apart; evaluation takes a source of one class too.
        new_classes: Whether given parts for validation and test may hold classes that train has not.

    Raises:
        ConfigError: Options that do not fit the source.
        DataError: Examples that cannot be used; the message says which.
    """
    # What was listed is handed over whole: a million texts, which the table holds in a tenth of the room.
    examples = _understood(_list_source(data, for_training), data)
    table, repeated = _once(examples.table)
    generated = is_generated(data.source)
    examples = replace(examples, table=table, generated=generated,
                       notes=(*([NOTE] if generated else []), *examples.notes, *repeated))  # fmt: skip
    if for_training:
        _check_learnable(examples, data.source, new_classes=new_classes)
    give_back()
    return examples


def _understood(found: Listing, data: Data) -> Examples:
    """What was listed, with its targets, groups and parts understood."""
    notes = list(found.notes)
    parsed = parse_targets(found.cells, kind=data.kind, delimiter=data.delimiter, folders=found.folders)
    notes += parsed.notes
    groups = found.groups
    if data.group_from:
        groups, note = groups_from(data.group_from, found.ids)
        notes.append(note)
    if any("#frame=" in source for source in found.sources):
        groups, together = _with_frames(groups, found.sources)
        notes += together
    given = any(split is not None for split in found.splits)
    table = pd.DataFrame(
        {
            "id": _column(found.ids),
            "source": _column(found.sources),
            # Objects, for pandas would turn None into NaN and labels' tuples into columns.
            "target": pd.Series(parsed.values, dtype="float64" if parsed.kind == "number" else "object"),
            "group": pd.Series(groups, dtype="object"),
            "split": pd.Series([part_of(s, n) if given else None for n, s in enumerate(found.splits)], dtype="object"),
        },
        copy=False,
    )
    if found.extra is not None:
        table = pd.concat([table, found.extra.rename(columns=_beside_ours(found.extra))], axis=1)
    return Examples(table=table, kind=parsed.kind, arrays=found.arrays, notes=tuple(notes), delimiter=parsed.delimiter)


def _column(texts: Sequence[str]) -> Any:
    return (texts if isinstance(texts, Texts) else Texts(texts)).column()


def _with_frames(groups: list[str | None], sources: Sequence[str]) -> tuple[list[str | None], list[str]]:
    """Gives frames of one file, and the file itself, one group where they have none; and a note where it did."""
    addresses = [parse_address(source) for source in sources]
    framed = {address.file for address in addresses if address.frame}
    filled = [
        printable(address.file) if group is None and address.file in framed else group
        for group, address in zip(groups, addresses, strict=True)
    ]
    return filled, ["Frames of one file stay on one side of a split."] if filled != groups else []


def _beside_ours(extra: pd.DataFrame) -> dict[str, str]:
    """New names for the source's columns that are called as ours are: each with as many `_` as make it the only one."""
    taken = {*COLUMNS, *extra.columns}
    names: dict[str, str] = {}
    for column in extra.columns:
        if column in COLUMNS:
            name = f"{column}_"
            while name in taken:
                name += "_"
            names[column] = name
            taken.add(name)
    return names


def _list_source(data: Data, for_training: bool) -> Listing:
    source = data.source
    if data.layout is not None:
        from .layouts.named import list_layout

        return list_layout(data)
    if is_hub_set(source):
        return list_hub_set(source, data)
    if is_remote(source) or is_remote(data.root):
        return _list_remote(source, data)
    root = Path(data.root) if data.root else None
    if data.label_from and not (isinstance(source, (str, Path)) and Path(source).suffix.lower() not in TABLES):
        raise ConfigError(
            "label_from reads the names of files in a folder, but the source is no folder. Name a target instead."
        )
    if root and not root.is_dir():
        raise DataError(f"The folder {root} (root) is not there.{_nearby(root)}")
    if isinstance(source, pd.DataFrame):
        return list_table(source, data, root, "The DataFrame")
    if not isinstance(source, (str, Path)):
        return list_memory(source, data, root)
    path = Path(source)
    if is_shards(source):
        return list_shards(find_archives(source), data, str(path.absolute().parent))
    if path.is_dir():
        layout = _special_folder(path.absolute(), data)
        if layout is not None:
            return layout
        columns = [name for name in ("image", "target", "group", "split") if getattr(data, name)]
        if columns:
            raise ConfigError(
                f"{' and '.join(columns)} name columns of a table, but {path} is a folder. "
                f"Expected a CSV, TSV or Parquet file; for a folder, label_from and group_from read the file names."
            )
        return read_folder(path.absolute(), label_from=data.label_from, for_training=for_training)
    if not path.exists():
        raise DataError(
            f"There is no folder or table {path}. Expected a folder of pictures, or a table.{_nearby(path)}"
        )
    if is_idx(path):
        return list_idx(path.absolute())
    if path.suffix.lower() == ".npz":
        return list_packed(path)
    if path.suffix.lower() not in TABLES:
        raise DataError(
            f"{path} is neither a folder nor a table. Expected a folder of pictures, or a file that ends in "
            f"{', '.join(sorted(TABLES))}."
        )
    table, notes = read_table(path, no_header=data.no_header)
    found = list_table(table, data, root or path.absolute().parent, str(path))
    return replace(found, notes=[*notes, *found.notes])


def _list_remote(source: Any, data: Data) -> Listing:
    """A table, archives, or a folder of archives at a URL; or a table of pictures at URLs."""
    if data.root and not is_remote(data.root):
        raise ConfigError(f"The source is a URL and root is the folder {data.root}. Expected a URL there too.")
    if isinstance(source, pd.DataFrame):
        return list_table(source, data, data.root, "The DataFrame")
    if not isinstance(source, (str, Path)):
        return list_memory(source, data, data.root)
    if is_remote(source) and (is_shards(source) or not PurePosixPath(urlsplit(str(source)).path).suffix):
        archives = find_archives(source)
        if not archives:
            raise DataError(f"There are no .tar archives under {printable(str(source))}.")
        return list_shards(archives, data, str(source).rpartition("/")[0] if is_shards(source) else str(source))
    table, notes = read_table(source, no_header=data.no_header)
    found = list_table(table, data, data.root or str(source).rpartition("/")[0], printable(str(source)))
    _refuse_own(found.sources, data)
    return replace(found, notes=[*notes, *found.notes])


def _refuse_own(sources: Sequence[str], data: Data) -> None:
    """A table from elsewhere, which a stranger may have written, does not say what is read of this machine."""
    if not is_remote(data.source) or is_own(str(data.source)):
        return
    # The root is the user's own word.
    odd = [source for source in sources if is_own(source) and not (data.root and source.startswith(str(data.root)))]
    if odd:
        raise DataError(
            f"{len(odd)} of {len(sources)} pictures that {printable(str(data.source))} names are on this machine: "
            f"{listing(odd)}. Expected URLs of a server, or paths beside the table: download the table to use these."
        )


def _special_folder(root: Path, data: Data) -> Listing | None:
    """A folder of archives, or an `imagefolder` with a table of its own; None where it is an ordinary one."""
    files = metadata_files(root)
    if files and not data.label_from:
        data = replace(data, image=data.image or "file_name")
        found = [list_table(read_table(file)[0], data, file.parent, str(file)) for file in files]
        return joined(found, files, root)
    if idx_files(root):
        return list_idx(root)
    if next(walk(root), None) is None:
        archives = find_archives(root)
        return list_shards(archives, data, str(root)) if archives else None
    return None


def _nearby(path: Path) -> str:
    try:
        return nearest(path.name, (entry.name for entry in path.absolute().parent.iterdir()))
    except OSError:
        return f" Its parent folder {path.parent} is not there either."


def _once(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keeps one row a picture, and refuses rows that contradict each other."""
    if all_differ(table["id"]):
        return table, []
    again = table.duplicated("id", keep=False)
    columns = ["target", "group", "split"]

    def told(values: list[str]) -> str:
        return listing(values) if len(values) > 3 else " and ".join(values)

    odd = [
        f"{name} ({told([str(value) for value in rows[column].drop_duplicates()])})"
        for name, rows in table[again].groupby("id", sort=False)
        for column in columns
        if rows[column].map(str).nunique() > 1
    ]
    if odd:
        raise DataError(
            f"{len(odd)} pictures are listed more than once with different answers: {listing(odd)}. Expected one "
            f"target, one group and one part a picture: remove the wrong rows; several labels of one picture go "
            f'into one cell ("cat|dog") or into one 0/1 column a label.'
        )
    once = table.drop_duplicates("id").reset_index(drop=True)
    return once, [f"{len(table) - len(once)} rows that repeat a picture were left out."]


def _check_learnable(examples: Examples, source: object, *, new_classes: bool) -> None:
    """Refuses a source with nothing to tell apart, and parts whose classes training never sees."""
    table, kind = examples.table, examples.kind
    where = printable(str(source)) if isinstance(source, (str, Path)) else "the source"
    parts = set(table["split"])
    learns = (table["split"] == "train").to_numpy() if parts != {None} else np.ones(len(table), bool)
    if not learns.any():
        raise DataError(f"No example of {where} is for training; there are only {listing(sorted(parts))} parts.")
    train = table["target"][learns]
    names = _names(train, kind)
    if kind == "number" and train.nunique() == 1:
        raise DataError(f"Every target of {where} is {train.iloc[0]}. Expected numbers that differ.")
    if kind == "class" and len(names) == 1:
        raise DataError(
            f'All {len(train)} training examples of {where} have one class, "{names[0]}". Expected two classes or more'
            f"{_deeper(table['id'][learns], source)}."
        )
    if kind == "labels" and not names:
        raise DataError(f"No training example of {where} carries a label. Expected each label on at least one.")
    unknown = sorted(set(_names(table["target"], kind)) - set(names), key=natural_key)
    if unknown and not new_classes:
        raise DataError(
            f"{len(unknown)} of the classes in the validation or test part {'is' if len(unknown) == 1 else 'are'} "
            f"not in train: {listing(unknown, 10)}. Expected only what train has: {listing(names, 10)}."
            f"{nearest(unknown[0], names)}"
        )


def _names(targets: pd.Series[Any], kind: Kind) -> list[str]:
    if kind == "number":
        return []
    found = set(targets) if kind == "class" else {name for names in targets for name in names}
    return sorted(found, key=natural_key)


def _deeper(ids: pd.Series[str], source: object) -> str:
    """A hint where an archive was unpacked into a folder of its own: data/pets/cats, where data was given."""
    tops = {tuple(name.split("/")[:2]) for name in ids if name.count("/") >= 2}
    folders = {top[0] for top in tops}
    if isinstance(source, (str, Path)) and Path(source).is_dir() and len(tops) > 1 and len(folders) == 1:
        return f"; the classes may be the folders inside: give {Path(source) / folders.pop()} as the source"
    return ""
