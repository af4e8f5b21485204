"""Dividing examples so that every part has the same mix of targets, and no group lies in two parts."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..types import Kind

BINS = 10
"""A number is stratified by quantiles: so many, or fewer where they would hold less than 5 examples."""

Amounts = Counter[int]
"""How many examples of each stratum a unit holds."""

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

Strata = list[tuple[int, ...]]
"""For each example the numbers of the classes, labels or quantiles it counts for."""


def strata_of(targets: Sequence[Any], kind: Kind, rng: np.random.Generator) -> Strata:
    """Says what each example should be spread by.

    Args:
        targets: N names, tuples of names, or numbers.
        kind: What they are.
        rng: Decides between equal numbers.
    """
    if kind == "number":
        bins = max(1, min(BINS, len(targets) // 5))
        # Most steering angles are 0: tied numbers get random ranks, or the order of files would fill the quantiles.
        order = np.lexsort((rng.random(len(targets)), np.asarray(targets, np.float64)))
        quantile = np.empty(len(targets), np.int64)
        quantile[order] = np.arange(len(targets)) * bins // max(1, len(targets))
        each = [(number,) for number in range(bins)]
        return [each[number] for number in quantile]
    # "No label" is a stratum too: pictures without a finding are often most of them.
    names: dict[Any, tuple[str, ...]] = {
        target: (target,) if kind == "class" else (target or ("",)) for target in set(targets)
    }
    place = {name: number for number, name in enumerate(sorted({name for some in names.values() for name in some}))}
    # One object for equal ones, of which a million examples have few.
    strata = {target: tuple(place[name] for name in some) for target, some in names.items()}
    return [strata[target] for target in targets]


def assign_parts(
    strata: Strata, groups: Sequence[str | None], shares: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Gives every example a part.

    Args:
        strata: What each of N examples counts for.
        groups: Examples of equal groups stay together; None stands alone.
        shares: Share of each part, train first, test last; the sum is 1.
        rng: Decides between choices that are equally good.

    Returns:
        (N,) int64, the place in `shares` of each example's part. A stratum that never shares a group or an example
        with another one is in every part if it has as many groups as there are parts; with two groups it is in the
        first and the last part, with one in the first.
    """
    wanted = np.asarray(shares, np.float64)
    if all(group is None for group in groups) and all(len(some) == 1 for some in strata):
        return _by_count(np.fromiter((some[0] for some in strata), np.int64, len(strata)), wanted, rng)
    units, content = _units(strata, groups)
    return _greedy(content, np.bincount(units), wanted, rng)[units]


