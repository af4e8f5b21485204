"""Where the pictures are that a table names."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ..errors import DataError, listing
from .addresses import is_remote, parse_address, printable
from .folders import walk
from .listings import is_picture
from .texts import Texts

Names = dict[str, list[str]]


class _Folder:
    """The files of a folder: by their names, and by names that mean the same, which few tables need.

    A million names are 30 MB so, and 130 MB as a set.
    """

    def __init__(self, names: Iterable[str]) -> None:
        hashes, ends, self._bytes = array("q"), array("q", [0]), bytearray()
        for name in names:
            hashes.append(hash(name))
            self._bytes += name.encode("utf-8", "surrogatepass")
            ends.append(len(self._bytes))
        order = np.argsort(np.asarray(hashes))
        # Arrays of Python's own, for `bisect` asks one value at a time.
        self._hashes = array("q", np.asarray(hashes)[order].tobytes())
        self._order, self._ends = array("q", order.tobytes()), ends
        self._similar: Names | None = None

    def __contains__(self, name: str) -> bool:
        wanted = hash(name)
        place = bisect_left(self._hashes, wanted)
        while place < len(self._hashes) and self._hashes[place] == wanted:
            if self._written(self._order[place]) == name.encode("utf-8", "surrogatepass"):
                return True
            place += 1
        return False

    def __len__(self) -> int:
        return len(self._order)

    def similar(self, name: str) -> list[str]:
        if self._similar is None:
            names = [self._written(row).decode("utf-8", "surrogatepass") for row in range(len(self))]
            self._similar = _by_name(names)
        return self._similar.get(name.lower(), [])

    def _written(self, row: int) -> bytearray:
        return self._bytes[self._ends[row] : self._ends[row + 1]]


class Located(NamedTuple):
    """Pictures that a table names: the id and the absolute path of each, and notes."""

    ids: Texts
    sources: Texts
    notes: list[str]


def locate(values: Sequence[str], root: Path | str | None, where: str) -> Located:
    """Finds the file that each cell of a path column means.

    Args:
        values: Paths as written: absolute or relative, with `/` or back-slashes, with or without extension, perhaps
            with `#frame=N` behind; members of archives as `clean.csv` names them, `PATH.tar#START+SIZE=NAME`; or URLs.
        root: What they are relative to: a folder, or a URL. A file that is not where its cell says is searched for
            under that folder by name, which finds `images/a.jpg` for `a`, and a path of the machine where the table
            was made. Links under it that lead out of it are not followed, as in folders.
        where: The table's name in messages.

    Raises:
        DataError: Files that are missing, or cells that several files fit.
    """
    if isinstance(root, str) or all(map(is_remote, values)):
        return _at_urls(values, root)
    index = _Index(root)
    start = f"{index.root}{os.sep}"
    ids, sources = Texts(), Texts()
    missing: list[str] = []
    for value in values:
        source = value if is_remote(value) else _source(value.strip(), index)
        if source is None:
            missing.append(value)
        else:
            sources.append(source)
            ids.append(value if source == start + value else _id(source, start))
    links = f" {len(index.outside)} links that lead out of {index.root} were not followed." if index.outside else ""
    if missing:
        several = (
            f" {len(index.several)} of them fit several files, such as {listing(index.several, 1)}."
            if index.several
            else ""
        )
        raise DataError(
            f"{len(missing)} of {len(values)} pictures that {where} names cannot be found: "
            f"{listing([repr(value) for value in missing])}.{several}{links} Looked in {index.root}. "
            f"Expected paths relative to that folder: give another one as root, or remove these rows."
        )
    notes = [f"{index.searched} pictures were found by name under {index.root}."] if index.searched else []
    notes += [links.strip()] if links else []
    return Located(ids, sources, notes)


def _id(source: str, start: str) -> str:
    if is_remote(source):
        return printable(source)
    inside = source.removeprefix(start)
    # What stands behind a file's name, of a frame or of a member, is not normalised yet.
    return Path(inside).as_posix() if "#" in inside else inside.replace(os.sep, "/")


def _source(value: str, index: _Index) -> str | None:
    if "#" not in value:
        return index.find(value)
    address = parse_address(value)
    behind = value[len(address.file) :]
    if address.start is not None:
        # First, for a picture that lies about under the member's name is another one.
        path = index.find(address.file)
        return f"{path}{behind}" if path and path.lower().endswith(".tar") else None
    path = index.find(value)
    if path is None and address.frame:
        path = index.find(address.file)
        return path and f"{path}{behind}"
    return path


def _at_urls(values: Sequence[str], root: Path | str | None) -> Located:
    """Pictures at URLs: whether they are there is known when they are read."""
    base = f"{root}".rstrip("/")
    sources = Texts(value if is_remote(value) else f"{base}/{value.strip().replace(chr(92), '/')}" for value in values)
    ids = Texts(printable(source).removeprefix(f"{printable(base)}/") for source in sources)
    return Located(ids, sources, [])


class _Index:
    """Listings of folders, each read once: asking the disk row by row takes minutes on a network drive."""

    def __init__(self, root: Path | None) -> None:
        self.root = os.path.normpath((root or Path()).absolute())
        self.search = root is not None
        self.searched = 0
        self.several: list[str] = []
        self.outside: list[str] = []
        self._real = os.path.realpath(self.root)
        self._folders: dict[str, _Folder] = {}
        self._places: dict[str, tuple[str, _Folder]] = {}
        self._under: Names | None = None

    def find(self, value: str) -> str | None:
        if not value:
            return None
        forms = (value, value.replace("\\", "/")) if "\\" in value else (value,)
        for form in forms:
            name, start, listed = self._place(form)
            if name in listed:
                return start + name
            one = self._one(listed.similar(name), value)
            if one:
                return start + one
        if not self.search:
            return None
        one = self._one(self._anywhere().get(PurePosixPath(value.replace("\\", "/")).name.lower(), []), value)
        self.searched += one is not None
        return one

    def _place(self, form: str) -> tuple[str, str, _Folder]:
        """The name at the end of a path, what stands before it in the absolute one, and the files there."""
        name = form.rpartition("/")[2]
        before = form[: len(form) - len(name)]
        if name in ("", ".", "..") or os.sep in name or ":" in name:  # the end of the path is not its name
            folder, name = os.path.split(os.path.normpath(os.path.join(self.root, form)))  # noqa: PTH118
            return name, os.path.join(folder, ""), self._listed(folder)  # noqa: PTH118
        if before not in self._places:
            folder = os.path.normpath(os.path.join(self.root, before))  # noqa: PTH118  # as texts: a million paths
            self._places[before] = os.path.join(folder, ""), self._listed(folder)  # noqa: PTH118
        return name, *self._places[before]

    def _one(self, found: list[str], value: str) -> str | None:
        if len(found) > 1:
            self.several.append(f"{value!r} ({listing(found)})")
        return found[0] if len(found) == 1 else None

    def _listed(self, folder: str) -> _Folder:
        if folder not in self._folders:
            try:
                with os.scandir(folder) as entries:
                    found = _Folder(
                        e.name for e in entries if e.is_file() and not (e.is_symlink() and self._out(e.path))
                    )
                self._folders[folder] = _Folder(()) if len(found) and self._out(folder) else found
            except OSError:
                self._folders[folder] = _Folder(())
        return self._folders[folder]

    def _out(self, path: str) -> bool:
        """Whether a path under the root is, by some link, none; a path that names another place itself is as meant."""
        out = (
            self.search
            and Path(path).is_relative_to(self.root)
            and not Path(os.path.realpath(path)).is_relative_to(self._real)
        )
        if out:
            self.outside.append(path)
        return out

    def _anywhere(self) -> Names:
        if self._under is None:
            self._under = _by_name(list(walk(self.root))) if Path(self.root).is_dir() else {}
        return self._under


def _by_name(paths: list[str]) -> Names:
    """Files by their name in small letters, with and without the extension of a picture."""
    found: Names = defaultdict(list)
    for path in paths:
        name = Path(path).name
        found[name.lower()].append(path)
        if is_picture(name):
            found[name.rsplit(".", 1)[0].lower()].append(path)
    return dict(found)
