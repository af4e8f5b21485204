"""Batches from processes that may die: one that a picture kills costs that picture, and not the run."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from ..errors import DataError, UnreadableError
from ..types import Batch
from .ahead import how_it_ended
from .samplers import Place

DIED = re.compile(r"DataLoader worker \(pid")
"""How torch's loader says that one of its processes is gone."""

CHANCES = 3
"""How often processes may die in an epoch without a picture that does it, before it is said to be the machine."""

SHARED = "/dev/shm"
"""Where torch lays the batches that its processes hand over; a container often has 64 MB of it."""

Say = Callable[[str], None]


class Pictures(Protocol):
    """What `PictureLoader` reads from.

    Args:
        lost: The rows that are not read any more; in their place the row that they are given is read, or none.
    """

    lost: dict[int, int | None]

    def __getitem__(self, place: Place) -> Any:
        """A sample; the error of one that cannot be read; None of a lost one."""

    def name(self, row: int) -> str:
        """How a row is called towards people."""


class PictureLoader(DataLoader[Any]):
    """Batches of pictures; one that cannot be read stops the loop with its own words.

    Raised in a worker, an error comes back with that worker's traceback in its message; so it travels as a value.

    A worker that dies is replaced, and the epoch goes on with the batch that it owed. The pictures that it may have
    been at are read one by one in a process of their own: one that kills this one too is treated as a corrupt file.

    Args:
        dataset: By (row, epoch), where there are workers a `Pictures`.
        skip: Whether a picture that kills its reader is left out; else it ends the loop with its name.
        replace: Whether another picture takes its place, so that all ranks go on making the same number of steps.
        plain: Whether batches come through pipes, which need no shared memory.
        say: Is told what happened; by default it is printed on standard error.
        words: Of torch's loader.
    """

    def __init__(
        self, dataset: Any, *, skip: bool = False, replace: bool = False, plain: bool = False, say: Say | None = None,
        **words: Any,
    ) -> None:  # fmt: skip
        self.skip, self.replace, self.plain, self.say = skip, replace, plain, say
        if plain:
            words["collate_fn"] = _Plain(words["collate_fn"])
        super().__init__(dataset, **words)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in self._lasting() if self.num_workers else super().__iter__():
            if isinstance(batch, UnreadableError):
                raise batch
            if batch is not None:
                yield _whole(batch) if self.plain else batch

    def _lasting(self) -> Iterator[Any]:
        done = deaths = 0
        with _without_torchs_alarm():
            source = super().__iter__()
        while True:
            try:
                batch = next(source)
            except StopIteration:
                return
            except (RuntimeError, ConnectionError, EOFError) as error:
                if not _of_a_death(error):
                    raise
                if not self._bury(done):
                    deaths += 1
                if deaths >= CHANCES:
                    raise DataError(
                        f"Processes that read pictures were killed {deaths} times in one epoch, and no picture does it "
                        "by itself. Most often memory has run out: expected fewer of them, such as --workers "
                        f"{self.num_workers // 2}, or --cache disk."
                    ) from error
                with _without_torchs_alarm():
                    source = iter(self._rest(done))
                continue
            done += 1
            yield batch

    def _bury(self, done: int) -> bool:
        """Looks for the picture that killed a worker; whether there is one.

        Raises:
            UnreadableError: There is, and it is not to be left out.
        """
        self._iterator = None  # lets go of the other workers
        sampler: Any = self.batch_sampler
        ahead = 1 + self.num_workers * (self.prefetch_factor or 2)
        suspects = [place for batch in itertools.islice(iter(sampler), done, done + ahead) for place in batch]
        dataset: Pictures = self.dataset  # type: ignore[assignment]
        found = killers(dataset, [place for place in suspects if place[0] not in dataset.lost])
        if not found:
            self._tell("A process that reads pictures was killed by no picture's fault; another one took its place.")
            return False
        lines = [f"{dataset.name(row)}: {why}" for (row, _), why in found.items()]
        if not self.skip:
            raise UnreadableError("\n".join(lines) + "\nMend or remove it, or go on without it: --on-corrupt skip.")
        rows = {row for row, _ in found}
        others = (row for batch in iter(sampler) for row, _ in batch if row not in rows and row not in dataset.lost)
        instead = next(others, None) if self.replace else None
        dataset.lost.update(dict.fromkeys(rows, instead))
        for line in lines:
            self._tell(f"{line} It is left out from here on.")
        return True

    def _rest(self, done: int) -> DataLoader[Any]:
        """The epoch's batches from that number on, by new processes."""
        return DataLoader(
            self.dataset, batch_sampler=_From(self.batch_sampler, done), num_workers=self.num_workers,
            collate_fn=self.collate_fn, pin_memory=self.pin_memory, generator=self.generator,
        )  # fmt: skip

    def _tell(self, line: str) -> None:
        if self.say is not None:
            self.say(f"  {line}")
        else:
            sys.stderr.write(f"{line}\n")

    def __getstate__(self) -> dict[str, Any]:
        # A generator would travel to a spawned rank as a shared tensor, whose file is closed before the rank opens it.
        return self.__dict__ | {"generator": self.generator.initial_seed(), "say": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"generator": torch.Generator().manual_seed(state["generator"])})


