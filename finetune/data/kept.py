"""Decoded pictures kept between epochs, processes and runs: a folder that is filled while the pictures are used.

Each process appends to a file of its own, so nobody waits and nobody writes where another one does; an index that all
share says for each row in which file its picture lies. An entry carries a sum over the picture's bytes: what was cut
short, or half-written when the power went, is seen when it is read, and the picture is decoded anew.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..types import ImageSpec
from .kernels import quick_resize
from .policies import policy
from .transforms import eval_transform, resize, shrink_to

MARGIN = 1.15
"""How much larger than crops need pictures are kept: at 1 small crops would be resized to their size, and again."""

SLACK = 1.15
"""A picture so little larger than what is kept stays as it is: made smaller it would lose sharpness for nothing."""

INDEX = "index"
HEADER = 64
FULL_AT = HEADER - 1
ENTRY = struct.Struct("<QQIIIxxxxQ")  # file, offset, height, width, channels, sum
LARGEST = 2**28


@dataclass
class _Open:
    """The files of `Kept` as one process has them open."""

    process: int
    index: FileIO
    files: dict[int, FileIO] = field(default_factory=dict)
    own: FileIO | None = None
    name: int = 0
    full: bool = False

    def __del__(self) -> None:
        for file in (self.index, self.own, *self.files.values()):
            if file is not None:
                file.close()


class Kept:
    """What has been kept of some examples' pictures. It travels to workers and ranks as the name of its folder.

    Args:
        folder: Where; None keeps nothing, and pictures come out the same.
        count: The number of examples; rows go from 0.
        most: How many bytes the folder may hold.

    Raises:
        OSError: The folder cannot be written to.
    """

    def __init__(self, folder: Path | None, count: int, *, most: int) -> None:
        self.folder = folder
        self._most = most
        self._here: _Open | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / INDEX).open("ab") as index:
                index.truncate(HEADER + count * ENTRY.size)
            with (folder / INDEX).open("rb+") as index:  # written, so that the flag has its place on a full disk
                index.write(b"finetune pictures".ljust(HEADER, b"\0"))

    def get(self, row: int) -> np.ndarray | None:
        """The picture of a row, (H, W, C) uint8; None where it is not there, or not whole."""
        here = self._opened()
        if here is None:
            return None
        try:
            here.index.seek(HEADER + row * ENTRY.size)
            name, offset, *shape, total = ENTRY.unpack(here.index.read(ENTRY.size))
            if not name or not 0 < math.prod(shape) <= LARGEST:
                return None
            if name not in here.files:
                here.files[name] = FileIO(self._path(name))
            picture = np.empty(shape, np.uint8)
            here.files[name].seek(offset)
            read = here.files[name].readinto(picture.data)
        except (OSError, struct.error):
            return None
        return picture if read == picture.nbytes and _sum(picture) == total else None

    def put(self, row: int, picture: np.ndarray) -> None:
        """Keeps a picture, as long as there is room; float pictures, of 16 bits, are not kept."""
        here = self._opened()
        if picture.dtype != np.uint8 or self.folder is None or here is None or here.full:
            return
        picture = np.ascontiguousarray(picture)
        try:
            if folder_size(self.folder) + picture.nbytes > self._most:
                return self._stop(here)
            if here.own is None:
                here.name = int.from_bytes(os.urandom(8), "little") or 1
                here.own = FileIO(self._path(here.name), "x")
            offset = here.own.seek(0, os.SEEK_END)
            if here.own.write(picture.data) != picture.nbytes:
                here.own.truncate(offset)
                return self._stop(here)
            here.index.seek(HEADER + row * ENTRY.size)
            here.index.write(ENTRY.pack(here.name, offset, *picture.shape, _sum(picture)))
        except OSError:  # a disk that is full costs time, and nothing else
            self._stop(here)

    def close(self) -> None:
        """Closes this process's files; the next use opens them again."""
        self._here = None

    def ran_out(self) -> bool:
        """Whether some process found no room for a picture."""
        if self.folder is None:
            return False
        try:
            with (self.folder / INDEX).open("rb") as index:
                return index.read(HEADER)[FULL_AT:] == b"\1"
        except OSError:
            return False

    def _opened(self) -> _Open | None:
        """Opens the index once a process: a forked worker must not share the place of its parent's files."""
        if self.folder is not None and (self._here is None or self._here.process != os.getpid()):
            self._here = None
            with contextlib.suppress(OSError):  # somebody has cleared the cache away
                self._here = _Open(os.getpid(), FileIO(self.folder / INDEX, "r+"))
        return self._here

    def _path(self, name: int) -> Path:
        assert self.folder is not None  # noqa: S101
        return self.folder / f"{name:016x}.bin"

    def _stop(self, here: _Open) -> None:
        here.full = True
        with contextlib.suppress(OSError):
            here.index.seek(FULL_AT)
            here.index.write(b"\1")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_here": None}


def folder_size(folder: Path) -> int:
    """The bytes of the pictures in a folder of `Kept`; 0 where it is gone."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".bin"):
                total += entry.stat().st_size
    return total


def _sum(picture: np.ndarray) -> int:
    """A sum that no lost, moved or blank page leaves as it was; a tenth of what a CRC costs."""
    flat = np.ascontiguousarray(picture).reshape(-1)
    whole = len(flat) // 8 * 8
    words = int(np.add.reduce(flat[:whole].view(np.uint64)))
    return (words + int(flat[whole:].sum()) + len(flat)) % 2**64


class Preparation(NamedTuple):
    """What of a picture's way to the network is done once, before it is kept.

    shrink_to: As for `read_image`.
    apply: What is then done.
    spec: For the `train_transform` of what comes out.
    """

    shrink_to: int | None
    apply: Callable[[np.ndarray], np.ndarray]
    spec: ImageSpec


def preparation(spec: ImageSpec, name: str) -> Preparation:
    """What can be done once under a policy.

    Without random crops that is all but the variation, to the bit; with them, a picture larger than crops need is made
    smaller, and nothing else.

    Args:
        spec: What the network wants to see.
        name: The policy.
    """
    side = crop_side(spec, name)
    if side is None:  # a share of 1 takes the middle of what is the middle already: nothing more happens to it
        return Preparation(shrink_to(spec, name), eval_transform(spec), replace(spec, crop_pct=1.0))

    def shrink(picture: np.ndarray) -> np.ndarray:
        size = kept_size(picture.shape[:2], side)
        if size == picture.shape[:2]:
            return picture
        # The sharper kernel, whichever the network's: resized a second time by a softer one, pictures would be
        # blurred beside those of evaluation (features of crops: cosine .989 with the softer one, .996 with this).
        return (quick_resize if picture.dtype == np.uint8 else resize)(picture, size, "bicubic")

    return Preparation(side, shrink, spec)


def crop_side(spec: ImageSpec, name: str) -> int | None:
    """The shorter side, in pixels, of what is kept under a policy with random crops; None for one without."""
    if policy(name).scale is None:
        return None
    return math.ceil(MARGIN * (shrink_to(spec, name) or 0))


def kept_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of what is kept for crops of a picture of this size."""
    short = min(size)
    if short <= SLACK * side:
        return size[0], size[1]
    return round(size[0] * side / short), round(size[1] * side / short)
