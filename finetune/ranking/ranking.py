"""What a ranking of backbones found, and the files made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..files import replacing, told_unwritable
from ..models.options import Backbone
from ..report.intervals import Measured
from ..report.ranked import shown
from ..tasks.metric_names import HIGHER_IS_BETTER

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".json", ".csv")


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One backbone, and how it did.

    Args:
        name: Its id, and what is changed about it where another one shares that.
        backbone: What was asked for.
        license: As its publisher states it; None where nothing is stated.
        error: Why it could not be tried; None where it could, and then the rest is there.
        metrics: Of answers that linear heads gave of examples that they were not fitted on.
        behind: In the metric that orders: this one's less the best one's, from the same draws. None for the best.
        logme: Logarithm of maximum evidence, an example and a column; only to be compared with others of one ranking.
        penalty: The L2 penalty that was chosen for the head.
        parameters: Of the body, without a head.
        width: How many features a picture has.
        rate: Pictures a second from files to features, the first batch aside.
        timed_on: How many pictures that was measured on.
        cached: Whether the features were known; the rate is then that of a short pass of its own.
        seconds: Wall time of all of it, a download included.
    """

    name: str
    backbone: Backbone
    license: str | None
    error: str | None = None
    metrics: Measured | None = None
    behind: Mapping[str, float | int | None] | None = None
    logme: float | None = None
    penalty: float | None = None
    parameters: int | None = None
    width: int | None = None
    rate: float | None = None
    timed_on: int | None = None
    cached: bool = False
    seconds: float = 0.0

    @property
    def tied(self) -> bool:
        """Whether these examples leave open that it is as good as the best one, or better; so for the best itself."""
        if self.error is not None or self.behind is None:
            return self.error is None
        low, high = self.behind["low"], self.behind["high"]
        return low is None or high is None or low <= 0 <= high

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        plain = {name: getattr(self, name) for name in
                 ("name", "license", "error", "metrics", "behind", "logme", "penalty", "parameters", "width", "cached",
                  "seconds")}  # fmt: skip
        return plain | {"weights": self.backbone.weights, "pictures_per_second": self.rate, "timed_on": self.timed_on,
                        "tied_with_best": self.tied}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Backbones in the order in which they suit some examples, best first; those that could not be tried come last.

    Args:
        source: What was looked at, in words.
        metric: What orders them; LogME decides between equals.
        examples: How many examples they were ranked on.
        folds: How many folds held them out in turn.
        rows: The backbones.
        notes: What was decided and left out, a sentence each.
    """

    source: str
    metric: str
    examples: int
    folds: int
    rows: tuple[Ranked, ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Ranked:
        """The first."""
        return self.rows[0]

    @property
    def tied(self) -> tuple[Ranked, ...]:
        """Those that these examples cannot tell from the best one, which is among them."""
        return tuple(row for row in self.rows if row.tied)

    @property
    def fastest(self) -> Ranked:
        """Of those the one with most pictures a second."""
        return max(self.tied, key=lambda row: row.rate or 0)

    @property
    def verdict(self) -> tuple[str, ...]:
        """What follows from it, a sentence each."""
        said = shown(self.best.metrics[self.metric]["value"] if self.best.metrics else None)
        lines = [f"Best: {self.best.name}, {self.metric} {said} on examples that its head was not fitted on."]
        others = [row for row in self.tied if row is not self.best]
        if others:
            names = ", ".join(row.name for row in others)
            lines.append(f"These {self.examples} examples do not tell it from {names} (paired 95 % interval).")
            lines.append(f"Of these the fastest is {self.fastest.name}: {self.fastest.rate:.3g} pictures a second.")
        return tuple(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "source": self.source, "metric": self.metric, "higher_is_better": HIGHER_IS_BETTER[self.metric],
            "examples": self.examples, "folds": self.folds, "best": self.best.name, "fastest_tied": self.fastest.name,
            "backbones": [row.to_dict() for row in self.rows], "verdict": list(self.verdict),
            "notes": list(self.notes),
        }  # fmt: skip

    def table(self) -> pd.DataFrame:
        """A row a backbone, a column a fact; each metric with the ends of its interval."""
        import pandas as pd

        rows = []
        for place, row in enumerate(self.rows, start=1):
            values = row.to_dict()
            metrics, behind = values.pop("metrics") or {}, values.pop("behind") or {}
            figures = {f"{name}{end}": figure[key] for name, figure in metrics.items()
                       for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))}  # fmt: skip
            apart = {
                f"behind{end}": behind.get(key) for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
            }
            rows.append(
                {"place": None if row.error else place, "name": values.pop("name"), **figures, **apart, **values}
            )
        return pd.DataFrame(rows)

    def write(self, path: str | Path) -> Path:
        """Writes it as .json or .csv, whole or not at all; a file that is there is replaced.

        Raises:
            ConfigError: Another kind of file.
            RunFolderError: It cannot be written.
        """
        if wrong := check_out(path):
            raise ConfigError(wrong)
        file = Path(path)
        as_json = file.suffix.lower() == ".json"
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n" if as_json else None
        with told_unwritable(str(file)), replacing(file.absolute()) as temporary:
            temporary.write_text(text or self.table().to_csv(index=False), encoding="utf-8")
        return file


def check_out(path: str | Path) -> str | None:
    """What is wrong with a file for a ranking; None where nothing is."""
    if Path(path).suffix.lower() in SUFFIXES and not Path(path).is_dir():
        return None
    return f"A ranking is written to a file that ends in {' or '.join(SUFFIXES)}. Got {path}."


def ordered(rows: Sequence[Ranked], metric: str) -> list[Ranked]:
    """Best first by the metric, by LogME among equals; those that could not be tried last, as they came."""

    def key(row: Ranked) -> tuple[bool, float, float]:
        value = row.metrics[metric]["value"] if row.metrics else None
        if value is None:
            return (row.error is not None, float("inf"), -(row.logme or 0.0))
        return (False, -value if HIGHER_IS_BETTER[metric] else value, -(row.logme or 0.0))

    return sorted(rows, key=key)
