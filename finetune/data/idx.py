"""MNIST's own files: big-endian numbers behind a header, `train-images-idx3-ubyte` and so on, gzipped or not."""

from __future__ import annotations

import math
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, listing
from ..types import Part
from .listings import Listing

_NAME = re.compile(r"(?P<stem>.*?)(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx[123]-ubyte(\.gz)?$")
_PARTS: dict[str, Part] = {"train": "train", "t10k": "test", "test": "test"}
_UNSIGNED_BYTES = 8  # the third byte of the magic number 0x0000_08_0D; the fourth is the number of axes
MOST_BYTES = 8 << 30


def read_idx(path: str | Path) -> np.ndarray:
    """Reads a file of MNIST's format; a gzipped one too.

    Args:
        path: Its magic number is 2051 for pictures and 2049 for labels, big-endian as all its numbers.

    Returns:
        uint8: (N, H, W) pictures or (N,) labels.

    Raises:
        DataError: It is no such file, or does not hold what its header says.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = _unpacked(content, file)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}. Get it again.") from error
    magic = struct.unpack(">I", content[:4])[0] if len(content) >= 4 else None
    axes = (magic or 0) & 0xFF
    if magic is None or magic >> 8 != _UNSIGNED_BYTES or axes not in (1, 2, 3):
        raise DataError(
            f"{file} begins with {magic}, expected 2051 (pictures) or 2049 (labels), big-endian: it is no file of "
            "MNIST's format."
        )
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", content[4:start]) if len(content) >= start else ()
    if len(content) - start != math.prod(shape) or not shape:
        raise DataError(
            f"{file} says that it holds {' x '.join(map(str, shape)) or 'nothing'} bytes, and holds "
            f"{max(0, len(content) - start):,}: it is cut off or damaged. Get it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _unpacked(content: bytes, file: Path) -> bytes:
    """Unzips, and no more than a header can honestly ask for."""
    reader = zlib.decompressobj(wbits=31)
    unpacked = reader.decompress(content, MOST_BYTES)
    if not reader.eof:
        raise DataError(f"{file} is cut off, or larger than {MOST_BYTES / 2**30:g} GiB unpacked. Get it again.")
    return unpacked


def idx_files(folder: Path) -> dict[tuple[str, str], dict[str, Path]]:
    """The files of MNIST's format directly in a folder: (what a name begins with, part) to "images" and "labels"."""
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        match = _NAME.fullmatch(file.name)
        if match and file.is_file():
            found.setdefault((match["stem"], match["part"]), {}).setdefault(match["what"], file)
    return found


def is_idx(path: Path) -> bool:
    """Says whether a file is called as MNIST's are."""
    return _NAME.fullmatch(path.name) is not None


def list_idx(place: Path) -> Listing:
    """Reads MNIST's files of a folder, or the pictures of one file with the labels beside it; all are in memory.

    Args:
        place: A folder with both parts or one, or a file of one part. Where only one part is there it is no part of a
            split: `t10k` alone is divided like any other source.

    Raises:
        DataError: Pictures without labels or the other way round, or files that are damaged.
    """
    folder = place if place.is_dir() else place.parent
    files = idx_files(folder)
    if place.is_file():
        files = {key: pair for key, pair in files.items() if place in pair.values()}
    stems = {stem for stem, _ in files}
    if len(stems) > 1:
        raise DataError(
            f"{folder} holds MNIST's files of several sets: {listing(sorted(stems))}. Expected one, or a file of it."
        )
    given = len(files) > 1
    rows: list[tuple[str, np.ndarray, str, Part | None]] = []
    for (stem, part), pair in sorted(files.items(), key=lambda item: item[0][1] != "train"):
        if pair.keys() != {"images", "labels"}:
            there = listing([file.name for file in pair.values()])
            raise DataError(f"{folder} holds {there} alone. Expected pictures and their labels: both files of a part.")
        pictures, labels = read_idx(pair["images"]), read_idx(pair["labels"])
        if pictures.ndim != 3 or labels.ndim != 1 or len(pictures) != len(labels):
            raise DataError(
                f"{pair['images']} holds {pictures.shape} and {pair['labels'].name} {labels.shape}. Expected pictures "
                "and one label each."
            )
        rows += [
            (f"{stem}{part}/{row:05d}", picture, str(label), _PARTS[part] if given else None)
            for row, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True))
        ]
    return _listed(rows)


def _listed(rows: list[tuple[str, Any, str, Part | None]]) -> Listing:
    return Listing(
        ids=[row[0] for row in rows],
        sources=[f"array:{number}" for number in range(len(rows))],
        cells=[row[2] for row in rows],
        groups=[None] * len(rows),
        splits=[row[3] for row in rows],
        folders=True,
        arrays=[row[1] for row in rows],
    )
