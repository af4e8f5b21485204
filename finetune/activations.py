"""What the frozen part of a network makes of each picture, computed once and kept while a phase learns what is above.

A phase that moves the last stages alone computes the stages below anew in each epoch, always with the same result.
Here they are computed once a picture (or once for each of V varied versions of it, through which epochs go round), in
16 bits, into a file that is read memory-mapped. With as many versions as epochs a phase sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .crew import Alone, Crew, Progress, Share
from .data.examples import Examples
from .data.loaders import stream, view_loader
from .data.policies import ENGINES
from .data.samplers import Place, make_sampler
from .data.shards import archived
from .data.workers import PictureLoader
from .errors import UnreadableError
from .features import key, ready, versions
from .models.cut import Cut
from .models.fast import fast_lower
from .shelf import Rows, Shelf, Volume
from .types import Batch

KEPT_BYTES = 8 * 2**30
"""How much of the disk the activations of all runs may take; what was unused for longest goes first."""

FORMAT = 2
"""Counts up when reading, resizing or the file changes."""

Precision = Literal["float16", "float32"]


@final
@dataclass(frozen=True)
class Activations:
    """Activations of some examples in a file, for as long as this context is open.

    Args:
        volume: The file: (views * n, *stored) numbers, the first version of each example, then the second.
        rows: (n,) the rows of the table of examples, in the file's order.
        views: How many versions there are of each.
        channels_last: Whether the file holds (H, W, C) of what is (C, H, W).
    """

    volume: Volume
    rows: np.ndarray
    views: int
    channels_last: bool

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.volume.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.volume.close()

    def loader(
        self, examples: Examples, targets: np.ndarray, *, batch_size: int, train: bool, sampler: str = "shuffle",
        seed: int = 0, indices: Sequence[int] | np.ndarray | None = None,
    ) -> PictureLoader:  # fmt: skip
        """Batches of activations, in the order in which `make_loader` gives pictures.

        Args:
            examples: The table.
            targets: The targets as numbers, one row an example of the table.
            batch_size: Examples a rank and step.
            train: Whether to shuffle.
            sampler: Which examples an epoch of training takes.
            seed: Fixes the order.
            indices: Which rows of the table, of those that are kept; all of them if None.
        """
        rows = self.rows if indices is None else np.asarray(indices, np.int64)
        return PictureLoader(
            _Kept(self.path, self.rows, targets, views=self.views, channels_last=self.channels_last),
            batch_size=batch_size,
            sampler=make_sampler(
                rows, targets, sampler=sampler, train=train, batch_size=batch_size, seed=seed,
                sources=archived(list(examples.table["source"])),
            ),
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip


def activations(
    divided: Cut,
    examples: Examples,
    rows: np.ndarray,
    *,
    say: Callable[[str], None],
    policy: str = "none",
    views: int = 1,
    engine: str = ENGINES[0],
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 0,
    device: torch.device | None = None,
    precision: Precision = "float16",
    bound: int | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
    crew: Crew | None = None,
) -> Activations | None:
    """The activations of some examples at a cut, from the cache where they are known.

    Args:
        divided: Where the network is cut. Its lower part computes as in evaluation.
        examples: The table.
        rows: Which of its rows.
        say: Is told where how much is kept, or why nothing is.
        policy: How pictures are varied; "none" gives them as in evaluation, once.
        views: How many versions of each; epoch e takes version e modulo this.
        engine: The library that varies them.
        seed: Fixes the versions: under the seed of `make_loader`, version e is what it gives in epoch e.
        batch_size: Pictures at a time.
        workers: Processes that read.
        device: Where to compute; the CPU where none is given.
        precision: Of what is kept. Half precision leaves 11 bits of each number, and takes half of the room.
        bound: How many bytes the cache may hold, what earlier runs have left in it included; `KEPT_BYTES` if None.
        progress: Is told of each batch, or of everything at once where the cache answers.
        cache: The folder of the cache; by default `activations` in `$FINETUNE_CACHE` or `~/.cache/finetune`.
        crew: Who shares the pass, each with its part of the one file; this process alone if None.

    Returns:
        The activations, to be closed at the end; None where they do not fit into the bound, onto the disk or into 16
        bits: then the phase has to run on pictures.

    Raises:
        UnreadableError: A picture cannot be read.
    """
    rows = np.asarray(rows, np.int64)
    want = _Wanted(divided, examples, rows, policy, views if policy != "none" else 1, engine, seed, precision)
    shelf = Shelf.of("activations", most=KEPT_BYTES if bound is None else bound, cache=cache)
    place = divided.at.removeprefix("body.")
    size = f"{want.bytes / 2**20:,.1f} of at most {shelf.most / 2**20:,.1f} MiB"
    name = want.name()
    volume = Volume.known(shelf, name, want.shape[0])
    if volume is not None and progress is not None:
        progress(want.shape[0])
    if volume is None:
        try:
            volume = Volume.written(shelf, name, shape=want.shape, dtype=precision)
            _fill(volume, want, batch_size, workers, device or torch.device("cpu"), progress, crew or Alone())
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            say(f"  what {place} and all below it give is computed in each epoch: to keep it takes {size} ({why})")
            return None
    each = (
        f"{want.views} {policy} versions of each of {len(rows)} pictures"
        if policy != "none"
        else f"{len(rows)} pictures"
    )
    say(f"  what {place} and all below it make of {each} is computed once and kept in {volume.path} ({size})")
    return Activations(volume, rows, want.views, divided.channels_last)


class _Wanted(NamedTuple):
    """Activations of which examples, made how."""

    divided: Cut
    examples: Examples
    rows: np.ndarray
    policy: str
    views: int
    engine: str
    seed: int
    precision: Precision

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the file's array."""
        one = self.divided.shape
        return (self.views * len(self.rows), *((*one[1:], one[0]) if self.divided.channels_last else one))

    @property
    def bytes(self) -> int:
        """What the numbers take."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.precision).itemsize

    def name(self) -> str | None:
        """A hash of all that the activations depend on; None where it cannot be known."""
        divided = self.divided
        how: list[object] = [FORMAT, divided.at, divided.channels_last, self.precision]
        if self.policy != "none":  # a picture's row is part of what seeds its versions
            how += [self.policy, self.views, self.engine, self.seed, self.rows.tolist(), *versions("albumentations")]
        return key(divided.network, self.examples.take(self.rows), *how, weights=divided.state())

    def pictures(self, batch_size: int, workers: int, span: range) -> Iterator[Tensor]:
        """Batches of pictures at these places of the file, in its order."""
        examples, spec = self.examples, self.divided.network.spec
        if self.policy == "none":  # on threads, which read while the network computes
            for _, inputs, errors in stream(examples, spec, batch_size=batch_size, indices=self.rows[span]):
                for row, reason in errors.items():
                    raise UnreadableError(f"{examples.table['id'][row]}: {reason}")
                yield inputs
        else:
            for batch in view_loader(
                examples, spec, policy=self.policy, views=self.views, engine=self.engine, batch_size=batch_size,
                seed=self.seed, workers=workers, indices=self.rows, span=span,
            ):  # fmt: skip
                yield batch.inputs


def _fill(
    volume: Volume, want: _Wanted, batch_size: int, workers: int, device: torch.device, progress: Progress | None,
    crew: Crew,
) -> None:  # fmt: skip
    """Computes what is wanted and writes it; where that fails, the file goes.

    Raises:
        OSError: It cannot be written.
        OverflowError: Half precision does not hold the numbers.
        UnreadableError: A picture cannot be read.
    """
    try:
        crew.work(_Filling(want, batch_size, workers, volume.path), device, progress)
        volume.finish()
    except BaseException:
        volume.close()
        raise


@dataclass(frozen=True)
class _Filling:
    """A rank's share of the activations."""

    want: _Wanted
    batch_size: int
    workers: int
    path: Path

    def __call__(self, share: Share, device: torch.device, progress: Progress | None) -> None:
        want, span = self.want, share.span(self.want.shape[0], self.batch_size)
        at, lower = span.start, None
        with Rows(self.path) as rows, ready(want.divided.network, device) as on:
            for inputs in want.pictures(self.batch_size, self.workers, span):
                inputs = inputs.to(on, non_blocking=True)
                if lower is None:
                    lower = fast_lower(want.divided, inputs, count=want.shape[0]) or want.divided.lower
                output = lower(inputs)
                kept = output.to(getattr(torch, want.precision))
                if not torch.isfinite(kept).all() and torch.isfinite(output).all():
                    raise OverflowError(f"in {want.precision} some of its numbers are infinite")
                values = (kept.permute(0, 2, 3, 1) if want.divided.channels_last else kept).cpu().numpy()
                rows.put(np.arange(at, at + len(values)), values)
                at += len(values)
                if progress is not None:
                    progress(len(inputs))


