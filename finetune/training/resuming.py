"""Writes down where a phase stands between two steps, and goes on from there as if nothing had happened.

Lightning resumes a fit, but neither the place in an epoch nor the random state come back with it (measured with 2.6.6:
of 8 stops none ended as the uninterrupted run did). Here a checkpoint is written where a step begins, which is the
one place at which the loop's counters mean the same inside and at the border of an epoch; order and variation of the
pictures follow from seed, epoch and row, so that the place in the epoch is a number; and the random state of each
rank is put back before the very step before which it was taken.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist

from ..data.samplers import EpochSampler
from ..errors import StoppedError, TrainingError
from .checkpoints import Checkpoint, Checkpoints
from .ledger import count_rows
from .rounds import Rounds


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a phase writes down where it stands.

    Args:
        checkpoints: Where to.
        every: Seconds between two of them.
        table: metrics.csv, whose rows are counted.
        after: The checkpoint that the phase goes on from.
        again: What to type to go on, for whoever is told of a stop.
        failed: Gets a line for each checkpoint that could not be written.
    """

    checkpoints: Checkpoints
    every: float
    table: Path
    after: Checkpoint | None = None
    again: str = ""
    failed: list[str] = field(default_factory=list)


class KeepPlace(L.Callback):
    """Writes a checkpoint where it is time, or where the process was asked to leave; and goes on from one.

    Of the signals that systems send before they take a machine away, SIGTERM and SIGUSR1, the next step does not
    begin before there is a checkpoint, and then the fit ends with `StoppedError`.

    Args:
        standing: Where to, how often, and what from.
        beside: The files of the phase so far that belong to where it stands.
        name: Of the phase.
    """

    def __init__(self, standing: Standing, beside: Callable[[], Sequence[Path]], name: str) -> None:
        self.standing, self.beside, self.name = standing, beside, name
        self._asked: int | None = None
        self._before: dict[int, Any] = {}
        self._pending = standing.after is not None
        self._written, self._rounds = 0.0, Rounds(standing.every)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Lightning has set its own handlers by now; signals can be caught in the main thread only."""
        self._written = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Between two steps: gradients that are half added up are nothing to go on from.

        Raises:
            StoppedError: The process was asked to leave, and the checkpoint is written.
        """
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if self._pending:
            self._put_back(module)
            self._pending = False
            return
        asked, due = self._agreed(trainer)
        if asked is not None or due:
            self._write(trainer, module, batch_idx)
        if asked is not None:
            self._leave(trainer, asked)

    def on_validation_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int, *more: Any) -> None:
        """A validation may take longer than there is left: what was written before has to do."""
        if self._asked is not None:
            self._leave(trainer, self._asked)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Gives the signals back."""
        self._restore()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Likewise."""
        self._restore()

    def _note(self, number: int, frame: Any) -> None:
        self._asked = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _agreed(self, trainer: Any) -> tuple[int | None, bool]:
        """Which signal a rank was sent, and whether a checkpoint is due: all ranks give the same answer."""
        due = time.monotonic() - self._written >= self.standing.every
        if trainer.world_size == 1:
            return self._asked, due
        everybody = self._rounds.ask(trainer, (self._asked, due))
        if everybody is None:
            return None, False
        return next((asked for asked, _ in everybody if asked is not None), None), bool(everybody[0][1])

    def _write(self, trainer: Any, module: Any, batch: int) -> None:
        ranks = _gathered({"random": _random_state(), "train_loss": module.train_loss.state()})
        facts = {"epoch": trainer.current_epoch, "batch": batch, "step": trainer.global_step, "phase": self.name,
                 "rows": count_rows(self.standing.table) if trainer.is_global_zero else 0}  # fmt: skip
        self._ranks = ranks
        self._written = time.monotonic()
        if not trainer.is_global_zero:
            trainer.save_checkpoint("")  # all ranks take part, the first one writes
            return
        together = False

        def save(path: Path) -> None:
            nonlocal together
            trainer.save_checkpoint(path)
            together = True

        try:
            self.standing.checkpoints.write(save, beside=self.beside(), facts=facts)
        except OSError as error:
            if not together:
                trainer.strategy.barrier("Trainer.save_checkpoint")  # where the other ranks wait
            # The run is worth more than this checkpoint: the one before is still there.
            why = error.strerror or error
            self.standing.failed.append(f"no checkpoint could be written at step {trainer.global_step}: {why}")

    def state_dict(self) -> dict[str, Any]:
        """What belongs to the ranks, as plain values and tensors."""
        return {"ranks": self._ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it back; it is put in place when the first step begins."""
        self._ranks = state_dict["ranks"]

    _ranks: list[Any] = []  # noqa: RUF012  # replaced, never added to

    def _put_back(self, module: Any) -> None:
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        if rank >= len(self._ranks):
            raise TrainingError(
                f"The checkpoint was written by {len(self._ranks)} processes, and there are more of them now. "
                "Expected as many devices as before."
            )
        module.train_loss.load(self._ranks[rank]["train_loss"])
        _set_random_state(self._ranks[rank]["random"])

    def _leave(self, trainer: Any, number: int) -> None:
        what = signal.Signals(number).name
        how = f" Go on with: {self.standing.again}" if self.standing.again else ""
        raise StoppedError(
            f'Stopped by {what} before step {trainer.global_step + 1} of phase "{self.name}".{how}', number
        )


def start_at(loader: Any, at: Checkpoint) -> None:
    """Lets a loader of ours begin where a phase stood.

    Raises:
        TrainingError: A loader whose place cannot be set.
    """
    if not isinstance(loader.sampler, EpochSampler):
        raise TrainingError(f"A {type(loader.sampler).__name__} cannot begin in the middle of an epoch.")
    loader.sampler.start_at(int(at.facts["epoch"]), int(at.facts["batch"]))


@contextlib.contextmanager
def forwarded(spawning: bool) -> Iterator[None]:
    """Hands on to spawned ranks the signals that ask this process to leave; afterwards signals do what they did.

    Lightning gives its handlers back only where nothing went wrong.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hand_on(number: int, frame: Any) -> None:
        for rank in multiprocessing.active_children():
            if rank.pid is not None:
                os.kill(rank.pid, number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS if spawning else ():
        signal.signal(number, hand_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


def _gathered(mine: Any) -> list[Any]:
    everybody: list[Any] = [mine]
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        everybody = [None] * dist.get_world_size()
        dist.all_gather_object(everybody, mine)
    return everybody


def _random_state() -> dict[str, Any]:
    """Of torch, of each accelerator of this process, of NumPy and of Python, as values that a file can hold."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(internal), gauss],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
