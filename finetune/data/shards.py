"""Tar archives in WebDataset's layout: `key.jpg` beside `key.cls`, `key.txt` or `key.json`; nothing is unpacked.

An archive is gone through once, header by header. Each picture becomes a row of the ordinary table whose source is the
stretch of the archive that holds it, so that splits, groups and samplers work as for files: rows are dealt out to
ranks and workers, and none is read twice or left out, however many archives there are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from ..errors import DataError, listing
from .addresses import parse_address, printable, stretch_of
from .listings import PART_WORDS, Listing, is_picture
from .options import Data
from .paths import Located
from .tables import TARGET_NAMES, list_table
from .tars import Member, index_tar, open_archive
from .texts import Texts

MOST_TEXT = 1 << 20  # bytes of a label
MOST_PICTURE = 1 << 30
LABELS = ("cls", "label", "class", "target")


def list_shards(archives: Sequence[str], data: Data, root: str) -> Listing:
    """Reads the samples of archives; opens no picture.

    Args:
        archives: Paths or URLs.
        data: `image` names an extension where samples have several pictures; `target`, `group` and `split` name
            extensions of texts (`cls`) or fields of `key.json`.
        root: What the archives' names are told relative to.

    Raises:
        DataError: An archive that is cut off or damaged, or samples without a picture or a label.
    """
    rows: list[dict[str, Any]] = []
    located = Located(Texts(), Texts(), [])
    words: list[str | None] = []
    links = without = 0
    for archive in archives:
        name = printable(archive).removeprefix(printable(root).rstrip("/")).lstrip("/")
        count = len(rows)
        with open_archive(archive) as file:
            try:
                members, passed = index_tar(file)
                for key, sample in _samples(members):
                    picture = _picture(key, sample, data.image)
                    without += picture is None
                    if picture is None:
                        continue
                    located.ids.append(f"{name}/{picture.name}")
                    located.sources.append(stretch_of(archive, picture.start, picture.size, picture.name))
                    rows.append(_texts(file, sample))
            except DataError as error:
                raise DataError(f"The archive {printable(archive)} cannot be used: {error}.") from None
        links += passed
        words += [_part_word(name)] * (len(rows) - count)
    if not rows:
        raise DataError(f"{listing(list(map(printable, archives)), 1)} holds no pictures. Expected key.jpg, key.cls.")
    found = _as_listing(pd.DataFrame(rows), located, data, printable(root))
    if not data.split and None not in words and len({PART_WORDS[word] for word in words if word}) > 1:
        found.splits = list(words)
    if links:
        found.notes.append(f"{links} links and special files in archives were passed over.")
    if without:
        found.notes.append(f"{without} samples without a picture were left out.")
    return found


def _as_listing(table: pd.DataFrame, located: Located, data: Data, where: str) -> Listing:
    target = data.target
    known = list(table.columns)
    if target is None:
        target = next((name for name in (*LABELS, *TARGET_NAMES, "txt") if name in known), None)
    if target is None:
        raise DataError(
            f"The samples of {where} have no label. Expected key.cls, key.txt or key.json beside key.jpg"
            + (f"; target can name one of {listing(known, 10)}." if known else ".")
        )
    gaps: Any = [] if not isinstance(target, str) or target not in known else np.flatnonzero(table[target].isna())
    if len(gaps):
        raise DataError(f"{len(gaps)} samples of {where} have no {target}, such as {located.ids[gaps[0]]}.")
    image = "__image__"
    table[image] = located.sources.column()
    found = list_table(table, replace(data, image=image, target=target), None, where, located=located)
    found.folders = target == "cls"  # a number that WebDataset's users mean as a class
    return found


def shard_order(sources: Sequence[str], *, seed: int, epoch: int, window: int = 2000) -> np.ndarray:
    """A training order that reads archives from front to back.

    Archives are shuffled; in each, samples come in the order in which they lie there, and each is then moved by less
    than `window` places.

    Args:
        sources: Those of the rows to order.
        seed: With the epoch it fixes the order.
        epoch: Which epoch it is for.
        window: How far a sample may move; at 1 archives are read strictly one after another.

    Returns:
        (n,) int64, a permutation of 0..n-1.
    """
    rng = np.random.default_rng((seed, epoch))
    addresses = [parse_address(source) for source in sources]
    names = sorted({address.file for address in addresses})
    place = dict(zip(names, rng.permutation(len(names)).tolist(), strict=True))
    order = sorted(range(len(sources)), key=lambda row: (place[addresses[row].file], addresses[row].start or 0, row))
    moved = np.argsort(np.arange(len(order)) + rng.random(len(order)) * window, kind="stable")
    return np.asarray(order, np.int64)[moved]


def archived(sources: Sequence[str]) -> Sequence[str] | None:
    """The sources, where all of them are stretches of archives; None where some are not."""
    return sources if all(parse_address(source).start is not None for source in sources) else None


# Samples


def _samples(members: list[Member]) -> Iterator[tuple[str, dict[str, Member]]]:
    """Members of one key, which lie side by side, by their extension."""
    sample: dict[str, Member] = {}
    last = None
    for member in members:
        folder, _, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        if not stem or not extension or "__MACOSX" in folder:
            continue
        key = f"{folder}/{stem}" if folder else stem
        if key != last:
            if sample:
                yield str(last), sample
            sample, last = {}, key
        if extension.lower() in sample:
            raise DataError(f"the sample {key!r} has two members .{extension.lower()}")
        sample[extension.lower()] = member
    if sample:
        yield str(last), sample


def _picture(key: str, sample: dict[str, Member], wanted: str | None) -> Member | None:
    if wanted:
        return sample.get(wanted.lower().removeprefix("."))
    found = [extension for extension in sample if is_picture(f"a.{extension}")]
    if len(found) > 1:
        raise DataError(
            f"the sample {key!r} has several pictures: {listing(found)}; image says which, {found[0]!r} say"
        )
    if not found:
        return None
    picture = sample[found[0]]
    if picture.size > MOST_PICTURE:
        raise DataError(f"its member {picture.name!r} has {picture.size} bytes, more than any picture")
    return picture


def _texts(file: BinaryIO, sample: dict[str, Member]) -> dict[str, Any]:
    """The texts of a sample, and the fields of its JSON, as cells of a row."""
    row: dict[str, Any] = {}
    for extension, member in sample.items():
        if extension not in (*LABELS, "txt", "text", "json") and not extension.endswith((".txt", ".json")):
            continue
        if member.size > MOST_TEXT:
            raise DataError(f"its member {member.name!r} has {member.size} bytes, which is no label")
        file.seek(member.start)
        text = file.read(member.size).decode("utf-8", "backslashreplace").strip()
        if not extension.endswith("json"):
            row[extension] = text
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"its member {member.name!r} is no JSON: {error}") from None
        if isinstance(fields, dict):
            row |= {str(name): value for name, value in fields.items() if not isinstance(value, dict)}
        else:
            row[extension] = fields
    return row


def _part_word(name: str) -> str | None:
    """The word for a part that an archive's folder is called, or its own name begins with."""
    path = PurePosixPath(name.lower())
    begins = re.match(r"[a-z]+", path.name)
    words = [*path.parts[:-1], begins[0] if begins else ""]
    return next((word for word in words if word in PART_WORDS), None)