class _Kept(Dataset[Batch]):
    """Activations by (row, epoch), a batch at a time.

    Args:
        path: Their file, which each process maps for itself.
        rows: Of the table, in the file's order.
        targets: The targets as numbers, one row an example of the table.
        views: Versions of each in the file.
        channels_last: Whether it holds (H, W, C) of what is (C, H, W).
    """

    def __init__(self, path: Path, rows: np.ndarray, targets: np.ndarray, *, views: int, channels_last: bool) -> None:
        self._path = path
        self._place = {int(row): place for place, row in enumerate(rows)}
        self._targets = targets
        self._views = views
        self._channels_last = channels_last
        self._values: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, place: Place) -> Batch:
        return self.__getitems__([place])

    def __getitems__(self, places: Sequence[Place]) -> Batch:
        """The loader asks for a batch at once: one gather from the file."""
        if self._values is None:
            self._values = np.load(self._path, mmap_mode="r", allow_pickle=False)
        n = len(self._place)
        lines = [epoch % self._views * n + self._place[row] for row, epoch in places]
        inputs = torch.from_numpy(self._values[lines])
        rows = np.array([row for row, _ in places], np.int64)
        return Batch(
            inputs.permute(0, 3, 1, 2) if self._channels_last else inputs,
            torch.from_numpy(self._targets[rows]),
            torch.from_numpy(rows),
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_values": None}


def _as_it_is(batch: Any) -> Any:
    return batch
