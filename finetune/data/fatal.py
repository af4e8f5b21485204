"""Pictures that end the process which reads them, where threads of the run itself do: named and left out the next time.

A crash in a decoder cannot be caught in its own process. What each thread is at therefore stands in a small file that
outlives the process; the next pass over pictures tries what was left there in a process of its own, and knows from then
on which picture it was, until that file changes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UnreadableError
from ..files import in_use, locked
from .addresses import stamp

SLOT = 4096
"""Bytes of what one thread is at: its length, and the source."""

SLOTS = 256
"""So many threads are watched."""

LENGTH = struct.Struct("<I")
KILLERS, LOCK = "known.jsonl", "lock"

Read = Callable[[Any], Any]
"""Reads one picture."""


@dataclass(frozen=True)
class Watched:
    """Reading with a note of what is being read.

    Args:
        read: How.
        known: Why a source must not be read: its decoder ends the process.
        note: Says what this thread is at, an empty text when it is done; None where nothing can be noted.
    """

    read: Read
    known: Mapping[str, str]
    note: Callable[[str], None] | None

    def __call__(self, picture: Any) -> Any:
        """The picture.

        Raises:
            UnreadableError: As `read` raises it, or a decoder is known to end its process over it.
        """
        if not isinstance(picture, str) or self.note is None:
            return self.read(picture)
        if picture in self.known:
            raise UnreadableError(self.known[picture])
        self.note(picture)
        try:
            return self.read(picture)
        finally:
            self.note("")


@contextlib.contextmanager
def watched(read: Read, *, cache: Path | None = None) -> Iterator[Watched]:
    """Reads pictures so that one which ends this process is known to the next one.

    Args:
        read: How one is read.
        cache: The folder of the cache; by default `$FINETUNE_CACHE`, else `~/.cache/finetune`.
    """
    folder = (cache or Path(os.environ.get("FINETUNE_CACHE", "~/.cache/finetune")).expanduser()) / "reading"
    with contextlib.ExitStack() as stack:
        note, known = None, {}
        with contextlib.suppress(OSError):  # without a place for notes all is read as if nobody watched
            folder.mkdir(parents=True, exist_ok=True)
            with _one_by_one(folder):
                known = _tried(folder, _left(folder), read)
            note = stack.enter_context(_notes(folder))
        yield Watched(read, known, note)


@contextlib.contextmanager
def _notes(folder: Path) -> Iterator[Callable[[str], None]]:
    """A file of this process's own, locked while it lives; it goes when the pass ends in any other way than death."""
    path = folder / f"{os.getpid()}-{os.urandom(4).hex()}"
    with path.open("xb+") as file:
        locked(file)
        file.truncate(SLOT * SLOTS)
        slots = mmap.mmap(file.fileno(), SLOT * SLOTS)
        numbers, mine = itertools.count(), threading.local()

        def note(source: str) -> None:
            if not hasattr(mine, "at"):
                mine.at = next(numbers) * SLOT
            text = source.encode("utf-8", "surrogatepass")
            if mine.at < len(slots) and len(text) <= SLOT - LENGTH.size:
                start = mine.at + LENGTH.size
                slots[start : start + len(text)] = text
                LENGTH.pack_into(slots, mine.at, len(text))

        try:
            yield note
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _one_by_one(folder: Path) -> Iterator[None]:
    """Ranks begin a pass together: whoever comes second waits for what the first one finds out."""
    with (folder / LOCK).open("ab") as file:
        while os.name == "posix" and not locked(file):
            time.sleep(0.05)
        yield


def _left(folder: Path) -> set[str]:
    """What processes that are no more were reading when they ended; their files go."""
    found = set()
    for path in folder.iterdir():
        with contextlib.suppress(OSError, UnicodeDecodeError, struct.error):
            if path.name in (KILLERS, LOCK) or in_use(path):
                continue
            raw = path.read_bytes()
            path.unlink()
            for at in range(0, len(raw), SLOT):
                length = LENGTH.unpack_from(raw, at)[0]
                if 0 < length <= SLOT - LENGTH.size:
                    text = raw[at + LENGTH.size : at + LENGTH.size + length]
                    found.add(text.decode("utf-8", "surrogatepass"))
    return found


def _tried(folder: Path, suspects: Iterable[str], read: Read) -> dict[str, str]:
    """Why each source that ends its reader must not be read, after those that are suspected now have been tried."""
    known: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):
        for line in (folder / KILLERS).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                source, mark, why = json.loads(line)
                known[source] = [mark, why]
    alive = sorted(source for source in suspects if _stamp(source) is not None)
    if alive:
        from .workers import killers  # brings torch along

        for (row, _), why in killers(_Suspects(read, alive), [(row, 0) for row in range(len(alive))]).items():
            source = alive[row]
            known[source] = [str(_stamp(source)), why]
            with (folder / KILLERS).open("a", encoding="utf-8") as file:
                file.write(json.dumps([source, *known[source]]) + "\n")
    return {source: why for source, (mark, why) in known.items() if _stamp(source) == mark}


def _stamp(source: str) -> str | None:
    try:
        return stamp(source)
    except (OSError, ValueError):  # it is gone, or no name of a file
        return None


@dataclass(frozen=True)
class _Suspects:
    """Pictures by place, as `killers` asks for them."""

    read: Read
    sources: Sequence[str]

    def __getitem__(self, place: tuple[int, int]) -> Any:
        return self.read(self.sources[place[0]])
