"""Names the rank that all others wait for, and ends the wait.

Where one process of several hangs, the others wait for it inside a collective call, which tells nobody who is late, and
half an hour later fails as a timeout. So each rank notes how far it is, and a thread beside rank 0 compares.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L

from ..errors import TrainingError

NOTED_EVERY = 1.0
"""Seconds between two notes of a rank, which a thread writes: training waits for no disk."""


class Watch(L.Callback):
    """Notes of each rank how far it is; ends the run where nothing has moved for too long.

    Args:
        folder: Where notes are kept; all ranks see it.
        timeout: Seconds without a step, or a batch of validation, of any rank.
        phase: Its name.
    """

    def __init__(self, folder: Path, timeout: float, phase: str) -> None:
        self.folder, self.timeout, self.phase = folder, timeout, phase
        self._place: tuple[int, int, int, int] = (0, 0, 0, 0)
        self._moved = 0.0
        self._thread: tuple[threading.Thread, threading.Event] | None = None

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """From here on all ranks go through the same places."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if trainer.is_global_zero:
            (self.folder / "hung").unlink(missing_ok=True)
        self._at(trainer, TRAINING, 0, 0)
        over = threading.Event()
        args = (module, trainer.global_rank, trainer.world_size, over)
        self._thread = threading.Thread(target=self._beside, args=args, daemon=True), over
        self._thread[0].start()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """A batch has been read."""
        self._at(trainer, TRAINING, batch_idx + 1, 0)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """It has been learned from."""
        self._at(trainer, TRAINING, batch_idx + 1, 1)

    def on_validation_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int, *more: Any) -> None:
        """Validation moves too."""
        self._at(trainer, VALIDATION, batch_idx + 1, 0)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Ranks may have had one batch more or less."""
        self._at(trainer, AFTER, 0, 0)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Nobody is waited for any longer."""
        self._stop()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Likewise."""
        self._stop()

    def _stop(self) -> None:
        # Waited for: a thread that outlived the fit would be the last to hold the network while the process ends.
        if self._thread is not None:
            thread, over = self._thread
            over.set()
            thread.join()
            self._thread = None

    def _at(self, trainer: Any, stage: int, batch: int, part: int) -> None:
        self._place, self._moved = (trainer.current_epoch + 1, stage, batch, part), time.time()

    def _beside(self, module: Any, rank: int, ranks: int, over: threading.Event) -> None:
        """The thread of a rank: writes its note, and as rank 0 reads those of all."""
        pause, batches = min(NOTED_EVERY, self.timeout / 10), 0
        while not over.is_set():
            if module.batches != batches:
                # Also where no hook tells: an average is compared by a second pass over validation.
                batches, self._moved = module.batches, time.time()
            note = json.dumps({"rank": rank, "place": self._place, "at": self._moved})
            temporary = self.folder / f".{rank}"
            with contextlib.suppress(OSError):  # a full disk is no reason to end
                temporary.write_text(note)
                temporary.replace(self.folder / str(rank))
            if rank == 0:
                self._look(ranks, over)
            over.wait(pause)

    def _look(self, ranks: int, over: threading.Event) -> None:
        notes = []
        for rank in range(ranks):
            with contextlib.suppress(OSError, ValueError):
                notes.append(json.loads((self.folder / str(rank)).read_text()))
        late = late_ranks(notes, now=time.time(), timeout=self.timeout) if len(notes) == ranks else None
        if late is not None and not over.is_set():
            told = f'Nothing has moved in phase "{self.phase}" for {self.timeout:g} s: {late}.'
            (self.folder / "hung").write_text(told)
            os.write(2, f"finetune: {told}\n".encode())
            # A thread cannot wake one that waits inside a collective call; whoever started this process sees it end.
            os._exit(75)


TRAINING, VALIDATION, AFTER = 0, 1, 2


def late_ranks(notes: list[dict[str, Any]], *, now: float, timeout: float) -> str | None:
    """Who is waited for, in words; None as long as anybody moves.

    Args:
        notes: Of each rank: "rank", the "place" that it has come to (epoch, stage, batch, part), and "at" what time.
        now: The time.
        timeout: Seconds.
    """
    if any(now - note["at"] < timeout for note in notes):
        return None
    furthest, last = max(note["place"] for note in notes), min(note["place"] for note in notes)
    behind = [str(note["rank"]) for note in notes if note["place"] == last]
    epoch, stage, batch, part = last
    names = {TRAINING: f"{'after' if part else 'in'} batch {batch}", VALIDATION: f"in batch {batch} of the validation",
             AFTER: "after the validation"}  # fmt: skip
    where = f"{names[stage]} of epoch {epoch}"
    if furthest == last:
        return f"all ranks wait {where}"
    return f"rank {', '.join(behind)} stays {where}, and the others wait"


def raise_if_hung(folder: Path, error: Exception) -> None:
    """What the watch said before it ended its process, instead of the error that this made.

    Raises:
        TrainingError: It did.
    """
    if (folder / "hung").exists():
        told = (folder / "hung").read_text()
        raise TrainingError(f"{told} The run was ended; it can be resumed from its last checkpoint.") from error
