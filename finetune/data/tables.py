"""Tables of examples: CSV, TSV and Parquet files, and DataFrames."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, listing, nearest
from .addresses import is_remote
from .listings import Listing, is_picture
from .options import Data
from .paths import Located, locate
from .remote import read_source
from .texts import PIECE, Texts, cell_text, cells_of, give_back, thrifty

TABLES = frozenset({".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq", ".jsonl"})

# Usual names, the telling ones first.
IMAGE_NAMES = (
    *("image", "image_path", "img", "img_path", "image_file", "path", "filepath", "file_path", "file", "filename"),
    *("file_name", "image_name", "img_name", "image_id", "img_id", "isic_id", "picture", "photo", "id"),
)
TARGET_NAMES = (
    *("target", "label", "labels", "class", "class_name", "label_name", "category", "diagnosis", "dx", "tags", "y"),
    *("rating", "score"),
)

Opened = Callable[[], BinaryIO]
"""Opens a file once more, from its beginning."""


def read_table(path: str | Path, *, no_header: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """Reads a table with every cell as text, so that the class `007` stays `007` and the class `NA` is no gap.

    Args:
        path: A CSV, TSV, JSON Lines or Parquet file, or the URL of one. What separates the cells of a `.csv` is found
            out.
        no_header: The first line is an example; columns are named "0", "1", ...

    Returns:
        The table, and notes on what was inferred.

    Raises:
        DataError: A file that is no table.
    """
    raw, file = (read_source(str(path)), None) if is_remote(path) else (b"", Path(path))

    def opened() -> BinaryIO:
        # Once more for each pass over it: a file of a million rows is never in memory as a whole.
        return io.BytesIO(raw) if file is None else file.open("rb")

    path = Path(urlsplit(str(path)).path if is_remote(path) else path)
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            with opened() as parquet, thrifty():
                return pd.read_parquet(parquet), []
        except (OSError, ValueError) as error:  # pyarrow's own errors are both
            raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    coding, notes = _coding(path, opened)
    if path.suffix.lower() == ".jsonl":
        with coding.lines(opened(), ends="\n") as lines:
            return _json_lines(path, lines), notes
    csv.field_size_limit(2**31 - 1)  # 131072 unless told; a C long, which has 32 bits on Windows
    with coding.lines(opened()) as lines:
        separator = _separator(path, lines)
    with coding.lines(opened()) as lines:
        header, columns = _columns_of(path, lines, separator, no_header=no_header)
    names = [str(number) for number in range(len(header))] if no_header else _distinct(header)
    table = pd.DataFrame({name: column.column() for name, column in zip(names, columns, strict=True)}, copy=False)
    commas = _decimal_commas(table) if separator == ";" else []
    for name in commas:
        table[name] = table[name].str.replace(",", ".", regex=False)
    if commas:
        notes.append(f"The comma is taken for a decimal point in the columns {listing(commas)} of {path}.")
    return table, notes


def _columns_of(path: Path, lines: TextIO, separator: str, *, no_header: bool) -> tuple[list[str], list[Texts]]:
    """The cells of the first line, and the columns: of the first line too where it is an example.

    Read strictly: pandas shifts columns where lines end in a separator, and fills up lines cut short.
    """
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    header: list[str] = []
    columns: list[Texts] = []
    rows: list[list[str]] = []

    def add() -> None:
        for column, cells in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
            column.extend(cells)
        rows.clear()

    try:
        for row in reader:
            if not "".join(row).strip():
                continue
            first = not columns
            if first:
                header, columns = row, [Texts() for _ in row]
            while len(row) > len(columns) and not row[-1].strip():
                row.pop()
            if len(row) != len(columns):
                raise csv.Error(f"it has {len(row)} cells where the first line has {len(columns)}")
            if no_header or not first:
                rows.append(row)
            if len(rows) == PIECE:
                add()
        add()
    except csv.Error as error:
        raise DataError(
            f"{path} cannot be read as a table separated by {separator!r}: line {reader.line_num}: {error}. Expected "
            f"as many cells in each line, and quotes around cells that hold the separator."
        ) from error
    if not columns:
        raise DataError(f"{path} holds no rows: all its cells are empty. Expected a table with a line an example.")
    return header, columns


def _distinct(header: list[str]) -> list[str]:
    names: list[str] = []
    for cell in header:
        name, number = cell.strip(), 0
        while (f"{name}.{number}" if number else name) in names:
            number += 1
        names.append(f"{name}.{number}" if number else name)
    return names


def _decimal_commas(table: pd.DataFrame) -> list[str]:
    """Columns of numbers written as in much of Europe, where `;` separates cells since `,` is the decimal point."""
    return [
        name
        for name in table.columns
        if table[name].str.fullmatch(r"\s*-?\d+(,\d+)?\s*|").all() and table[name].str.contains(",").any()
    ]


def _json_lines(path: Path, lines: TextIO) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read as JSON Lines: line {number}: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} cannot be read as JSON Lines: line {number} is no object of names and values.")
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


class _Coding(NamedTuple):
    """How the bytes of a file are text."""

    name: str
    errors: str = "strict"

    def lines(self, file: BinaryIO, *, ends: str = "") -> TextIO:
        """The text line by line: by every end of a line that csv knows, or by one alone.

        A string of JSON may hold U+2028 or U+0085 as they are, which are ends of lines to others.
        """
        return io.TextIOWrapper(file, self.name, self.errors, newline=ends)


def _coding(path: Path, opened: Opened) -> tuple[_Coding, list[str]]:
    """Finds out how a file is written; all of it is looked at, piece by piece."""
    with opened() as file:
        head = file.read(4096)
        if not head.strip() and not any(piece.strip() for piece in _pieces(file)):
            raise DataError(f"{path} is empty. Expected a table with a line an example.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # what Excel calls "Unicode text"
        return _Coding("utf-16"), []
    if b"\x00" in head:
        raise DataError(f"{path} is no text. Expected a CSV or TSV table; a Parquet file must end in .parquet.")
    try:
        with opened() as file:
            decoder = codecs.getincrementaldecoder("utf-8-sig")()
            for piece in _pieces(file):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        return _Coding("utf-8-sig"), []
    except UnicodeDecodeError:
        # Replaced rather than strict: five bytes mean nothing in cp1252, and one odd sign in a remark stops nobody.
        return _Coding("cp1252", "replace"), [f"{path} is not UTF-8; it was read as Windows-1252."]


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(1 << 20), b"")


def _separator(path: Path, lines: TextIO) -> str:
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    text = ""
    while len(text.splitlines()) <= 20 and (more := lines.read(max(len(text), 1 << 16))):
        text += more
    head = [line for line in text.splitlines()[:20] if line.strip()]
    best, most = ",", 1
    for sign in (",", ";", "\t"):
        widths = {len(row) for row in csv.reader(head, delimiter=sign)}
        if len(widths) == 1 and max(widths) > most:
            best, most = sign, max(widths)
    return best


def list_table(
    table: pd.DataFrame, data: Data, root: Path | str | None, where: str, *, located: Located | None = None
) -> Listing:
    """Takes the examples from the columns of a table.

    Args:
        table: One row an example.
        data: Which column is what; for what is not said, usual names are tried.
        root: What paths are relative to: a folder, also searched for files by name, or a URL. None: the working
            folder, not searched.
        where: The table's name in messages.
        located: The pictures, where it is known already which they are.

    Raises:
        ConfigError: Columns that are not there, all of them at once.
        DataError: No rows, or pictures that are not there.
    """
    if table.empty:
        raise DataError(f"{where} holds no rows. Expected one row an example.")
    table = table.rename(columns=str).reset_index(drop=True)
    image, targets, notes = _columns(table, data, where)
    located = located or locate(Texts.of(table[image]), root, where)
    give_back()
    used = {image, *targets, *(name for name in (data.group, data.split) if name)}
    return Listing(
        ids=located.ids,
        sources=located.sources,
        cells=_once_each(_cells(table, targets)),
        groups=_once_each(cell_text(cell) or None for cell in cells_of(table[data.group]))
        if data.group
        else [None] * len(table),
        splits=_once_each(map(cell_text, cells_of(table[data.split]))) if data.split else [None] * len(table),
        extra=table.drop(columns=list(used)),
        notes=[*notes, *located.notes],
    )


def _columns(table: pd.DataFrame, data: Data, where: str) -> tuple[str, list[str], list[str]]:
    """The column of the picture, those of the target, and what was guessed."""
    known = [str(column) for column in table.columns]
    wrong, notes = [], []
    targets = [data.target] if isinstance(data.target, str) else list(data.target or ())
    if len(targets) == 1 and targets[0] not in known and "," in targets[0]:
        targets = [name.strip() for name in targets[0].split(",")]
    for option, name in [
        ("image", data.image),
        *(("target", t) for t in targets),
        ("group", data.group),
        ("split", data.split),
    ]:
        if name and name not in known:
            wrong.append(
                f'{where} has no column "{name}" ({option}). Its columns: {listing(known, 30)}.{nearest(name, known)}'
            )
    image = data.image or _guess(table, IMAGE_NAMES, {*targets, data.group, data.split}, pictures=True)
    if image is None:
        wrong.append(
            f"image does not say which column of {where} holds the picture. Its columns: {listing(known, 30)}."
        )
    if not targets:
        guess = _guess(table, TARGET_NAMES, {image, data.group, data.split})
        targets = [guess] if guess else []
        if not guess:
            wrong.append(
                f"target does not say which column of {where} holds the answer. Its columns: {listing(known, 30)}."
            )
        elif image:
            notes.append(f'The target is taken from the column "{guess}".')
    if wrong:
        hint = (
            " Its first line looks like an example: no_header reads it as one." if any(map(is_picture, known)) else ""
        )
        raise ConfigError("\n".join(wrong) + hint)
    if not data.image:
        notes.insert(0, f'The pictures are taken from the column "{image}".')
    return str(image), targets, notes


def _guess(
    table: pd.DataFrame, usual: Sequence[str], taken: Iterable[str | None], *, pictures: bool = False
) -> str | None:
    """A column with a usual name; else the first whose first cell names a picture, or the only one that is left."""
    free = [str(column) for column in table.columns if column not in set(taken)]
    lower = {column.lower(): column for column in reversed(free)}
    for name in usual:
        if name in lower:
            return lower[name]
    if pictures:
        return next((column for column in free if is_picture(cell_text(table[column].iloc[0]))), None)
    return free[0] if len(free) == 1 else None


def _cells(table: pd.DataFrame, targets: list[str]) -> Iterable[Any]:
    if len(targets) == 1:
        return map(as_cell, cells_of(table[targets[0]]))
    marks = []
    for name in targets:
        texts = [cell_text(cell).strip().lower() for cell in table[name]]
        values = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
        odd = sorted({text for text in texts if text not in values})
        if odd:
            raise DataError(
                f'The label column "{name}" holds {listing([repr(text) for text in odd])}. Expected 0 or 1 in '
                f"each row, since several target columns were named: one column a label."
            )
        marks.append([values[text] for text in texts])
    return [tuple(name for name, mark in zip(targets, row, strict=True) if mark) for row in zip(*marks, strict=True)]


def _once_each(values: Iterable[Any]) -> list[Any]:
    """The same, with one object for equal values: a million rows of few classes else hold a million texts."""
    known: dict[Any, Any] = {}
    return [known.setdefault(value, value) for value in values]


def as_cell(cell: Any) -> Any:
    """What a cell says: text, or a tuple of texts where it holds several labels."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (list, tuple, set, frozenset, np.ndarray)):
        return tuple(
            sorted(cell_text(one) for one in cell) if isinstance(cell, (set, frozenset)) else map(cell_text, cell)
        )
    return cell_text(cell)
