"""Table + reader + transform -> batches, the same for any number of workers and of ranks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import UnreadableError
from ..types import Batch, ImageSpec
from .ahead import read_apart
from .examples import Examples
from .kept import Kept, preparation
from .policies import ENGINES
from .readers import Also, are_sound, note_sound, read_image
from .samplers import Place, make_sampler
from .shards import archived
from .transforms import EvalTransform, TrainTransform, eval_transform, shrink_to, train_transform
from .workers import PictureLoader, Say, too_little_shared

Sample = tuple[np.ndarray, Any, int]
"""A picture (H, W, C), its target as numbers, and its row."""


def cpu_count() -> int:
    """How many processors this process may use, which in a container is fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stack(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """(H, W, C) pictures -> (N, C, H, W), channels last in memory; where some are float32 in 0..1, so become all."""
    if len({picture.dtype for picture in pictures}) > 1:
        pictures = [p.astype(np.float32) / 255 if p.dtype == np.uint8 else p for p in pictures]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def stream(
    examples: Examples,
    spec: ImageSpec,
    *,
    batch_size: int = 32,
    readers: int | None = None,
    indices: Sequence[int] | np.ndarray | None = None,
    also: Also | None = None,
) -> Iterator[tuple[np.ndarray, torch.Tensor, dict[int, str]]]:
    """Pictures as in evaluation, in order, read ahead as `read_apart` does.

    Args:
        examples: The table.
        spec: What the network wants to see.
        batch_size: Rows at a time.
        readers: How many read; one a processor if None.
        indices: Which rows, in which order; all if None.
        also: Looks at each picture as decoded, before the transform.

    Yields:
        The n rows that were read (int64), their pictures (n, C, H, W), channels last in memory, uint8 in 0..255 or
        float32 in 0..1, and the reason for each row that could not be read. n is 0 where none could.
    """
    pictures = examples.pictures()
    rows = [int(row) for row in (range(len(examples)) if indices is None else indices)]
    transform = eval_transform(spec)

    def load(row: int) -> tuple[np.ndarray, Any]:
        picture = read_image(pictures[row], in_chans=spec.in_chans)
        return transform(picture), also.see(row, picture) if also is not None else None

    here = are_sound(pictures[row] for row in rows)
    loaded = read_apart(load, rows, readers or cpu_count(), ahead=max(16, 2 * batch_size), here=here)
    with contextlib.closing(loaded):  # whoever stops early waits for nobody
        for start in range(0, len(rows), batch_size):
            whole, errors = {}, {}
            for row in rows[start : start + batch_size]:
                result = next(loaded)
                if isinstance(result, UnreadableError):
                    errors[row] = str(result)
                    continue
                whole[row], seen = result
                note_sound(pictures[row])
                if also is not None:
                    also.note(row, seen)
            empty = torch.empty((0, spec.in_chans, *spec.size), dtype=torch.uint8)
            yield np.array(list(whole), np.int64), stack(list(whole.values())) if whole else empty, errors


class PictureDataset(Dataset[Sample | UnreadableError | None]):
    """Examples by (row, epoch): a picture, its target and its row; or the error of one that cannot be read.

    `lost` are rows whose pictures kill whoever reads them, and what is read in their place: another row, or nothing.

    Args:
        examples: The table.
        targets: The targets as numbers, one row an example.
        spec: What the network wants to see.
        policy: How pictures are varied, a key of `policies.POLICIES`; "none" gives them as in evaluation.
        seed: With the epoch and the row it fixes how a picture is varied, whichever worker does it.
        engine: The library that varies them, one of `policies.ENGINES`.
        negate: Whether the target of a mirrored picture changes its sign, as a steering angle does.
        kept: Pictures that are decoded already, and where new ones go; None decodes each time.
    """

    def __init__(
        self, examples: Examples, targets: np.ndarray, spec: ImageSpec, *, policy: str, seed: int,
        engine: str = ENGINES[0], negate: bool = False, kept: Kept | None = None,
    ) -> None:  # fmt: skip
        self._pictures = examples.pictures()
        self._ids = list(examples.table["id"])
        self._targets = targets
        self._spec = spec
        self._policy = policy
        self._engine = engine
        self._negate = negate
        self._seed = seed
        self._shrink_to = shrink_to(spec, policy)
        self._kept = kept
        self.lost: dict[int, int | None] = {}
        self._prepare: EvalTransform | None = None
        self._transform: TrainTransform | None = None

    def __len__(self) -> int:
        return len(self._pictures)

    def name(self, row: int) -> str:
        """How a row is called towards people."""
        return str(self._ids[row])

    def __getitem__(self, place: Place) -> Sample | UnreadableError | None:
        asked, epoch = place
        row = self.lost.get(asked, asked)
        if row is None:
            return None
        if self._transform is None:  # made where it is used, since pipelines do not travel to spawned workers
            spec = self._spec
            if self._kept is not None:
                self._shrink_to, self._prepare, spec = preparation(spec, self._policy)
            self._transform = train_transform(spec, self._policy, engine=self._engine)
        try:
            picture = self._read(row)
        except UnreadableError as error:
            return UnreadableError(f"{self._ids[row]}: {error}")
        seed = int(np.random.SeedSequence((self._seed, epoch, row)).generate_state(1)[0])
        varied = self._transform.vary(picture, seed)
        target = self._targets[row]
        return varied.picture, -target if self._negate and varied.mirrored else target, row

    def _read(self, row: int) -> np.ndarray:
        known = self._kept.get(row) if self._kept is not None else None
        if known is not None:
            return known
        picture = read_image(self._pictures[row], in_chans=self._spec.in_chans, shrink_to=self._shrink_to)
        if self._kept is not None and self._prepare is not None:
            # Also where it cannot be kept: room changes how long training takes, and not what it sees.
            picture = self._prepare(picture)
            self._kept.put(row, picture)
        return picture

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_prepare": None, "_transform": None}


def collate(samples: Sequence[Sample | UnreadableError | None]) -> Batch | UnreadableError | None:
    """Some samples of a `PictureDataset` -> a batch, or the first error among them; None where all are lost."""
    for sample in samples:
        if isinstance(sample, UnreadableError):
            return sample
    there = [sample for sample in samples if sample is not None and not isinstance(sample, UnreadableError)]
    if not there:
        return None
    pictures, targets, rows = zip(*there, strict=True)
    return Batch(stack(pictures), torch.from_numpy(np.stack(targets)), torch.tensor(rows))


def make_loader(
    examples: Examples,
    targets: np.ndarray,
    spec: ImageSpec,
    *,
    batch_size: int,
    train: bool,
    policy: str = "none",
    sampler: str = "shuffle",
    engine: str = ENGINES[0],
    negate: bool = False,
    seed: int = 0,
    workers: int = 0,
    indices: Sequence[int] | np.ndarray | None = None,
    kept: Kept | None = None,
    skip: bool = False,
    loaders: int = 1,
    say: Say | None = None,
) -> PictureLoader:
    """Batches of examples for a training loop.

    What comes out depends on the seed and the epoch alone, not on the number of workers. Before each epoch
    `loader.sampler.set_epoch(epoch)` is to be called, which Lightning does by itself.

    Args:
        examples: The table.
        targets: The targets as numbers, one row an example of the table.
        spec: What the network wants to see.
        batch_size: Examples a rank and step.
        train: Whether to shuffle. A last batch of a single example is then left out.
        policy: How training pictures are varied; not used in evaluation.
        sampler: Which examples an epoch of training takes, a name as in `sampling`.
        engine: The library that varies them.
        negate: Whether the target of a mirrored picture changes its sign.
        seed: Fixes order and variation.
        workers: Processes that decode, at most one a processor; 0 decodes in this one.
        indices: Which rows of the table; all if None.
        kept: Where pictures of this policy are kept decoded, from `PictureCache.kept`; None decodes each time.
        skip: Whether a picture that kills its reader is left out; else its name ends the loop.
        loaders: How many such loaders this machine's processes have at once, which share its memory.
        say: Is told where batches take another way than usual, or a reader dies.
    """
    rows = np.arange(len(examples)) if indices is None else np.asarray(indices, np.int64)
    workers = min(workers, cpu_count())
    told = too_little_shared(loaders * _in_flight(spec, batch_size, workers)) if workers else None
    if told is not None and say is not None:
        say(f"  {told}")
    return PictureLoader(
        PictureDataset(
            examples,
            targets,
            spec,
            policy=policy if train else "none",
            seed=seed,
            engine=engine,
            negate=negate,
            kept=kept,
        ),
        skip=skip,
        replace=train,
        plain=told is not None,
        say=say,
        batch_size=batch_size,
        sampler=make_sampler(
            rows,
            targets,
            sampler=sampler,
            train=train,
            batch_size=batch_size,
            seed=seed,
            sources=archived(list(examples.table["source"])),
        ),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        # A generator of its own: the loader draws its workers' seeds from the global one, and then dropout would
        # depend on how many loaders there are.
        generator=torch.Generator().manual_seed(seed),
    )


def _in_flight(spec: ImageSpec, batch_size: int, workers: int) -> int:
    """Bytes of the batches that workers have ready at most, two each and one that is being used; as 32-bit numbers."""
    return 4 * batch_size * spec.in_chans * spec.size[0] * spec.size[1] * (2 * workers + 1)


def view_loader(
    examples: Examples,
    spec: ImageSpec,
    *,
    policy: str,
    views: int,
    engine: str = ENGINES[0],
    batch_size: int,
    seed: int = 0,
    workers: int = 0,
    indices: Sequence[int] | np.ndarray | None = None,
    span: range | None = None,
) -> PictureLoader:
    """Varied versions of every picture, in order: the first of each, then the second of each, and so on.

    With the same seed, the first version is what `make_loader` gives in the first epoch, and so on.

    Args:
        examples: The table.
        spec: What the network wants to see.
        policy: How pictures are varied.
        views: How many versions of each.
        engine: The library that varies them.
        batch_size: Versions at a time.
        seed: Fixes them.
        workers: As for `make_loader`.
        indices: Which rows of the table; all if None.
        span: Which places of that order; all if None.
    """
    rows = range(len(examples)) if indices is None else [int(row) for row in indices]
    span = range(views * len(rows)) if span is None else span
    workers = min(workers, cpu_count())
    plain = workers > 0 and too_little_shared(_in_flight(spec, batch_size, workers)) is not None
    return PictureLoader(
        PictureDataset(examples, np.zeros(len(examples)), spec, policy=policy, engine=engine, seed=seed),
        plain=plain,
        batch_size=batch_size,
        sampler=[(rows[at % len(rows)], at // len(rows)) for at in span],
        num_workers=workers,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(seed),
    )
