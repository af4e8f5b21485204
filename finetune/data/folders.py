"""Folders of pictures: class folders, part folders, and flat folders whose file names carry the label."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import DataError, listing
from ..types import PARTS, Part
from .addresses import is_remote
from .labels import natural_key
from .listings import EXTENSIONS, PART_WORDS, Listing, is_hidden, is_picture, matched
from .tars import find_archives, is_shards, list_members


def walk(folder: str | Path, outside: list[str] | None = None) -> Iterator[str]:
    """Finds every picture under a folder, in natural order.

    Hidden files are passed over. So are links that lead out of the folder, since a downloaded archive could carry
    links to anything on the machine, and links back to a folder on the way here, which would never end.

    Args:
        folder: Where to look.
        outside: Collects the links that were not followed.

    Yields:
        Paths that begin with `folder`.

    Raises:
        DataError: A picture whose name is not UTF-8, which no table of examples or answers could hold.
    """
    root = os.path.realpath(folder)
    yield from _walk(str(folder), root, frozenset({root}), [] if outside is None else outside)


def _walk(folder: str, root: str, trail: frozenset[str], outside: list[str]) -> Iterator[str]:
    # scandir knows folders from files without asking the disk again, which counts with a million of them.
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: natural_key(entry.name))
    for entry in ordered:
        if is_hidden(entry.name):
            continue
        if entry.is_symlink():
            real = Path(os.path.realpath(entry.path))
            if not real.is_relative_to(root):
                outside.append(entry.path)
                continue
        if entry.is_dir():
            real_folder = os.path.realpath(entry.path)
            if real_folder not in trail:
                yield from _walk(entry.path, root, trail | {real_folder}, outside)
        elif is_picture(entry.name) and entry.is_file():
            yield _in_utf8(entry.path)


def _in_utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"The name of the picture {os.fsencode(path)!r} is not UTF-8. Rename it, or the folder whose name is not."
        ) from None
    return path


def list_pictures(inputs: Sequence[str | Path]) -> list[str]:
    """Lists what a model is asked about, in the order asked.

    Args:
        inputs: Files, folders (searched through, in natural order) and patterns with `*`, `?` or `[...]`. A file that
            is not there stays in the list, so that its row of the answer can say so.

    Raises:
        DataError: A folder without pictures, or a pattern that no picture matches.
    """
    paths: list[str] = []
    for item in inputs:
        text = str(item)
        if is_remote(text):
            paths += list_members(text) if is_shards(text) else [text]
            continue
        if is_shards(text):
            paths += [source for archive in find_archives(text) for source in list_members(archive)]
            continue
        if Path(text).is_dir():
            found = list(walk(text))
            problem = f"The folder {text} holds no pictures."
        elif not Path(text).exists() and glob.has_magic(text):
            # Path.glob takes no absolute pattern.
            matches = glob.glob(text, recursive=True)  # noqa: PTH207
            found = sorted((m for m in matches if is_picture(m) and Path(m).is_file()), key=natural_key)
            problem = f"No picture matches the pattern {text}."
        else:
            found, problem = [text], ""
        if not found:
            raise DataError(f"{problem} Expected files with an extension such as {listing(sorted(EXTENSIONS), 30)}.")
        paths += found
    return paths


def read_folder(root: Path, *, label_from: str | None, for_training: bool) -> Listing:
    """Reads a folder of pictures: their labels, and their parts where it has part folders.

    Args:
        root: Class folders; part folders (train, val, test) of class folders; or files that carry their label.
        label_from: Regular expression that takes the label from the file name; it goes before the folders' names.
        for_training: Whether an empty class folder is an error.

    Raises:
        DataError: A folder without pictures, without labels, or with an empty class.
    """
    outside: list[str] = []
    found = list(walk(root, outside))
    names = [Path(path).relative_to(root).as_posix() for path in found]
    notes = [f"{len(outside)} links that lead out of {root} were not followed."] if outside else []
    if not names:
        raise DataError(
            f"The folder {root} holds no pictures. Expected files with an extension such as .jpg or .png, in one "
            f"folder a class. {' '.join(notes) or 'Check the path.'}"
        )
    bases = _part_folders(names)
    rows: list[tuple[str, str, str | None]] = []
    for base, part in bases.items():
        inside = [name for name in names if name.startswith(base)]
        labels, left = _labels(root, base, inside, label_from)
        if left:
            notes.append(f"{left} pictures beside the class folders of {root / base} were left out.")
        if not label_from:
            notes += _check_empty(root / base, set(labels.values()), stop=for_training and part in (None, "train"))
        rows += [(name, label, part) for name, label in labels.items()]
    passed = sum(not name.startswith(tuple(bases)) for name in names)
    if passed:
        notes.append(f"{passed} pictures outside the folders {listing(list(bases), 5)} were left out.")
    ids = [name for name, _, _ in rows]
    return Listing(
        ids=ids,
        sources=[str(root / name) for name in ids],
        cells=[label for _, label, _ in rows],
        groups=[None] * len(rows),
        splits=[part for _, _, part in rows],
        notes=notes,
        folders=not label_from,
    )


def _part_folders(names: list[str]) -> dict[str, Part | None]:
    """The part folders, as prefixes of names: all of them are, or there is a train folder beside another part's.

    A lone `train` beside other folders is the class of that vehicle.
    """
    tops = dict.fromkeys(name.split("/")[0] for name in names if "/" in name)
    parts: dict[str, Part | None] = {f"{top}/": PART_WORDS[top.lower()] for top in tops if top.lower() in PART_WORDS}
    kinds = set(parts.values())
    if parts and (len(parts) == len(tops) or ("train" in kinds and len(kinds) > 1)):
        return dict(sorted(parts.items(), key=lambda item: PARTS.index(item[1] or "train")))
    return {"": None}


def _labels(root: Path, base: str, names: list[str], label_from: str | None) -> tuple[dict[str, str], int]:
    """The label of each name, and the number of pictures that have none since they lie beside class folders."""
    if label_from:
        labels = {name: matched(label_from, name) for name in names}
        missed = [name for name, label in labels.items() if label is None]
        if missed:
            raise DataError(
                f"label_from '{label_from}' finds no label in {len(missed)} of {len(names)} file names, such as "
                f"{listing(missed)}. Expected it to match every picture in {root / base}: widen it, or move these away."
            )
        return {name: label for name, label in labels.items() if label}, 0
    inner = {name: name.removeprefix(base) for name in names}
    labelled = {name: rest.split("/")[0] for name, rest in inner.items() if "/" in rest}
    if not labelled:
        raise DataError(
            f"The pictures in {root / base} have no labels: they lie in one folder, such as {listing(names)}. Expected "
            f"one folder a class, or a regular expression that takes the label from the file name, such as "
            f"{_suggestion(names)}."
        )
    return labelled, len(names) - len(labelled)


def _suggestion(names: list[str]) -> str:
    """An example of `--label-from`, made of the words that these file names begin with."""
    heads = [re.match(r"[A-Za-z]+", name.rsplit("/", 1)[-1]) for name in names]
    words = sorted({head.group() for head in heads if head})
    if all(heads) and 2 <= len(words) <= 6:
        return f'--label-from "^({"|".join(words)})"'
    return '--label-from "^([A-Za-z]+)"'


def _check_empty(folder: Path, classes: set[str], *, stop: bool) -> list[str]:
    with os.scandir(folder) as entries:
        folders = {entry.name: entry.is_symlink() for entry in entries if entry.is_dir() and not is_hidden(entry.name)}
    empty = sorted(set(folders) - classes - (PART_WORDS.keys() if not stop else set()), key=natural_key)
    if not empty:
        return []
    count = f"{len(empty)} class folder{'s hold' if len(empty) > 1 else ' holds'}"
    found = f"{count} no pictures in {folder}: {listing(empty)}."
    if any(folders[name] for name in empty):
        found += " Links that lead out of the source are not followed."
    if stop:
        raise DataError(f"{found} Expected at least one picture in each: add some, or remove the folder.")
    return [found]