def deal_out(names: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray | None:
    """Gives all examples of a name one part, and each part its share of the names, however many examples they have.

    Args:
        names: (N,) str of what stays together.
        shares: Share of each part; the sum is 1.
        rng: Decides which names a part gets.

    Returns:
        (N,) int64, the place in `shares` of each example's part; None where there are not two names for each part.
    """
    known, number = np.unique(names, return_inverse=True)
    if len(known) < 2 * len(shares):
        return None
    ideal = np.asarray(shares) * len(known)
    counts = np.maximum(2, np.floor(ideal)).astype(np.int64)
    while counts.sum() > len(known):
        counts[np.argmax(np.where(counts > 2, counts - ideal, -np.inf))] -= 1
    while counts.sum() < len(known):
        counts[np.argmax(ideal - counts)] += 1
    part = np.repeat(np.arange(len(shares)), counts)
    return np.asarray(rng.permutation(part)[number])


def assign_folds(strata: Strata, groups: Sequence[str | None], folds: int, rng: np.random.Generator) -> np.ndarray:
    """Gives every example the fold that holds it out.

    Args:
        strata: What each of N examples counts for.
        groups: Examples of equal groups stay together; None stands alone.
        folds: How many folds there are, 2 or more.
        rng: Decides between choices that are equally good.

    Returns:
        (N,) int64 from 0. Where no example has a group or several strata, each stratum and the whole are spread with a
        difference of at most one example between folds.
    """
    if all(group is None for group in groups) and all(len(some) == 1 for some in strata):
        stratum, fold = np.array([some[0] for some in strata]), np.zeros(len(strata), np.int64)
        sizes = np.zeros(folds, np.int64)
        for number in np.unique(stratum):
            rows = rng.permutation(np.flatnonzero(stratum == number))
            # Those left over after equal shares go to the folds that are smallest so far.
            smallest = np.lexsort((rng.random(folds), sizes))
            fold[rows] = smallest[np.arange(len(rows)) % folds]
            sizes += np.bincount(fold[rows], minlength=folds)
        return fold
    units, content = _units(strata, groups)
    return _greedy(content, np.bincount(units), np.full(folds, 1 / folds), rng, everywhere=False)[units]


def settle(
    place: np.ndarray, strata: Strata, units: Sequence[str | None], shares: Sequence[float], *, keep: bool
) -> np.ndarray:
    """Moves large units between parts for as long as sizes and mix come nearer to what was asked for.

    Where units are few and large, as stretches of a drive are, handing them out stratum by stratum misses the shares.

    Args:
        place: (N,) int64, the part of each example as from `assign_parts`.
        strata: What each example counts for.
        units: As `groups` for `assign_parts`.
        shares: Share of each part.
        keep: Whether a stratum stays in every part that it is in.
    """
    unit, content = _units(strata, units)
    part = place[np.unique(unit, return_index=True)[1]]
    amounts = np.zeros((len(content), 1 + max((s for one in content for s in one), default=0)))
    for number, one in enumerate(content):
        amounts[number, list(one)] = list(one.values())
    # The size of a unit is one more stratum, which weighs as much as all the others together.
    whole = np.column_stack([amounts, np.bincount(unit)])
    totals = whole.sum(axis=0)
    weight = np.append(np.full(amounts.shape[1], 1 / amounts.shape[1]), 1.0) / np.maximum(totals, 1)
    wanted = np.outer(shares, totals)
    held = np.stack([whole[part == p].sum(axis=0) for p in range(len(shares))])
    moved = True
    while moved:
        moved = False
        for number, row in enumerate(whole):
            here = part[number]
            gains = [
                float((weight * (_miss(held, wanted, (here, p)) - _miss(held, wanted, (here, p), row))).sum())
                for p in range(len(shares))
            ]
            gains[here] = 0.0
            best = int(np.argmax(np.round(gains, 9)))
            left = held[here] - row
            empties = left[-1] == 0 or (keep and bool(((left == 0) & (row > 0)).any()))
            if gains[best] > 1e-9 and not empties:
                held[here] -= row
                held[best] += row
                part[number], moved = best, True
    return part[unit]


def _miss(held: np.ndarray, wanted: np.ndarray, two: tuple[int, int], row: np.ndarray | None = None) -> np.ndarray:
    """How far two parts are from what they should hold, by stratum; with `row` moved from the one to the other."""
    change = 0 if row is None else row
    one, other = two
    miss: np.ndarray = np.abs(held[one] - change - wanted[one]) + np.abs(held[other] + change - wanted[other])
    return miss


def together(groups: Sequence[str | None], clusters: np.ndarray | None) -> list[str | None]:
    """What must stay on one side: examples that a group, a cluster, or a chain of both connects.

    Args:
        groups: The group of each of N examples; None stands alone.
        clusters: (N,) int64, equal for copies of one picture; None where nobody looked.

    Returns:
        A name for each example, None where it stands alone.
    """
    if clusters is None:
        return list(groups)
    numbers, times = np.unique(clusters, return_counts=True)
    copied = np.isin(clusters, numbers[times > 1])
    # A group and a cluster that share an example are one; each is led to the one it was found with first.
    leads: dict[tuple[str, Any], tuple[str, Any]] = {}

    def root(key: tuple[str, Any]) -> tuple[str, Any]:
        while leads.setdefault(key, key) != key:
            leads[key] = leads[leads[key]]
            key = leads[key]
        return key

    # What has no copy joins nothing.
    for row in np.flatnonzero(copied).tolist():
        if groups[row] is not None:
            leads[root(("cluster", int(clusters[row])))] = root(("group", groups[row]))
    names: dict[str, str] = {}

    def name(key: tuple[str, Any]) -> str:
        kind, value = root(key) if key in leads else key
        text = f"{kind} {value}"
        return names.setdefault(text, text)

    return [
        name(("cluster", int(cluster))) if copy else None if group is None else name(("group", group))
        for group, cluster, copy in zip(groups, clusters, copied, strict=True)
    ]


def _units(strata: Strata, groups: Sequence[str | None]) -> tuple[Rows, list[Amounts]]:
    """The unit of each example, which goes somewhere as a whole, and what each unit holds."""
    seen: dict[str, int] = {}
    units = np.empty(len(groups), np.int64)
    count = 0
    for row, group in enumerate(groups):
        units[row] = count if group is None else seen.setdefault(group, count)
        count += int(units[row]) == count
    order = np.argsort(units, kind="stable")
    content: list[Amounts] = []
    known: dict[tuple[tuple[int, ...], ...], Amounts] = {}
    ends = np.cumsum(np.bincount(units, minlength=count))
    for first, end in zip(ends - np.diff(ends, prepend=0), ends, strict=True):
        # Most units hold what others hold too: one object for them.
        held = tuple(sorted(strata[row] for row in order[first:end]))
        if held not in known:
            known[held] = Counter(number for some in held for number in some)
        content.append(known[held])
    return units, content


def _required(units: int, parts: int) -> list[int]:
    """The parts in which a stratum of so many units must be: train before test before validation."""
    return [0] if units < 2 else [0, parts - 1] if units < parts else list(range(parts))


def _by_count(stratum: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Examples that stand alone, each in one stratum: exact counts, a whole stratum at once."""
    part = np.zeros(len(stratum), np.int64)
    owed = np.zeros(len(wanted))
    for number in np.unique(stratum):
        rows = rng.permutation(np.flatnonzero(stratum == number))
        required = _required(len(rows), len(wanted))
        least = np.bincount(required, minlength=len(wanted))
        # What rounding takes from a part in one class it gets back in the next, so that the whole keeps its shares.
        exact = len(rows) * wanted + owed
        counts = np.maximum(np.floor(exact).astype(np.int64), least) if len(rows) > len(required) else least
        while counts.sum() < len(rows):
            counts[np.argmax(exact - counts)] += 1
        while counts.sum() > len(rows):
            counts[np.argmax(np.where(counts > least, counts - exact, -np.inf))] -= 1
        owed = np.clip(exact - counts, -1, 1)
        part[rows] = np.repeat(np.arange(len(wanted)), counts)
    return part


def _greedy(
    content: list[Amounts], sizes: np.ndarray, wanted: np.ndarray, rng: np.random.Generator, *,
    everywhere: bool = True,
) -> np.ndarray:  # fmt: skip
    """Units of several examples, or of several strata.

    Each stratum, the rarest first, hands its units, the largest first, to the part that still wants most of it:
    Sechidis et al., "On the stratification of multi-label data", ECML 2011, with groups in the place of examples.
    `everywhere` puts each stratum into every part where it has units enough.
    """
    members: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
    totals: Counter[int] = Counter()
    for unit, amounts in enumerate(content):
        totals.update(amounts)
        for stratum in amounts:
            members[stratum].append(unit)
    # Numbers of Python's own: numpy's take ten times as long one by one.
    desire = [{stratum: share * total for stratum, total in totals.items()} for share in wanted.tolist()]
    room, shares, size_of = (wanted * sizes.sum()).tolist(), wanted.tolist(), sizes.tolist()
    held: defaultdict[int, set[int]] = defaultdict(set)
    part = np.full(len(content), -1)
    chance = rng.random(len(content))

    def rank(p: int) -> tuple[int, int]:
        # Rounded, since sums of shares in another order must not decide; room settles what is left equal.
        return round(desire[p][stratum] * 1e6), round(room[p] / shares[p] * 1e6)

    everyone = range(len(shares))
    for stratum in sorted(members, key=lambda s: (len(members[s]), s)):
        required = set(_required(len(members[stratum]), len(wanted))) if everywhere else set()
        free = np.asarray(members[stratum])
        free = free[part[free] < 0]
        amount_of = np.fromiter((content[unit][stratum] for unit in free), np.int64, len(free))
        free = free[np.lexsort((chance[free], -amount_of))]
        for done, unit in enumerate(free.tolist()):
            lacking = required - held[stratum]
            best = max(sorted(lacking) if len(lacking) >= len(free) - done else everyone, key=rank)
            part[unit] = best
            room[best] -= size_of[unit]
            for other, amount in content[unit].items():
                desire[best][other] -= amount
                held[other].add(best)
    return part
