"""What of a run is done: the record that a resumed run goes by."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, RunFolderError
from ..files import replacing
from .checkpoints import Checkpoints
from .offers import Candidate
from .phase import Phase

if TYPE_CHECKING:
    from .probe import HeadFit

PROGRESS = "progress.json"


class Ledger:
    """progress.json of a run: what each phase that ended has left, and what was measured for one before it began.

    A run that is resumed does again what costs little, in the same way since it has the same seed, and takes from here
    what a phase gave. Everything it says is on the disk already when it is written.

    Args:
        folder: The run folder.
        resume: Whether what an earlier process wrote there counts.

    Raises:
        RunFolderError: It cannot be read.
    """

    def __init__(self, folder: Path, *, resume: bool = False) -> None:
        self.folder, self.resume = folder, resume
        self._told: dict[str, Any] = {"format": 1, "finished": False, "data": None, "phases": {}, "begun": {}}
        if resume:
            self._told |= read_progress(folder)
            self._told["finished"] = False

    def begin(self, data: str) -> None:
        """Notes what is learned from, or compares it with what was noted.

        Args:
            data: A fingerprint of the examples and their split.

        Raises:
            DataError: The examples or the split are not those that the run began with.
        """
        known = self._told["data"]
        if known is not None and known != data:
            raise DataError(
                f"The examples are not those that the run in {self.folder} began with, so it cannot go on as the same "
                "run. Expected the same files, targets and groups; or begin anew with "
                f"finetune fit --recipe {self.folder} --out ANOTHER."
            )
        self._told["data"] = data
        self._write()

    @property
    def rows(self) -> int:
        """How many rows of metrics.csv the phases that ended have written; later ones will be written again."""
        return max((entry["rows"] for entry in self._told["phases"].values()), default=0)

    def begun(self, key: str) -> Phase | None:
        """A phase with the rate and the length that were measured for it, where it has begun."""
        values = self._told["begun"].get(key)
        return None if values is None else _phase(values)

    def note_begun(self, key: str, phase: Phase) -> None:
        """Notes what was measured for a phase before its first step."""
        self._told["begun"][key] = asdict(phase)
        self._write()

    def done(self, key: str) -> tuple[list[Candidate], Phase, HeadFit | None] | None:
        """What a phase has left, where it ended: its best weights, itself as it ran, and the head that it fitted."""
        entry = self._told["phases"].get(key)
        if entry is None:
            return None
        from .probe import HeadFit

        offers = [Candidate(**{**offer, "state": self.folder / "checkpoints" / offer["state"]})
                  for offer in entry["offers"]]  # fmt: skip
        if not all(offer.state.exists() for offer in offers):
            return None
        fitted = None if entry["head"] is None else HeadFit.read(offers[0].state.with_suffix(".head"), entry["head"])
        return offers, _phase(entry["phase"]), fitted

    def note_done(
        self, key: str, offers: Sequence[Candidate], phase: Phase, fitted: HeadFit | None = None
    ) -> None:  # fmt: skip
        """Notes that a phase has ended, and lets go of its checkpoints."""
        self._told["phases"][key] = {
            "phase": asdict(phase),
            "offers": [{**asdict(offer), "state": offer.state.name} for offer in offers],
            "head": None if fitted is None else fitted.write(offers[0].state.with_suffix(".head")),
            "rows": count_rows(self.folder / "metrics.csv"),
        }
        self._write()
        Checkpoints.of(self.folder, key).clear()

    def finish(self) -> None:
        """Notes that there is nothing left to do."""
        self._told["finished"] = True
        self._write()

    def _write(self) -> None:
        with replacing(self.folder / PROGRESS) as temporary:
            temporary.write_text(json.dumps(self._told, indent=1) + "\n", encoding="utf-8")


def _phase(values: Mapping[str, Any]) -> Phase:
    """A phase from JSON, whose lists are tuples."""
    as_was: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
    return Phase(**as_was)


def read_progress(folder: Path) -> dict[str, Any]:
    """What progress.json says; nothing where the run was killed before there was one.

    Raises:
        RunFolderError: It cannot be read.
    """
    try:
        told: Mapping[str, Any] = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        return dict(told)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(
            f"{folder / PROGRESS} cannot be read ({error}), so it is not known how far the run came. "
            f"Begin anew with finetune fit --recipe {folder} --out ANOTHER."
        ) from error


def count_rows(table: Path) -> int:
    """How many rows a CSV file has below its header."""
    if not table.exists():
        return 0
    with table.open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.DictReader(file))


def keep_rows(table: Path, rows: int) -> None:
    """Takes all but the first rows from a CSV file, and columns that they do not have with them."""
    if count_rows(table) <= rows:
        return
    if not rows:
        table.unlink()
        return
    with table.open(newline="", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))[:rows]
    columns = [name for name in kept[0] if any(row[name] for row in kept)]
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
