"""What a run folder says of its run: the one source of its page and of the card of its model."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .page import Shown
from .printed import measured_parts

Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An example that the model got most wrong.

    Args:
        shown: The picture, with what was answered.
        map: Where the answer was seen, as a JPEG of the same picture; None where there is none.
        near: The training pictures that the model finds most like it.
    """

    shown: Shown
    map: bytes | None
    near: Sequence[Shown] = ()


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """All that is told of a run.

    Args:
        story: run.json: title, primary metric, plan, notes, and what was chosen.
        metrics: metrics.json.
        epochs: The rows of metrics.csv, one an epoch.
        split: The rows of splits.csv, one an example.
        recipe: The recipe, as in recipe.json.
        model: finetune.json.
        license: That of the weights that were begun from, where one is stated.
        mistakes: The worst errors.
        rates: The curves of range tests, SVG by phase.
    """

    story: Mapping[str, Any]
    metrics: Mapping[str, Any]
    epochs: Sequence[Mapping[str, str]] = ()
    split: Sequence[Mapping[str, str]] = ()
    recipe: Mapping[str, Any]
    model: Mapping[str, Any]
    license: str | None = None
    mistakes: Sequence[Mistake] = ()

    @property
    def parts(self) -> Mapping[str, Any]:
        """The figures of each measured part."""
        return measured_parts(self.metrics)

    @property
    def part(self) -> str | None:
        """The part to quote: test where there is one."""
        return "test" if "test" in self.parts else next(iter(self.parts), None)

    @property
    def kind(self) -> str:
        """What a target is: "class", "labels" or "number"."""
        return str(self.model["labels"]["kind"])

    def of(self, key: str) -> Any:
        """What metrics.json holds under a key for the part to quote; nothing where it holds none."""
        found = self.metrics.get(key)
        return found.get(self.part) if isinstance(found, Mapping) else None

    def counts(self) -> dict[str, dict[str, int]]:
        """Examples of each class (or label) in each part; of a number under one name."""
        found: dict[str, dict[str, int]] = {}
        for row in self.split:
            names = [row["target"]] if self.kind == "class" else (row["target"] or "").split("|")
            for name in ["examples"] if self.kind == "number" else names:
                line = found.setdefault(name or "(none)", {})
                line[row["split"]] = line.get(row["split"], 0) + 1
        return found

    def groups(self) -> int:
        """How many groups there are; 0 where none were given."""
        return len({row["group"] for row in self.split if row.get("group")})

    def curve(self, column: str) -> Points:
        """A column of metrics.csv over epochs, counted on from phase to phase."""
        return [
            (float(number), float(row[column])) for number, row in self._numbered() if row.get(column) not in (None, "")
        ]

    def phases(self) -> list[tuple[str, float, float]]:
        """Name, first and last epoch of each phase of metrics.csv."""
        found: dict[str, list[float]] = {}
        for number, row in self._numbered():
            found.setdefault(row["phase"], []).append(number)
        return [(name, min(numbers), max(numbers)) for name, numbers in found.items()]

    def kept(self) -> float | None:
        """The epoch, counted on, whose weights were kept; None where they lie between some or nobody knows."""
        chosen = self.model.get("chosen")
        if not isinstance(chosen, Mapping) or chosen.get("share", 1.0) < 1:
            return None
        for number, row in self._numbered():
            if row["phase"] == chosen["phase"] and int(float(row["epoch"])) == chosen["epoch"]:
                return number
        return None

    def _numbered(self) -> list[tuple[float, Mapping[str, str]]]:
        """The rows with their epochs counted on; a fitted head takes no epoch."""
        numbered: list[tuple[float, Mapping[str, str]]] = []
        before, last, phase = 0.0, 0.0, None
        for row in self.epochs:
            if row["phase"] != phase:
                before, phase = last, row["phase"]
            last = before + float(row["epoch"])
            numbered.append((last, row))
        return numbered


def read_rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV text."""
    return list(csv.DictReader(io.StringIO(text)))
