"""How a run goes, told while it goes, to somebody who may give it up."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L


class Hopeless(Exception):  # a verdict, not a fault
    """Whoever was told gave the run up."""


class Reported(L.Callback):
    """Tells the monitored metric: of the probe as step 0, then of each epoch, counted on from phase to phase.

    Args:
        tell: Takes the step and the value; true gives the run up.
        table: The run's metrics.csv, where the probe's row is.
        monitor: The metric, without its part.
    """

    def __init__(self, tell: Callable[[int, float], bool], table: Path, monitor: str) -> None:
        self._tell, self._table, self._name = tell, table, f"validation_{monitor}"
        self._told = -1

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Before the first phase on pictures: the fitted head, if there is one."""
        if self._told < 0:
            self._told = 0
            if self._table.exists():
                with self._table.open(newline="", encoding="utf-8") as file:
                    values = [float(row[self._name]) for row in csv.DictReader(file) if row.get(self._name)]
                if values:
                    self._say(0, values[-1])

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """After each epoch."""
        if not trainer.sanity_checking:
            self._told += 1
            self._say(self._told, float(trainer.callback_metrics[self._name]))

    def _say(self, step: int, value: float) -> None:
        if math.isfinite(value) and self._tell(step, value):
            raise Hopeless(f"given up at step {step}, {self._name} {value:.4g}")
