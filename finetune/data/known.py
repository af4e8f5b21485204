"""Facts about files, kept on disk for as long as the files stay as they are.

An entry counts while its file has the size and the time it had; what cannot be read back is as good as not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ..files import replacing
from .addresses import is_remote, parse_address

KEPT_BYTES = 2**30
"""How much a cache may hold; the files unused for longest go first."""

Stamp = tuple[str, int, int]
"""A picture's address, and the size and the time in nanoseconds of the file that it is in."""

Entry = tuple[int, int, np.ndarray]
"""The size and the time of a file, and the record of it."""


def stamp_of(source: str | np.ndarray) -> Stamp | None:
    """What tells whether a picture is the one it was; None for an array, a URL, and a file that is not there."""
    if isinstance(source, str) and not is_remote(source):
        with contextlib.suppress(OSError):
            known = Path(parse_address(source).file).stat()
            return source, known.st_size, known.st_mtime_ns
    return None


class Known:
    """Records on disk, in one `.npz` for each folder of described files.

    Args:
        folder: Where they are kept.
        dtype: The kind of a record, a structured one without objects.
        version: Whatever else a record depends on; those made under another one are not seen.
    """

    def __init__(self, folder: Path, dtype: np.dtype[np.void], *, version: tuple[object, ...]) -> None:
        self._folder = folder
        self._dtype = dtype
        self._version = version

    def fill(self, records: np.ndarray, stamps: Mapping[int, Stamp]) -> set[int]:
        """Writes what is known into `records`, and says of which rows."""
        known = set()
        for parent, rows in _by_folder(stamps).items():
            path = self._path(parent)
            entries = self._load(path)
            if entries:
                with contextlib.suppress(OSError):
                    os.utime(path)  # its last use, by which old files are told from needed ones
            for row in rows:
                source, *stamp = stamps[row]
                entry = entries.get(_place(source)[1])
                if entry and list(entry[:2]) == stamp:
                    records[row] = entry[2]
                    known.add(row)
        return known

    def add(self, records: np.ndarray, stamps: Mapping[int, Stamp], rows: Iterable[int]) -> None:
        """Keeps some rows beside what is kept already of their folders."""
        for parent, mine in _by_folder({row: stamps[row] for row in rows if row in stamps}).items():
            path = self._path(parent)
            entries = {name: entry for name, entry in self._load(path).items() if _counts(parent, name, entry)}
            entries |= {_place(stamps[row][0])[1]: (*stamps[row][1:], records[row]) for row in mine}
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    names=np.array(list(entries)),
                    stamps=np.array([entry[:2] for entry in entries.values()], np.int64),
                    records=np.array([entry[2] for entry in entries.values()], self._dtype),
                )
        self._forget()

    def _load(self, path: Path) -> dict[str, Entry]:
        """What a file says by name, or nothing; zip holds a checksum of each array, which finds what rotted."""
        with contextlib.suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError):
            # Opened here, for numpy leaves a file open of which it finds that it is no archive.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                names, stamps, records = file["names"], file["stamps"], file["records"]
            if records.dtype == self._dtype and stamps.shape == (len(names), 2) and len(records) == len(names):
                rows = zip(names, stamps, records, strict=True)
                return {str(name): (int(size), int(time), record) for name, (size, time), record in rows}
        return {}

    def _path(self, parent: str) -> Path:
        said = f"{self._version}\0{self._dtype.descr}\0{parent}"
        return self._folder / f"{hashlib.sha256(os.fsencode(said)).hexdigest()}.npz"

    def _forget(self) -> None:
        files = [(file.stat().st_mtime, file) for file in self._folder.glob("*.npz")]
        total = 0
        for _, file in sorted(files, reverse=True):
            total += file.stat().st_size
            if total > KEPT_BYTES:
                file.unlink(missing_ok=True)


def _by_folder(stamps: Mapping[int, Stamp]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, (source, *_) in stamps.items():
        found.setdefault(_place(source)[0], []).append(row)
    return found


def _place(source: str) -> tuple[str, str]:
    """The folder of the file that a picture is in, and the picture's name there: that of the file and what follows."""
    file = parse_address(source).file
    return str(Path(file).parent), f"{Path(file).name}{source[len(file) :]}"


def _counts(parent: str, name: str, entry: Entry) -> bool:
    """Whether the file is as it was; else what an archive held before it was packed anew would be kept for good."""
    stamp = stamp_of(str(Path(parent) / name))
    return stamp is not None and stamp[1:] == entry[:2]
