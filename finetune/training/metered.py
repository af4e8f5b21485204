"""What is measured while a phase runs: pictures a second, how long they are waited for, memory, the gradient's norm."""

from __future__ import annotations

import contextlib
import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from .loggers import opened
from .memory import peak_bytes

EVERY = 10
"""Steps from one row to the next; asking a GPU for a number at each step would make it wait for the answer."""

COLUMNS = ("phase", "epoch", "step", "loss", "rate", "gradient_norm", "pictures_per_second", "data_wait", "memory_gb")


class Metered(L.Callback):
    """Writes rows of steps.csv, and tells the loggers that were asked for; on rank 0 alone.

    `loss` and `gradient_norm` (before it is clipped) are those of the step, `rate` is the head's. `pictures_per_second`
    of all ranks, and `data_wait`, the share of the time in which this rank waited for a batch, are of the steps since
    the row before; validation does not count. `memory_gb` is the height so far: allocated on an accelerator, of the
    whole process on a CPU.

    Args:
        folder: The run folder.
        phase: Its name.
        names: Where to, as from `loggers.chosen`.
    """

    def __init__(self, folder: Path, phase: str, names: Sequence[str]) -> None:
        self.folder, self.phase, self.names = folder, phase, tuple(names)
        self._loggers: list[Any] = []
        self._left: float | None = None
        self._began = self._waited = self._worked = 0.0
        self._pictures = 0
        self._shown = 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Here and not before: only now it is known who is rank 0."""
        self._shown = trainer.global_step
        if trainer.is_global_zero:
            self._loggers = opened(self.names, self.folder)

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """What lies between two epochs is nobody's step."""
        self._left = time.perf_counter()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """The batch is there."""
        now = time.perf_counter()
        self._waited += now - (self._left if self._left is not None else now)
        self._began = now

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The step is done, or on its way."""
        self._pictures += len(batch.row)
        if trainer.is_global_zero and self._due(trainer):
            self._write(trainer, module, outputs)
        self._left = time.perf_counter()
        self._worked += self._left - self._began

    def _due(self, trainer: Any) -> bool:
        step = trainer.global_step
        return bool(step > self._shown and (step % EVERY == 0 or step == 1 or trainer.is_last_batch))

    def _write(self, trainer: Any, module: Any, outputs: Any) -> None:
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches  # which makes an accelerator finish its work
        worked = self._worked + time.perf_counter() - self._began
        values = {
            "loss": loss,
            "rate": max(group["lr"] for group in trainer.optimizers[0].param_groups),
            "gradient_norm": float(module.gradient_norm),
            "pictures_per_second": self._pictures * trainer.world_size / max(1e-9, worked + self._waited),
            "data_wait": self._waited / max(1e-9, worked + self._waited),
            "memory_gb": peak_bytes(module.device.type) / 1e9,
        }
        step = trainer.global_step
        if "csv" in self.names:
            self._row({"phase": self.phase, "epoch": trainer.current_epoch + 1, "step": step, **values})
        self._tell(values, step)
        self._shown, self._pictures, self._waited = step, 0, 0.0
        self._worked = self._began - time.perf_counter()  # of this step the next row counts nothing

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """The figures of metrics.csv, for the loggers."""
        if trainer.is_global_zero and self._loggers:
            self._tell({name: float(value) for name, value in trainer.callback_metrics.items()}, trainer.global_step)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Writes what is left."""
        self._close("success")

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Likewise."""
        self._close("failed")

    def _tell(self, values: dict[str, float], step: int) -> None:
        named = {f"{self.phase}/{name}": value for name, value in values.items() if math.isfinite(value)}
        for logger in self._loggers:
            logger.log_metrics(named, step)

    def _row(self, values: dict[str, Any]) -> None:
        path = self.folder / "steps.csv"
        new = not path.exists()
        with contextlib.suppress(OSError), path.open("a", newline="", encoding="utf-8") as file:  # no run ends for it
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            short = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}
            writer.writerow(short)

    def _close(self, how: str) -> None:
        for logger in self._loggers:
            logger.save()
            logger.finalize(how)
        self._loggers = []
