"""Names <-> numbers: what a target is called, and what a network is taught."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import DataError, listing, nearest
from ..types import Kind


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sorts as a person would: `img2` before `img10`."""
    # `re.split` with a group alternates text and digits, so that two keys never compare a number with a text.
    pieces = re.split(r"(\d+)", text.casefold())
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], text


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The names of a target's values and their places in a network's output.

    Args:
        kind: What the target is.
        names: Class or label names, sorted naturally; empty for a number.
        center: Mean of a number over the examples it was made from, in the number's own units.
        scale: Standard deviation of a number over the same examples; never 0.
        merged: Further names that targets may have, and the class that each belongs to: finer ones that were put
            together.
    """

    kind: Kind
    names: tuple[str, ...]
    center: float = 0.0
    scale: float = 1.0
    merged: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_outputs(self) -> int:
        """How many values a head must answer with."""
        return 1 if self.kind == "number" else len(self.names)

    @classmethod
    def from_targets(cls, kind: Kind, targets: Iterable[Any]) -> Labels:
        """Collects the names that occur, or the mean and spread of a number.

        Args:
            kind: What the target is.
            targets: Those of the training part: a name, a tuple of names, or a number for each example.

        Raises:
            DataError: There is nothing to learn from: no examples, or labels that never occur.
        """
        values = list(targets)
        if not values:
            raise DataError("There are no targets to take names from: the training part is empty.")
        if kind == "number":
            numbers = np.asarray(values, np.float64)
            # A spread that is rounding noise beside the values would blow that noise up to the size of a target.
            spread = float(numbers.std())
            floor = 1e-9 * max(1.0, float(np.abs(numbers).max()))
            return cls(kind=kind, names=(), center=float(numbers.mean()), scale=spread if spread > floor else 1.0)
        found = set(values) if kind == "class" else {name for names in values for name in names}
        if not found:
            raise DataError("No example carries any label. Expected at least one label on one example.")
        return cls(kind=kind, names=tuple(sorted(found, key=natural_key)))

    def encode(self, targets: Sequence[Any]) -> np.ndarray:
        """Turns targets into what a loss takes.

        Args:
            targets: A name, a tuple of names, or a number for each of N examples.

        Returns:
            (N,) int64 for classes, (N, K) float32 of 0 and 1 for labels, (N,) float32 for numbers, in their own units.

        Raises:
            DataError: Names that these labels do not hold.
        """
        values = list(targets)
        if self.kind == "number":
            return np.asarray(values, np.float32)
        place = {name: number for number, name in enumerate(self.names)}
        place |= {name: place[whole] for name, whole in self.merged.items()}
        used = set(values) if self.kind == "class" else {name for names in values for name in names}
        unknown = sorted(used - place.keys(), key=natural_key)
        if unknown:
            word = {"class": ("class", "classes"), "labels": ("label", "labels")}[self.kind]
            raise DataError(
                f"{len(unknown)} {f'{word[0]} is' if len(unknown) == 1 else f'{word[1]} are'} not known to this model: "
                f"{listing(unknown, 10)}. Expected {listing(self.names, 10)}.{nearest(unknown[0], self.names)}"
            )
        if self.kind == "class":
            return np.array([place[name] for name in values], np.int64)
        many = np.zeros((len(values), len(self.names)), np.float32)
        for row, names in enumerate(values):
            many[row, [place[name] for name in names]] = 1
        return many

    def __str__(self) -> str:
        """What the target is, in words."""
        if self.kind == "number":
            return "a number"
        what = "classes" if self.kind == "class" else "labels, several at once"
        return f"{len(self.names)} {what} ({listing(self.names, 5)})"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self) | {"names": list(self.names), "merged": dict(self.merged)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Labels:
        """The inverse of `to_dict`."""
        return cls(**values | {"names": tuple(values["names"])})
