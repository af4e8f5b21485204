"""A run by the clock: from seconds to steps, and a stop where the estimate was off."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import lightning as L

from ..errors import TrainingError
from ..types import Batch
from .offers import write_state
from .trial import Trial

ASIDE = 0.96  # share of a budget that is planned for; a run may take a tenth more or less
GUARD = 1.04  # share of it at which the last phase is stopped
ENDING = 1.0  # seconds for intervals, report and the saved model
TRIED = 4  # batches that a trial passes over, once and then again
MOST_TRIED = 0.04  # of what is left of the budget may be spent on a trial's further passes


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may take.

    Args:
        start: When it began, by `time.monotonic`.
        seconds: How long it may take.
        answered: Pictures that are answered after the phases, those of the test part.
        twice: Whether the phases run once more on everything.
    """

    start: float
    seconds: float
    answered: int
    twice: bool

    def check(self, what: str) -> None:
        """Refuses to begin something when the time is over.

        Raises:
            TrainingError: It is.
        """
        gone = time.monotonic() - self.start
        if gone >= self.seconds:
            raise TrainingError(
                f"The time of {self.seconds:g} s is too short: {gone:.0f} s had passed before {what} began. Expected "
                f"--time {math.ceil(2 * gone)}s or more; or --method probe, which needs none."
            )

    def left(self, pace: Pace, *, passes: int, share: float, planned: float = ASIDE) -> float:
        """Seconds for a phase that begins now.

        Args:
            pace: For what comes after the phases.
            passes: How often validation is answered after them.
            share: Of what is left for all phases, in (0, 1].
            planned: How much of the budget counts.
        """
        after = ENDING + pace.cold_look * (passes * pace.looks + math.ceil(self.answered / pace.batch_size))
        whole = self.start + planned * self.seconds - time.monotonic() - after
        return share * whole / (2 if self.twice else 1)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a phase is here, in seconds.

    Args:
        start: What comes on top once: readers are started and kernels compiled.
        cold: A batch of the first epoch, whose pictures are decoded.
        warm: A batch of a later one.
        cold_look: A batch of the first validation.
        warm_look: A batch of a later one.
        keep: Writing weights.
        batches: Batches an epoch.
        looks: Batches a validation.
        batch_size: Pictures a batch.
    """

    start: float
    cold: float
    warm: float
    cold_look: float
    warm_look: float
    keep: float
    batches: int
    looks: int
    batch_size: int

    def takes(self, count: int) -> float:
        """Seconds of a phase of so many batches, which end in whole epochs of equal length."""
        epochs = math.ceil(count / self.batches)
        first = math.ceil(count / epochs)
        looks = self.looks * (self.cold_look + (epochs - 1) * self.warm_look)
        return self.start + first * self.cold + (count - first) * self.warm + looks + epochs * self.keep

    def steps_within(self, seconds: float, *, accumulate: int) -> int:
        """The most steps of the optimizer that a phase of so many seconds has; 0 where there is no time for one."""
        low, high = 0, 1
        while self.takes(high * accumulate) <= seconds:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.takes(middle * accumulate) <= seconds else (low, middle)
        return low


def measure_pace(
    trial: Trial, loader: Any, validation: Iterable[Batch] | None, *, batches: int, looks: int, left: float
) -> Pace:
    """Times some steps, validation batches and the writing of weights.

    Args:
        trial: The phase.
        loader: A few batches of its pictures; they are passed over at least twice, since only the first pass decodes.
        validation: Batches to validate on; None where there are none.
        batches: Of an epoch of the phase itself.
        looks: Of its validation.
        left: Seconds of the whole budget that are left.
    """
    watch = Stopwatch(until=time.monotonic() + MOST_TRIED * left)
    some = min(TRIED, looks)
    trial.run(loader, steps=100 * len(loader), callbacks=[watch], validation=validation if some else None, look_at=some)
    began = time.monotonic()
    path = trial.around.folder / "checkpoints" / ".trial.safetensors"
    write_state(path, trial.network.state_dict())
    path.unlink()
    keep = time.monotonic() - began
    first, *rest = watch.epochs
    cold = first[1:] or first
    # Readers and compiled kernels begin anew with the phase; what this process had to import, it has now.
    anew = trial.around.machine.workers > 0 or trial.plan.compile
    start = max(0.0, first[0] - _mean(cold)) if anew else 0.0
    warm = [seconds for epoch in rest for seconds in epoch] or cold
    cold_look, *warm_looks = watch.looks or [0.0]
    return Pace(
        start=start, cold=_mean(cold), warm=_mean(warm), cold_look=cold_look / max(1, some),
        warm_look=_mean(warm_looks or [cold_look]) / max(1, some), keep=keep, batches=batches, looks=looks,
        batch_size=trial.plan.batch,
    )  # fmt: skip


def steps_for(
    budget: Budget, pace: Pace, *, passes: int, share: float, accumulate: int, phase: str
) -> tuple[int, float]:
    """The steps of a phase that begins now, and when by `time.monotonic` it is to be stopped at the latest.

    Raises:
        TrainingError: There is no time for one step.
    """
    now = time.monotonic()
    seconds = budget.left(pace, passes=passes, share=share)
    steps = pace.steps_within(seconds, accumulate=accumulate)
    if not steps:
        least = pace.takes(accumulate)
        needs = budget.seconds + ((least - seconds) / share * (2 if budget.twice else 1)) / ASIDE
        raise TrainingError(
            f"The time of {budget.seconds:g} s is too short: of it {max(0.0, seconds):.1f} s are left for phase "
            f'"{phase}", and one step with its validation takes {least:.1f} s. Expected --time {math.ceil(needs)}s at '
            "the least, with one step a phase; or --method probe, which takes none."
        )
    return steps, now + budget.left(pace, passes=passes, share=share, planned=GUARD)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


class Stopwatch(L.Callback):
    """Takes the time of each batch, from the end of the one before, and of each validation.

    Args:
        until: When further passes are no longer worth it; there are two in any case.
    """

    def __init__(self, until: float) -> None:
        self.until = until
        self.epochs: list[list[float]] = []
        self.looks: list[float] = []
        self._last = 0.0

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Readers are started and kernels compiled on the way to the first step."""
        self._last = time.monotonic()

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """The first epoch counts from the very beginning."""
        if self.epochs:
            self._last = time.monotonic()
        self.epochs.append([])

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Asking for the loss waits until an accelerator has computed it."""
        float(outputs["loss"])
        now = time.monotonic()
        self.epochs[-1].append(now - self._last)
        self._last = now

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        """A validation counts by itself."""
        self._last = time.monotonic()

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """It is the last thing in an epoch."""
        self.looks.append(time.monotonic() - self._last)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Stops after two passes, or when the time is up."""
        if len(self.epochs) > 1 and time.monotonic() > self.until:
            trainer.should_stop = True


class StopInTime(L.Callback):
    """Ends a phase after the current step when its time is up; what it has learned is validated and kept.

    Args:
        until: By `time.monotonic`, which all processes of a machine share.
        look: Seconds that the validation at the end takes.
    """

    def __init__(self, until: float, look: float) -> None:
        self.until, self.look = until, look
        self.after: int | None = None

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """All ranks stop at the same step."""
        late = time.monotonic() + self.look > self.until
        if self.after is None and trainer.strategy.reduce_boolean_decision(late, all=False):
            self.after = trainer.global_step
            trainer.should_stop = True