def _of_a_death(error: Exception) -> bool:
    """Whether an error says that a worker is gone, and not what one has met while it read."""
    if isinstance(error, RuntimeError):
        return DIED.search(str(error)) is not None
    # It died while it handed a batch over; what a worker raises by itself begins with "Caught".
    return not str(error).startswith("Caught ")


def killers(pictures: Any, places: Sequence[Place]) -> dict[Place, str]:
    """Which pictures kill the process that reads them, found by one process a death; and how it ended.

    Args:
        pictures: Read by place.
        places: The pictures to try, in this order.
    """
    found: dict[Place, str] = {}
    first = 0
    while (at := _ended_at(pictures, places[first:])) is not None:
        place = places[first + at[0]]
        # Twice, since a process may be killed for want of memory while it happens to be at a picture.
        if _ended_at(pictures, [place]) is not None:
            found[place] = f"the process that read it was ended by {at[1]}."
        first += at[0] + 1
    return found


def free_shared(place: str = SHARED) -> int | None:
    """Bytes that processes can share there; None where the system has no such place."""
    try:
        found = os.statvfs(place)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def too_little_shared(need: int) -> str | None:
    """What to tell where batches of so many bytes in all do not fit into shared memory; None where they do."""
    free = free_shared()
    if free is None or need <= free:
        return None
    return (
        f"batches come from the readers through pipes, a little slower: {SHARED} has {free / 2**20:.0f} MB, and up to "
        f"{need / 2**20:.0f} would be needed (docker run --shm-size gives more)"
    )


def _ended_at(pictures: Any, places: Sequence[Place]) -> tuple[int, str] | None:
    """At which of the places a new process ended that read them all, and by what; None where it did not."""
    if not places:
        return None
    context = multiprocessing.get_context()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_read_each, args=(pictures, places, there), daemon=True)
    process.start()
    there.close()
    at = 0
    with here, contextlib.suppress(EOFError):
        while at < len(places):
            at = here.recv()
    process.join()
    if at == len(places):
        return None
    return at, how_it_ended(process.exitcode)


def _read_each(pictures: Any, places: Sequence[Place], told: Connection) -> None:
    for number, place in enumerate(places):
        told.send(number)
        with contextlib.suppress(Exception):  # what can be said in words is said by whoever reads it in earnest
            pictures[place]
    told.send(len(places))


@contextlib.contextmanager
def _without_torchs_alarm() -> Iterator[None]:
    """Makes workers without the handler by which torch raises their end in the middle of whatever runs.

    That would be a step of the optimizer, say. The loader finds out by itself when it waits for the batch.
    """
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)


class _From:
    """The batches of a sampler from a number on."""

    def __init__(self, sampler: Any, first: int) -> None:
        self._sampler, self._first = sampler, first

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self._sampler), self._first, None)

    def __len__(self) -> int:
        return max(0, len(self._sampler) - self._first)


class _Plain:
    """Batches as arrays, which are pickled, and not as tensors, which torch lays into shared memory."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: Any) -> Any:
        batch = self._collate(samples)
        if not isinstance(batch, Batch):
            return batch
        return batch.inputs.permute(0, 2, 3, 1).numpy(), batch.target.numpy(), batch.row.numpy()


def _whole(plain: Any) -> Batch:
    inputs, target, row = (torch.from_numpy(values) for values in plain)
    return Batch(inputs.permute(0, 3, 1, 2), target, row)
