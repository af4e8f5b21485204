"""Arrays in files of a cache: whole or absent, never more bytes than a bound, those unused for longest go first."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from .files import in_use, locked


@final
@dataclass(frozen=True)
class Shelf:
    """A folder of `.npy` files, each named by a hash of all that it depends on: so none is stale, only unused.

    Args:
        folder: Where; it is made when it is first needed.
        most: How many bytes all files may have together, those that are being written too.
    """

    folder: Path
    most: int

    @classmethod
    def of(cls, kind: str, *, most: int, cache: Path | None = None) -> Shelf:
        """The shelf for a kind of arrays in `cache`, by default under `$FINETUNE_CACHE`, else `~/.cache/finetune`."""
        root = Path(os.environ.get("FINETUNE_CACHE", "~/.cache/finetune")).expanduser()
        return cls(cache or root / kind, most)

    def path(self, name: str) -> Path:
        """Where an array of that name lies, if it is there."""
        return self.folder / f"{name}.npy"

    def get(self, name: str | None, count: int) -> np.ndarray | None:
        """An array, memory-mapped, if it is there with so many rows; of no name there is none."""
        if name is None:
            return None
        with contextlib.suppress(OSError, ValueError, EOFError):
            values: np.ndarray = np.load(self.path(name), mmap_mode="r", allow_pickle=False)
            if len(values) == count:
                os.utime(self.path(name))  # its last use, by which old files are told from needed ones
                return values
        return None

    def put(self, name: str, values: np.ndarray) -> None:
        """Keeps an array.

        Raises:
            OSError: It cannot be written, or is larger than all that may be kept.
        """
        with Volume.written(self, name, shape=values.shape, dtype=values.dtype) as volume:
            volume.append(values)
            volume.finish()

    def make_room(self, need: int) -> bool:
        """Removes what is left of killed processes, then what was unused for longest, until so much more fits.

        What somebody has open stays.
        """
        with contextlib.suppress(OSError):
            for left in self.folder.glob("*.partial"):
                _remove(left)
        if need > self.most:
            return False
        for file in sorted(self.folder.glob("*.npy"), key=_last_use):
            if self.size() + need <= self.most:
                break
            _remove(file)
        return self.size() + need <= self.most

    def size(self) -> int:
        """The bytes of all files."""
        total = 0
        for pattern in ("*.npy", "*.partial"):
            for file in self.folder.glob(pattern):
                with contextlib.suppress(OSError):
                    total += file.stat().st_size
        return total


@final
class Volume:
    """A file of a shelf: written once from front to back, then read. It stays where it is while this is open.

    Args:
        path: Where it lies.
        file: The same, open and locked.
        final: What it is called when it is whole; None where it is gone when this is closed.
        whole: Whether it has been written.
    """

    def __init__(self, path: Path, file: Any, *, final: Path | None, whole: bool) -> None:
        self.path = path
        self._file = file
        self._final = final
        self._whole = whole

    @classmethod
    def written(cls, shelf: Shelf, name: str | None, *, shape: Sequence[int], dtype: Any) -> Volume:
        """A new file, with all the room that it will take.

        Args:
            shelf: Where.
            name: Under which later runs find it; None keeps it for as long as it is open.
            shape: Of the array.
            dtype: Of its numbers.

        Raises:
            OSError: No room within the bound or on the disk, or a folder that cannot be written to.
        """
        header = _header(shape, np.dtype(dtype))
        need = len(header) + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        shelf.folder.mkdir(parents=True, exist_ok=True)
        if not shelf.make_room(need):
            raise OSError(errno.ENOSPC, f"{need:,} bytes do not fit within the bound of {shelf.most:,}")
        handle, temporary = tempfile.mkstemp(dir=shelf.folder, suffix=".partial")
        volume = cls(
            Path(temporary), os.fdopen(handle, "r+b"), final=shelf.path(name) if name is not None else None, whole=False
        )
        try:
            locked(volume._file)
            if os.name == "posix":  # a disk that is full is told now, and not when half of the work is done
                os.posix_fallocate(handle, 0, need)
            if shelf.size() > shelf.most:  # somebody else has taken the same room meanwhile
                raise OSError(errno.ENOSPC, f"{need:,} bytes do not fit within the bound of {shelf.most:,}")
            volume._file.write(header)
            volume._file.flush()  # others may write its rows
        except BaseException:
            volume.close()
            raise
        return volume

    @classmethod
    def known(cls, shelf: Shelf, name: str | None, count: int) -> Volume | None:
        """A file that is there already, with so many rows; None where it is not."""
        if name is None or shelf.get(name, count) is None:
            return None
        with contextlib.suppress(OSError):
            file = shelf.path(name).open("rb")
            locked(file, shared=True)
            return cls(shelf.path(name), file, final=shelf.path(name), whole=True)
        return None

    def append(self, values: np.ndarray) -> None:
        """Writes the next rows.

        Raises:
            OSError: It cannot be written.
        """
        self._file.write(np.ascontiguousarray(values).data)

    def finish(self) -> None:
        """All rows are there: gives the file its name."""
        self._file.flush()
        self._whole = True
        if self._final is not None:
            self.path.replace(self._final)
            self.path = self._final
            locked(self._file, shared=True)

    def close(self) -> None:
        """Lets go of the file; it goes where it is not whole or has no name."""
        self._file.close()
        if not self._whole or self._final is None:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class Rows:
    """Writes rows of a file that a `Volume` has laid out, from any process that sees it.

    Where others write other rows at the same time nothing is lost: each writes the bytes of its own.

    Args:
        path: Of the file.

    Raises:
        OSError: It cannot be seen or written from here.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        np.lib.format.read_magic(self._file)
        self._shape, _, self._dtype = np.lib.format.read_array_header_1_0(self._file)
        self._first = self._file.tell()

    def put(self, at: np.ndarray, values: np.ndarray) -> None:
        """Writes some rows.

        Args:
            at: (n,) int64, where each belongs, ascending.
            values: (n, ...) what it holds.

        Raises:
            OSError: They cannot be written.
        """
        each = math.prod(self._shape[1:]) * self._dtype.itemsize
        for run in np.split(np.arange(len(at)), np.flatnonzero(np.diff(at) != 1) + 1):
            if len(run):
                self._file.seek(self._first + int(at[run[0]]) * each)
                self._file.write(np.ascontiguousarray(values[run[0] : run[-1] + 1], self._dtype).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _header(shape: Sequence[int], dtype: np.dtype[Any]) -> bytes:
    buffer = io.BytesIO()
    words = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(buffer, words)
    return buffer.getvalue()


def _last_use(file: Path) -> float:
    with contextlib.suppress(OSError):
        return file.stat().st_mtime
    return 0.0


def _remove(file: Path) -> None:
    """Removes a file that nobody has open."""
    with contextlib.suppress(OSError):
        if not in_use(file):
            file.unlink()
