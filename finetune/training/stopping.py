"""Ctrl-C: the first ends training after a step, the same for all ranks, and keeps what there is; the second at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import lightning as L
from torch.multiprocessing.spawn import ProcessExitedException

from .rounds import Rounds
from .trainer import fit_trainer

LOOKED_EVERY = 0.1
"""Seconds between two looks of the process that has started ranks, whether they are to stop."""


class PoliteStop(L.Callback):
    """The first Ctrl-C ends training after the current step and keeps what there is; the second one is Python's own.

    Where there are several ranks, a terminal tells all of them and `kill` one: they agree before which step it is,
    since one that left alone would leave the others waiting. Those that another process has started leave the second
    Ctrl-C to it.

    Args:
        notes: A folder in which started ranks note how far they are, for the process that has started them.
    """

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.asked = self.started = False
        self._rounds = Rounds()
        self._before: Any = None

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Signals can be caught in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            return
        process = os.getpid()

        def stop(number: int, frame: Any) -> None:
            self.asked = True
            if self.started or os.getpid() != process:  # the second also goes to readers, which are forked from here
                return
            if trainer.is_global_zero:
                say_that_it_stops()
            trainer.should_stop = trainer.should_stop or trainer.world_size == 1
            signal.signal(signal.SIGINT, self._before)

        self._before = signal.signal(signal.SIGINT, stop)
        if self.started:
            _shield(False)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """From here on there will be weights to keep."""
        if self.started and trainer.is_global_zero:
            self.notes.mkdir(parents=True, exist_ok=True)
            self._begun.touch()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """The step that begins is the last one where any rank was asked."""
        if trainer.world_size > 1 and any(self._rounds.ask(trainer, self.asked) or ()):
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Whoever was asked during the validation does not begin another epoch."""
        if trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            self._stop(trainer)

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        """Gives the signal back."""
        self._restore()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Likewise."""
        self._restore()

    @property
    def begun(self) -> bool:
        """Whether ranks that this process has started have come to their first step."""
        return self._begun.exists()

    def heard(self) -> None:
        """Takes over what the ranks that this process has started have noted."""
        self.asked = self.asked or self._stopped.exists()

    @property
    def _begun(self) -> Path:
        return self.notes / "begun"

    @property
    def _stopped(self) -> Path:
        return self.notes / "stopped"

    def _stop(self, trainer: Any) -> None:
        self.asked = trainer.should_stop = True
        if self.started and trainer.is_global_zero:
            self._stopped.touch()

    def _restore(self) -> None:
        # A rank that was started ends with the fit, and until then it must not end by a signal of the terminal.
        if self._before is not None and not self.started:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


def fit_in_ranks(trainer: L.Trainer, module: L.LightningModule, data: Mapping[str, Any], stop: PoliteStop) -> None:
    """Fits in ranks that are started for it, and hands Ctrl-C on to them.

    The first one ends them at once as long as they only start, for then there is nothing to keep.

    Args:
        trainer: With a strategy that spawns ranks, and with `stop` among its callbacks.
        module: What is trained.
        data: As `Trainer.fit` takes it.
        stop: Knows afterwards whether the ranks were asked to stop.

    Raises:
        KeyboardInterrupt: The ranks were ended before they were done.
        Exception: As for `fit_trainer`.
    """
    stop.started = True
    shutil.rmtree(stop.notes, ignore_errors=True)  # of a process that was killed
    launcher: Any = trainer.strategy.launcher
    told, killed = 0, False
    # Ranks are started by a thread that signals do not reach: so neither do they reach those that still start, which
    # would end with a traceback, and this one is free to hear them.
    with _presses() as presses, ThreadPoolExecutor(1, initializer=_shield, initargs=(True,)) as pool:
        fitting = pool.submit(fit_trainer, trainer, module, data)
        while not wait([fitting], LOOKED_EVERY).done:
            if len(presses) > told and launcher.procs:
                killed = killed or len(presses) > 1 or not stop.begun
                told = len(presses)
                _tell(launcher.procs, getattr(signal, "SIGKILL", signal.SIGTERM) if killed else signal.SIGINT)
    stop.asked = bool(presses)
    stop.heard()
    try:
        fitting.result()
    except ProcessExitedException:
        if presses:
            raise KeyboardInterrupt from None
        raise


def say_that_it_stops() -> None:
    """On a terminal alone, and past Python's buffers: the signal may come while somebody is writing into them."""
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(2, b"\nStopping after this step to keep the best weights; Ctrl-C again does not wait.\n")


@contextlib.contextmanager
def _presses() -> Iterator[list[int]]:
    """A list that gets an entry for each Ctrl-C; afterwards it does what it did."""
    presses: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield presses
        return

    def note(number: int, frame: Any) -> None:
        if not presses:
            say_that_it_stops()
        presses.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(ranks: list[Any], number: int) -> None:
    for rank in ranks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rank.pid, number)


def _shield(on: bool) -> None:
    """Whether Ctrl-C waits, for this thread and for the processes that it starts from now on."""
    if on:
        resource_tracker.ensure_running()  # whose start, with that of the first process, would let it through again
    if hasattr(signal, "pthread_sigmask"):  # where it is missing, ranks that still start end with a traceback
        signal.pthread_sigmask(signal.SIG_BLOCK if on else signal.SIG_UNBLOCK, {signal.SIGINT})
