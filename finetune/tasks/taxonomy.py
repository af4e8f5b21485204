"""Classes on a tree: which of them are trained, and what they say of every node (Esteva et al. 2017).

A network learns classes that are fine, and answers for those that are coarse: the probability of a node is the sum over
the classes below it. The classes are chosen so that none is too small, by the partition algorithm of the paper's
supplement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..data.labels import Labels, natural_key
from ..data.trees import Tree
from ..errors import ConfigError, DataError, listing, nearest
from ..types import Kind
from .options import Classify

OWN = " (unspecified)"
"""What follows the name of a node in the name of a class of those examples that are of no node below it."""


class Level(NamedTuple):
    """The tree, cut at one depth.

    depth: How many names lie above and in the cut; 1 are the nodes right below the root.
    names: Of the G nodes in the cut; a class that ends above it stands for itself.
    matrix: (K, G) of 0 and 1: which class lies under which of them, each under one.
    """

    depth: int
    names: tuple[str, ...]
    matrix: np.ndarray


@dataclass(frozen=True)
class Taxonomy:
    """A tree and the K classes on it that a network answers with.

    Args:
        tree: All nodes, nested.
        classes: Each a node with all below it, or `NODE (unspecified)`: those examples of a node that are of none
            below it. They are disjoint, in the order of the network's outputs.
    """

    tree: Tree
    classes: tuple[str, ...]

    @cached_property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """For each class the names from the top down to its own."""
        above = dict(_walk(self.tree))
        return tuple(above[name] if name in above else (*above[name.removesuffix(OWN)], name) for name in self.classes)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Every node that a class lies under or is, each before those below it; the classes of OWN are none."""
        held = {name for path in self.paths for name in path}
        return tuple(name for name, _ in _walk(self.tree) if name in held)

    def matrix(self, nodes: Sequence[str]) -> np.ndarray:
        """(K, len(nodes)) of 0 and 1: which class lies under which node."""
        return np.array([[float(name in path) for name in nodes] for path in self.paths]).reshape(-1, len(nodes))

    @cached_property
    def inner(self) -> tuple[str, ...]:
        """The nodes that are no classes, but for those that have all classes below them."""
        counts = self.matrix(self.nodes).sum(axis=0)
        own = {*self.classes}
        return tuple(n for n, k in zip(self.nodes, counts, strict=True) if n not in own and k < len(self.classes))

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The cuts that tell something apart, the coarsest first; the last is the classes themselves.

        What several tops have above them, and the one top that has everything below it, is the root: depth 0.
        """
        root = 1 if len(self.tree) == 1 else 0
        deepest = max(len(path) for path in self.paths)
        found = []
        for depth in range(1, deepest - root + 1):
            ends = [path[: depth + root][-1] for path in self.paths]
            # The order of the outputs, so that the last level is the plain task to the bit.
            names = tuple(sorted(set(ends), key=natural_key))
            if len(names) > 1:
                found.append(Level(depth, names, np.array([[float(end == name) for name in names] for end in ends])))
        return tuple(found)

    def at(self, depth: int) -> Level:
        """One of the levels.

        Raises:
            ConfigError: There is no such level.
        """
        for level in self.levels:
            if level.depth == depth:
                return level
        known = ", ".join(f"{level.depth} ({len(level.names)} nodes)" for level in self.levels)
        raise ConfigError(f"There is no level {depth} in this taxonomy that tells classes apart. Expected {known}.")


def partition(tree: Tree, counts: Mapping[str, int], most: int) -> dict[str, tuple[str, ...]]:
    """The classes to train: the algorithm of Esteva et al. 2017.

    A node with all below it is one class where that is fewer than `most` examples; else each child is looked at in
    turn, and the node's own examples are a class. What holds no example is no class, and a node that holds all of them
    is divided in any case: one class would say nothing.

    Args:
        tree: All nodes, nested.
        counts: Examples of each node itself, without those of nodes below it.
        most: The size from which a node is divided, 1 or more; 1 makes a class of each node that has examples.

    Returns:
        The name of each class and the nodes whose examples it holds. Each node that has examples is in one class.
    """
    total = sum(counts.values())
    found: dict[str, tuple[str, ...]] = {}

    def part(name: str, below: Tree) -> None:
        nodes = [name, *(node for node, _ in _walk(below))]
        size = sum(counts.get(node, 0) for node in nodes)
        if 0 < size < total and size < most:
            found[name] = tuple(nodes)
        elif size:
            for child, further in below.items():
                part(child, further)
            if counts.get(name):
                alone = all(not counts.get(node) for node in nodes[1:])
                found[name if alone else name + OWN] = tuple(nodes) if alone else (name,)

    for name, below in tree.items():
        part(name, below)
    return found


def labels_for(options: Any, kind: Kind, targets: Sequence[Any]) -> Labels:
    """The labels to train on: those that occur, or the classes that a taxonomy makes of them.

    Args:
        options: Of the task.
        kind: What a target is.
        targets: Of all examples.

    Raises:
        DataError: Targets that are not in the tree, or that all come to one class.
    """
    if not isinstance(options, Classify) or options.taxonomy is None:
        return Labels.from_targets(kind, targets)
    counts: dict[str, int] = {}
    for target in targets:
        counts[target] = counts.get(target, 0) + 1
    tree = options.tree
    assert tree is not None  # noqa: S101  # there is a taxonomy
    names = [name for name, _ in _walk(tree)]
    strange = sorted(set(counts) - set(names), key=natural_key)
    if strange:
        raise DataError(
            f"{len(strange)} classes of the examples are not in the taxonomy: {listing(strange, 10)}. Expected each to "
            f"be a node of it; it has {listing(names, 10)}.{nearest(strange[0], names)}"
        )
    found = partition(tree, counts, options.max_class_size)
    taken = sorted(name for name in found if name.endswith(OWN) and name in names)
    if taken:
        raise DataError(
            f'The taxonomy has a node "{taken[0]}", which is what the class of those examples of '
            f'"{taken[0].removesuffix(OWN)}" is called that are of none below it. Expected another name for that node.'
        )
    merged = {node: name for name, nodes in found.items() for node in nodes if node != name}
    return Labels(kind="class", names=tuple(sorted(found, key=natural_key)), merged=merged)


def told_merged(labels: Labels, targets: Sequence[Any]) -> tuple[str, ...]:
    """What a person is told of classes that are not those of the examples; nothing where they are the same.

    Args:
        labels: As from `labels_for`.
        targets: Those of all examples.
    """
    held: dict[str, list[str]] = {}
    occur = sorted(set(targets), key=natural_key) if labels.merged else []
    for name in occur:
        if name in labels.merged:
            held.setdefault(labels.merged[name], []).append(name)
    if not held:
        return ()
    said = "; ".join(f"{name} holds {listing(held[name], 10)}" for name in labels.names if name in held)
    return (f"The taxonomy makes {len(labels.names)} classes of {len(occur)}: {said}.",)


def _walk(tree: Tree, above: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every node with the names from the top down to its own, each before those below it."""
    for name, below in tree.items():
        yield name, (*above, name)
        yield from _walk(below, (*above, name))
