"""Which examples of a table are files of another one: under the same address, or the same bytes elsewhere."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from ..files import sha256
from .examples import Examples


def same_files(examples: Examples, known: Examples) -> np.ndarray:
    """(N,) bool, whether each of N examples is a file that `known` has too.

    Files are read where their size is that of a known one. What is no file of this machine (members of archives, URLs,
    frames) is known by its address alone, and a picture in memory never; pictures that were saved anew are what
    `finetune check` looks for.
    """
    if examples.arrays is not None or known.arrays is not None:
        return np.zeros(len(examples), bool)
    addresses = set(known.table["source"])
    sizes: dict[int, list[str]] = defaultdict(list)
    for source in addresses:
        if (size := _size(source)) is not None:
            sizes[size].append(source)
    digests: dict[int, set[str | None]] = {}

    def is_known(source: str) -> bool:
        if source in addresses:
            return True
        size = _size(source)
        if not size or size not in sizes:
            return False
        if size not in digests:
            digests[size] = {_digest(one) for one in sizes[size]} - {None}
        return _digest(source) in digests[size]

    return np.array([is_known(source) for source in examples.table["source"]], bool)


def _size(source: str) -> int | None:
    try:
        return Path(source).stat().st_size
    except (OSError, ValueError):  # no file, or a name that cannot be one
        return None


def _digest(source: str) -> str | None:
    try:
        return sha256(Path(source))
    except OSError:
        return None
