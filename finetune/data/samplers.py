"""Which examples an epoch takes, in which order, and who of several ranks takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from ..errors import ConfigError
from .sampling import POWERS, per_class, unfit_batch, unknown_sampler
from .shards import shard_order

Place = tuple[int, int]
"""The row of an example, and the epoch it is asked for in."""


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
        classes: The class of each of `rows`, for `draw_evenly` or `draw_in_groups`; None takes each row once.
        power: For `draw_evenly`.
        group: How many of one class follow each other, for `draw_in_groups`; None for `draw_evenly`.
        sources: Of the whole table, where an epoch goes through archives from front to back, as `shard_order` does.
    """

    def __init__(
        self, rows: Sequence[int] | np.ndarray, *, train: bool, batch_size: int, seed: int,
        classes: np.ndarray | None = None, power: float = 1.0, group: int | None = None,
        sources: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self._rows = np.asarray(rows, np.int64)
        self._train = train
        self._batch_size = batch_size
        self._seed = seed
        self._classes = classes
        self._power = power
        self._group = group
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
        if self._classes is not None and self._group is not None:
            order = self._rows[
                draw_in_groups(
                    self._classes, group=self._group, step=self._batch_size * world, seed=self._seed, epoch=self._epoch
                )
            ]
            return self._steps(order, rank, world)
        taken = self._rows
        if self._classes is not None:
            taken = taken[draw_evenly(self._classes, power=self._power, seed=self._seed, epoch=self._epoch)]
        if self._sources is not None:
            sources = [self._sources[row] for row in taken]
            order = taken[shard_order(sources, seed=self._seed, epoch=self._epoch)]
        else:
            order = np.random.default_rng((self._seed, self._epoch)).permutation(taken)
        return self._steps(order, rank, world)

    def _steps(self, order: np.ndarray, rank: int, world: int) -> np.ndarray:
        """A rank's share of each step of an epoch in this order."""
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


def draw_in_groups(classes: np.ndarray, *, group: int, step: int, seed: int, epoch: int) -> np.ndarray:
    """About as many examples as there are, in groups of one class; no class has two groups in a step if it can be so.

    The groups go round the classes, and the examples of a class go round within it, as in `draw_evenly`: an epoch goes
    on where the one before stopped, all classes have had equally many groups, to within one, and two examples of one
    class have been taken equally often, to within one. Steps that would not be whole are left out, but for the only
    one: what a loss compares within a step is then always as much.

    Args:
        classes: (n,) the class of each example, of any type that can be sorted.
        group: How many of one class follow each other, 1 or more; a class of fewer gives some of them again.
        step: Examples a step, of all ranks together, a multiple of `group`.
        seed: With the epoch, the class and the round it fixes the order.
        epoch: From 0.

    Returns:
        Places in `classes`, group after group.
    """
    members = [np.flatnonzero(classes == name) for name in np.unique(classes)]
    n, several = len(classes), len(members)
    groups = max(1, (n // step * step if n >= step else n) // group)
    start, stop = epoch * groups, (epoch + 1) * groups
    # Group t of all epochs is one of class t % several: so a class has had so many before.
    before, after = (-(-(np.full(several, edge) - np.arange(several)) // several) for edge in (start, stop))
    before, after = np.maximum(before, 0), np.maximum(after, 0)
    lines = [
        _round_and_round(places, group * first, group * end, (seed, number)).reshape(-1, group)
        for number, (places, first, end) in enumerate(zip(members, before.tolist(), after.tolist(), strict=True))
    ]
    taken = np.zeros(several, np.int64)
    found = []
    for number in _rounds(after - before, step // group, np.random.default_rng((seed, epoch))):
        found.append(lines[number][taken[number]])
        taken[number] += 1
    return np.concatenate(found)


def _rounds(counts: np.ndarray, step: int, rng: np.random.Generator) -> list[int]:
    """Numbers of classes, each as often as `counts` says (they differ by one at most), apart within each step."""
    most = int(counts.max())
    order: list[int] = []
    # The round that not all take part in comes first: the later ones can make room for what stands in a step already.
    for turn in range(most):
        classes = rng.permutation(np.flatnonzero(counts >= most - turn))
        begun = order[len(order) - len(order) % step :]
        seen = np.isin(classes, begun)
        order += classes[~seen].tolist() + classes[seen].tolist()
    return order


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
        sampler: A name as in `sampling`; in evaluation each row is taken once, whatever it says.
        train: Whether to shuffle.
        batch_size: Samples a rank and step.
        seed: Fixes the order.
        sources: Those of the whole table where pictures lie in archives, which are then read from front to back.

    Raises:
        ConfigError: A name that is not known, a target that cannot be balanced, or a batch of no whole groups.
    """
    if wrong := unknown_sampler(sampler) or unfit_batch(sampler, batch_size):
        raise ConfigError(wrong)
    group, power = per_class(sampler), POWERS.get(sampler, 0.0)
    classes = classes_of(targets[rows]) if train and power != 1 else None
    return EpochSampler(
        rows, train=train, batch_size=batch_size, seed=seed, classes=classes, power=power, group=group, sources=sources
    )


def _rank_and_world() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
