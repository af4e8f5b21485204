"""Where decoded pictures are kept: in memory while a run lasts, on the disk between runs, or nowhere."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from PIL import Image

from ..files import locked
from ..types import ImageSpec
from .addresses import stamp
from .examples import Examples
from .kept import INDEX, Kept, crop_side, folder_size, kept_size

Where = Literal["auto", "ram", "disk", "off"]

FORMAT = 2
"""Counts up when reading or resizing changes, so that pictures kept before are not taken for those kept after."""

DISK_BYTES = 20 * 2**30
"""How much the cache on the disk may hold; the sets unused for longest go first."""

PREFIX = "finetune-pictures-"


class PictureCache:
    """The pictures that a run keeps decoded. A context: what lies in memory is gone at its end.

    Whether and where there is room changes the time that training takes, and no picture: those that cannot be kept are
    made in each epoch as if they had been.

    Args:
        where: "ram", "disk", "off", or "auto": memory where a quarter of what is free holds them all, else the disk
            where it does, else nowhere.
        examples: All examples of the run; pictures in memory are not kept a second time.
        spec: What the network wants to see.
        say: Is told where how much is kept, and when room ran out.
    """

    def __init__(self, where: Where, examples: Examples, spec: ImageSpec, *, say: Callable[[str], None]) -> None:
        self._where = where
        self._examples = examples
        self._spec = spec
        self._say = say
        self._memory: Path | None = None
        self._lock: Any = None
        self._promised = 0
        self._kept: list[Kept] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for kept in self._kept:
            kept.close()
            if kept.ran_out():
                self._say(
                    f"  there was no room to keep all pictures decoded in {kept.folder}; the others were read anew"
                )
        if self._memory is not None:
            shutil.rmtree(self._memory, ignore_errors=True)
            self._lock.close()

    def kept(self, name: str, rows: np.ndarray, *, epochs: int) -> Kept | None:
        """What is kept for a loader; None where the cache is off.

        Args:
            name: The policy that varies the pictures.
            rows: The rows that the loader takes.
            epochs: How often; once needs no keeping.
        """
        if self._where == "off" or self._examples.arrays is not None:
            return None
        need = self._need(name, rows)
        where: Any = self._where
        if where == "auto":
            where = "ram" if need <= memory_room() - self._promised else "disk" if need <= DISK_BYTES else None
            if epochs < 2:
                where = None
        try:
            made = self._make(where, name, need)
        except OSError as error:
            self._say(f"  decoded pictures are not kept: {error}")
            made = Kept(None, len(self._examples), most=0)
        if made.folder is not None:
            self._promised += need if where == "ram" else 0
            self._say(f"  {len(rows):,} pictures are kept decoded in {made.folder} (about {need / 2**20:.0f} MiB)")
        self._kept.append(made)
        return made

    def _make(self, where: str | None, name: str, need: int) -> Kept:
        count = len(self._examples)
        if where == "ram":
            # As much again for what the estimate misses; never so much that nothing is left for the rest of the run.
            folder = self._memory_folder() / str(len(self._kept))
            return Kept(folder, count, most=min(2 * need, max(0, 2 * (memory_room() - self._promised))))
        if where == "disk" and (key := self._key(name)) is not None:
            root = Path(os.environ.get("FINETUNE_CACHE", "~/.cache/finetune")).expanduser() / "pictures"
            folder = root / key
            folder.mkdir(parents=True, exist_ok=True)
            _make_room(root, folder, need)
            free = shutil.disk_usage(folder).free + folder_size(folder)
            kept = Kept(folder, count, most=min(DISK_BYTES, free * 9 // 10))
            os.utime(folder / INDEX)  # its last use, by which old sets are told from needed ones
            return kept
        return Kept(None, count, most=0)

    def _memory_folder(self) -> Path:
        if self._memory is None:
            base = memory_base()
            _sweep(base)
            self._memory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            self._lock = (self._memory / "owner").open("wb")
            locked(self._lock)
        return self._memory

    def _need(self, name: str, rows: np.ndarray) -> int:
        """About how many bytes the pictures of these rows take, from the headers of some."""
        spec = self._spec
        side = crop_side(spec, name)
        if side is None:
            return len(rows) * math.prod(spec.size) * spec.in_chans
        sources = self._examples.table["source"]
        areas = []
        for row in rows[:: max(1, len(rows) // 64)]:
            with contextlib.suppress(Exception), Image.open(sources[int(row)]) as image:
                areas.append(math.prod(kept_size((image.height, image.width), side)))
        return int(len(rows) * spec.in_chans * (np.mean(areas) if areas else 2 * side**2))

    def _key(self, name: str) -> str | None:
        """A name for these pictures, in this order, prepared in this way; other files or times give another one.

        None where some may change unseen, as at a URL: what was kept of them in an earlier run would prove nothing.
        """
        side = crop_side(self._spec, name)
        how: list[Any] = [FORMAT, side, name if side is None and name != "none" else "", self._spec.in_chans]
        how.append(self._spec.to_dict())
        how += [importlib.metadata.version(package) for package in ("pillow", "torch")]
        digest = hashlib.sha256(json.dumps(how).encode())
        for source in self._examples.table["source"]:
            known: str | None = f"{source}\0"
            with contextlib.suppress(OSError):  # one that is not there is named when it is read
                known = stamp(source)
            if known is None:
                return None
            digest.update(f"{known}\n".encode())
        return digest.hexdigest()[:32]


def _make_room(root: Path, mine: Path, need: int) -> None:
    """Removes the sets that were unused for longest, until there is room for this one."""

    def last_use(folder: Path) -> float:
        with contextlib.suppress(OSError):
            return (folder / INDEX).stat().st_mtime
        return 0.0

    total = max(need, folder_size(mine))
    for folder in sorted((f for f in root.iterdir() if f != mine), key=last_use, reverse=True):
        total += folder_size(folder)
        if total > DISK_BYTES:
            shutil.rmtree(folder, ignore_errors=True)


def memory_base() -> Path:
    """A folder whose files are memory, where the system has one; else that of temporary files."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def memory_room() -> int:
    """A quarter of the memory that is free, in bytes, and at most half of what the folder of memory still takes.

    Workers hand their batches over in the same folder, and die where it is full.
    """
    return min(_free_memory() // 4, shutil.disk_usage(memory_base()).free // 2)


def _free_memory() -> int:
    free = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    # A container may have less than its machine.
    with contextlib.suppress(OSError, StopIteration, ValueError):
        groups = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line for line in groups if line.startswith("0::")).removeprefix("0::/")
        for folder in {Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup") / own}:
            with contextlib.suppress(OSError, ValueError):
                most = int((folder / "memory.max").read_text())
                free.append(max(0, most - int((folder / "memory.current").read_text())))
    if not free:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # systems without /proc; half may be in use
            free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    return min(free, default=0)


def _sweep(base: Path) -> None:
    """Removes what runs left in memory that were killed: their lock is free."""
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "owner").open("rb+") as owner:
            if locked(owner):
                shutil.rmtree(folder, ignore_errors=True)
