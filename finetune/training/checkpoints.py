"""Where a phase stood, on disk: written whole or not at all, the last two kept, a torn one passed over."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import sha256

STATE, LISTED = "state.ckpt", "files.json"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint.

    Args:
        folder: Where it is.
        facts: What was said of it when it was written: epoch, batch, step, rows of metrics.csv.
        beside: Names of the files that were kept with its state.
    """

    folder: Path
    facts: Mapping[str, Any]
    beside: tuple[str, ...]

    @property
    def state(self) -> Path:
        """The file that Lightning reads."""
        return self.folder / STATE

    def put_back(self, files: Sequence[Path]) -> None:
        """Gives files of the phase the content that they had then; those that were not there go.

        Args:
            files: All that the phase may have written since.
        """
        for file in files:
            if file.name in self.beside:
                _linked(self.folder / file.name, file)
            else:
                file.unlink(missing_ok=True)


class Checkpoints:
    """The checkpoints of one phase.

    Each is a folder that takes its name when everything in it is on the disk. It holds the SHA-256 of its files, so
    that one that was torn by a crash is known as such, and the one before is used instead.

    Args:
        folder: Where they are; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, run: Path, key: str) -> Checkpoints:
        """Those of a phase of a run, by what its files are called by."""
        return cls(run / "checkpoints" / f"{key}.steps")

    def write(self, save: Callable[[Path], None], *, beside: Sequence[Path], facts: Mapping[str, Any]) -> None:
        """Writes one and lets go of all but the last two.

        Args:
            save: Writes the state to the file that it is given.
            beside: Files as they are now; they may be replaced later, not written into.
            facts: JSON values; "step" orders checkpoints.

        Raises:
            OSError: It cannot be written; those before it stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=self.folder, prefix=".new-"))
        try:
            save(made / STATE)
            for file in beside:
                _linked(file, made / file.name)
            files = {file.name: _described(file) for file in sorted(made.iterdir())}
            (made / LISTED).write_text(json.dumps({"facts": dict(facts), "files": files}), encoding="utf-8")
            for file in (*made.iterdir(), made):
                _on_disk(file)
            place = self.folder / f"{facts['step']:09d}"
            shutil.rmtree(place, ignore_errors=True)
            made.rename(place)
            _on_disk(self.folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        for old in [*self._places()[:-KEPT], *self.folder.glob(".new-*")]:
            shutil.rmtree(old, ignore_errors=True)

    def last(self, say: Callable[[str], None]) -> Checkpoint | None:
        """The newest that is whole; of each that is not, `say` is told."""
        for place in reversed(self._places()):
            why = _torn(place)
            if why is None:
                listed = json.loads((place / LISTED).read_text(encoding="utf-8"))
                beside = tuple(name for name in listed["files"] if name != STATE)
                return Checkpoint(folder=place, facts=listed["facts"], beside=beside)
            say(f"  the checkpoint {place} is not whole ({why}): going back to the one before")
        return None

    def clear(self) -> None:
        """Removes all: the phase is over, or begins anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _places(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*")) if self.folder.is_dir() else []


def _torn(place: Path) -> str | None:
    """What is wrong with a checkpoint; None where nothing is."""
    try:
        files = json.loads((place / LISTED).read_text(encoding="utf-8"))["files"]
        for name, described in {STATE: None, **files}.items():
            if _described(place / name) != described:
                return f"{name} is not as it was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _described(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def _linked(source: Path, target: Path) -> None:
    """The same content under another name, whole at any moment; by a link where the disk has them."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)


def _on_disk(place: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if place.is_dir() and os.name != "posix":
        return  # Windows opens no folder
    # And waits there only for files that are open to be written.
    handle = os.open(place, os.O_RDONLY if place.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
