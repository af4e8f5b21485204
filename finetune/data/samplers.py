"""Which examples an epoch takes, in which order, and who of several ranks takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from ..errors import ConfigError, nearest
from .shards import shard_order

Place = tuple[int, int]
"""The row of an example, and the epoch it is asked for in."""

POWERS = {"shuffle": 1.0, "sqrt": 0.5, "balanced": 0.0}
"""How often a class is taken: in proportion to its frequency to this power."""


class EpochSampler(Sampler[Place]):
    """The rows of an epoch, shared out among ranks.

    In training, N ranks of batch B take in each step the samples that one rank of batch N*B takes; all have the same
    number of them, for which the last step may take some from the start again. In evaluation each row is
    taken once, by one rank.

    Args:
        rows: The rows to take.
        train: Whether to shuffle, anew in each epoch.
        batch_size: Samples a rank and step.
        seed: With the epoch it fixes the order.
        classes: The class of each of `rows`, for `draw_evenly`; None takes each row once.
        power: Likewise.
        sources: Of the whole table, where an epoch goes through archives from front to back, as `shard_order` does.
    """

    def __init__(
        self, rows: Sequence[int] | np.ndarray, *, train: bool, batch_size: int, seed: int,
        classes: np.ndarray | None = None, power: float = 1.0, sources: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self._rows = np.asarray(rows, np.int64)
        self._train = train
        self._batch_size = batch_size
        self._seed = seed
        self._classes = classes
        self._power = power
        self._sources = sources
        self._epoch = 0
        self._begin: tuple[int, int] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order, and the variation of pictures, of the coming epoch."""
        self._epoch = epoch

    def start_at(self, epoch: int, batch: int) -> None:
        """Lets that epoch begin after so many of its batches, which were taken before the run was interrupted.

        Its length stays that of the whole epoch, by which progress is counted.
        """
        self._epoch, self._begin = epoch, (epoch, batch)

    def __iter__(self) -> Iterator[Place]:
        # Asked for here and not in the constructor: loaders may be made before the ranks have found each other.
        taken = self._begin[1] * self._batch_size if self._begin and self._begin[0] == self._epoch else 0
        for row in self._share(*_rank_and_world())[taken:]:
            yield int(row), self._epoch

    def __len__(self) -> int:
        return len(self._share(*_rank_and_world()))

    def _share(self, rank: int, world: int) -> np.ndarray:
        if not self._train:
            return self._rows[rank::world]
        taken = self._rows
        if self._classes is not None:
            taken = taken[draw_evenly(self._classes, power=self._power, seed=self._seed, epoch=self._epoch)]
        if self._sources is not None:
            sources = [self._sources[row] for row in taken]
            order = taken[shard_order(sources, seed=self._seed, epoch=self._epoch)]
        else:
            order = np.random.default_rng((self._seed, self._epoch)).permutation(taken)
        order = np.resize(order, -(-len(order) // world) * world)
        step = self._batch_size * world
        whole = len(order) // step * step
        last = (len(order) - whole) // world
        # BatchNorm cannot take a batch of one: it has no variance. One example less in an epoch costs nothing, since
        # another one is left out next time; where it is all there is, it stays, and the network says what is wrong.
        if last == 1 and whole and self._batch_size > 1:
            last = 0
        steps = order[:whole].reshape(-1, world, self._batch_size)[:, rank].reshape(-1)
        return np.concatenate([steps, order[whole + rank * last : whole + (rank + 1) * last]])


def draw_evenly(classes: np.ndarray, *, power: float, seed: int, epoch: int) -> np.ndarray:
    """As many examples as there are, each class in proportion to its frequency to a power.

    Nothing is drawn with replacement: every class goes round through its examples, in a new order each time, and an
    epoch goes on where the one before stopped. So the counts of two examples of one class never differ by more than
    one, and after any number of epochs each class has had its share of them, to within one example.

    Args:
        classes: (n,) the class of each example, of any type that can be sorted.
        power: 1 takes the classes as frequent as they are, 0.5 by the square root of that, 0 equally often.
        seed: With the class and the round it fixes the order.
        epoch: From 0.

    Returns:
        (n,) places in `classes`, class after class.
    """
    n = len(classes)
    members = [np.flatnonzero(classes == name) for name in np.unique(classes)]
    shares = np.array([len(places) for places in members], np.float64) ** power
    # Rounding the running sum, and not each class's own share, lets the rounded numbers add up to n an epoch.
    edges = np.cumsum(shares / shares.sum()) * n
    start, stop = (_counts(edges * epochs) for epochs in (epoch, epoch + 1))
    return np.concatenate([
        _round_and_round(places, first, end, (seed, number))
        for number, (places, first, end) in enumerate(zip(members, start, stop, strict=True))
    ])  # fmt: skip


def _counts(edges: np.ndarray) -> np.ndarray:
    """How many examples of each class lie before these running sums."""
    whole = np.floor(edges + 1e-6).astype(np.int64)  # 19.999999 is 20 that was computed in floating point
    return np.diff(whole, prepend=0)


def _round_and_round(places: np.ndarray, start: int, stop: int, seed: tuple[int, int]) -> np.ndarray:
    """What stands from `start` to `stop` in one permutation of the places after another."""
    size = len(places)
    rounds = range(start // size, -(-stop // size))
    if not rounds:
        return places[:0]
    line = np.concatenate([np.random.default_rng((*seed, number)).permutation(places) for number in rounds])
    return line[start - rounds[0] * size : stop - rounds[0] * size]


def classes_of(target: np.ndarray) -> np.ndarray:
    """What a sampler balances: the class of each example, or the rarest of its labels.

    Args:
        target: (n,) int64 classes, or (n, K) 0/1 labels.

    Returns:
        (n,) int64; K where an example has no label at all.

    Raises:
        ConfigError: Numbers, which have no classes.
    """
    if target.ndim == 1 and target.dtype.kind == "i":
        return target
    if target.ndim != 2:
        raise ConfigError('A number has no classes to balance. Expected sampler="shuffle" for it.')
    often = target.sum(axis=0)
    rarest = np.where(target > 0, often, np.inf).argmin(axis=1)
    rarest[~target.any(axis=1)] = target.shape[1]
    return np.asarray(rarest, np.int64)


def make_sampler(
    rows: np.ndarray, targets: np.ndarray, *, sampler: str, train: bool, batch_size: int, seed: int,
    sources: Sequence[str] | None = None,
) -> EpochSampler:  # fmt: skip
    """The sampler of that name.

    Args:
        rows: The rows to take.
        targets: Encoded targets, one row an example of the whole table.
        sampler: A key of `POWERS`; in evaluation each row is taken once, whatever it says.
        train: Whether to shuffle.
        batch_size: Samples a rank and step.
        seed: Fixes the order.
        sources: Those of the whole table where pictures lie in archives, which are then read from front to back.

    Raises:
        ConfigError: A name that is not known, or a target that cannot be balanced.
    """
    if sampler not in POWERS:
        raise ConfigError(
            f'Unknown sampler "{sampler}". Expected one of {", ".join(POWERS)}.{nearest(sampler, POWERS)}'
        )
    classes = classes_of(targets[rows]) if train and sampler != "shuffle" else None
    return EpochSampler(
        rows, train=train, batch_size=batch_size, seed=seed, classes=classes, power=POWERS[sampler], sources=sources
    )


def _rank_and_world() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
