"""What a phase is given, and the weights that it offers as the run's result."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..files import replacing, write_tensors
from .machine import Machine

if TYPE_CHECKING:
    from .budget import Budget
    from .ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Weights that a phase offers as the run's result.

    Args:
        phase: Its name.
        epoch: After how many epochs of the phase; 0 before any.
        score: The monitored metric on validation; None where there is no validation.
        state: The file of the weights.
        share: How far they are on the way from the safe weights to those of the phase, in [0, 1].
    """

    phase: str
    epoch: int
    score: float | None
    state: Path
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a fit is given beside the module and the data.

    Args:
        folder: The run folder: metrics.csv is written there, weights under checkpoints/.
        machine: The devices.
        callbacks: A user's own, as Lightning takes them.
        logger: Likewise.
        trainer: Further keywords of Lightning's Trainer; they win over ours.
        progress: Whether to draw a bar.
        budget: What the clock allows, where somebody asked for it.
        ledger: Where it is noted how far the run is, so that it can be resumed; None where nobody will.
        skip: Whether a picture that kills the process that reads it is left out; else it stops the run.
    """

    folder: Path
    machine: Machine
    callbacks: Sequence[Any] = ()
    logger: Any = False
    trainer: Mapping[str, Any] = field(default_factory=dict)
    progress: bool = False
    budget: Budget | None = None
    ledger: Ledger | None = None
    skip: bool = False


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes the tensors of a state dict to a safetensors file, whole or not at all."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.items() if isinstance(v, Tensor)}
    write_tensors(path, tensors)


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Adds a row to a CSV file whose columns may grow; the file is whole at any moment."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    rows.append(row)
    columns = list(dict.fromkeys(name for known in rows for name in known))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
