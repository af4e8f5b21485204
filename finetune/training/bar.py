"""One bar a phase, with the time that is left of it."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class PhaseBar(ProgressBar):
    """Shows how far a phase is. Lightning's own bar starts anew in every epoch, and so knows no end of the phase.

    It is drawn on standard error, since standard output may be somebody's JSON, and only where that is a terminal.

    Args:
        phase: Its name.
        monitor: The logged metric that is shown beside it, or None.
    """

    def __init__(self, phase: str, monitor: str | None) -> None:
        super().__init__()
        self.phase, self.monitor = phase, monitor
        self._shown = True
        self._drawn: Progress | None = None

    def disable(self) -> None:
        """Lightning's word on ranks that are not to speak."""
        self._shown = False

    def enable(self) -> None:
        """The opposite."""
        self._shown = True

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Draws it, empty."""
        # Made here and not before: spawned ranks get this callback pickled, and a console cannot be.
        console = Console(stderr=True)
        if not (self._shown and trainer.is_global_zero and console.is_terminal):
            return
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._drawn = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console)
        steps = trainer.num_training_batches * trainer.max_epochs
        self._drawn.add_task(self._words(trainer, 1), total=steps if math.isfinite(steps) else None)
        self._drawn.start()

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """Says which epoch it is, counted from 1 as in metrics.csv."""
        if self._drawn is not None:
            self._drawn.update(self._drawn.task_ids[0], description=self._words(trainer, trainer.current_epoch + 1))

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Moves it on."""
        if self._drawn is not None:
            self._drawn.advance(self._drawn.task_ids[0])

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Leaves it as it is, in one line."""
        if self._drawn is not None:
            self._drawn.update(self._drawn.task_ids[0], description=self._words(trainer, trainer.current_epoch))
            self._drawn.stop()
            self._drawn = None

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Gives the terminal back."""
        if self._drawn is not None:
            self._drawn.stop()
            self._drawn = None

    def _words(self, trainer: Any, epoch: int) -> str:
        score = trainer.callback_metrics.get(self.monitor) if self.monitor is not None else None
        told = f", {self.monitor.replace('_', ' ', 1)} {float(score):.3f}" if self.monitor and score is not None else ""
        return f"{self.phase}: epoch {epoch}/{trainer.max_epochs}{told}"
