"""The range test: a rate is found by raising it until the loss has fallen and rises again."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from ..errors import TrainingError
from ..files import replacing
from ..types import Batch
from .learner import Learner
from .trial import Trial

# From where nothing moves to where everything breaks, by optimizer.
RANGES = {"adamw": (1e-6, 1.0), "lamb": (1e-6, 1.0), "sgd": (1e-5, 10.0), "plain-sgd": (1e-4, 100.0),
          "lars": (1e-4, 100.0)}  # fmt: skip
FEWEST, MOST = 40, 100  # steps of a test; a phase that is itself shorter gets a shorter one
WINDOW = 9  # steps that a smoothed loss is the mean of
AT_ONCE = 10  # steps within which a loss that breaks has never been whole
SURE = 4.0  # standard deviations below the start; the lowest of a hundred means is by chance about two below it
TIMES = 4.0  # the lowest loss so many times is the end


@dataclass(frozen=True)
class RangeTest:
    """What a range test saw.

    Args:
        rates: (n,) rates of the head, one a step, rising.
        losses: (n,) the training loss at each.
        smoothed: (n,) its mean over the steps around each.
        chosen: The rate that was found, between two of them.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    chosen: float

    def write(self, path: Path) -> None:
        """Writes the curve as CSV, and the rate that was chosen in each row."""
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["rate", "loss", "smoothed", "chosen"])
            rows = zip(self.rates, self.losses, self.smoothed, strict=True)
            writer.writerows([f"{value:.6g}" for value in (*row, self.chosen)] for row in rows)


def find_rate(trial: Trial, loader: Iterable[Batch], *, steps: int, accumulate: int = 1) -> RangeTest:
    """Raises the rate from step to step on a copy of the network, and chooses one below the lowest loss.

    The test of Smith 2017 (arXiv 1506.01186), with rates that grow by a factor and a stop at divergence, as fastai has
    it. Chosen is the geometric middle between the rate where a tenth of the fall is done and that of the lowest loss.

    Args:
        trial: The phase. The rates of its stages keep their proportions.
        loader: Batches of its pictures, varied as in the phase.
        steps: How many the phase itself will take.
        accumulate: Batches a step.

    Raises:
        TrainingError: The loss broke at once, or never fell.
    """
    low, high = RANGES[trial.phase.optimizer]
    rates = np.geomspace(low, high, min(MOST, max(FEWEST, steps)))
    rising = Rising(rates, accumulate)
    trial.run(loader, steps=len(rates), accumulate=accumulate, callbacks=[rising], learner=Unstopped)
    losses = np.array(rising.losses)
    return choose(rates[: len(losses)], losses, phase=trial.phase.name)


def choose(rates: np.ndarray, losses: np.ndarray, *, phase: str = "") -> RangeTest:
    """The rate that a curve speaks for.

    Args:
        rates: (n,) rising.
        losses: (n,) the loss at each; a last one that is not finite has ended the test.
        phase: Its name, for messages.

    Raises:
        TrainingError: The loss broke within the first steps, or never fell by more than it varies from step to step.
    """
    whole = int(np.isfinite(losses).cumprod().sum())
    rates, losses = rates[:whole], losses[:whole]
    if whole <= AT_ONCE:
        at = f"{rates[-1]:.2g}" if whole else "the lowest rate"
        raise TrainingError(
            f'The range test of phase "{phase}" diverged at once, at {at}: no rate was found. The data or the '
            "network may be at fault, targets far out of range say. Look at them, try --precision 32-true, or give "
            "--lr a number."
        )
    smoothed = _smoothed(losses)
    # At its lowest rates nothing moves yet: what varies there is the batches.
    first = losses[: max(AT_ONCE, whole // 5)]
    start, noise = float(first.mean()), float(first.std(ddof=1)) * (1 / len(first) + 1 / WINDOW) ** 0.5
    lowest = int(smoothed.argmin())
    fall = start - float(smoothed[lowest])
    if fall <= SURE * noise or fall <= 1e-3 * abs(start):
        raise TrainingError(
            f'The range test of phase "{phase}" found no rate: from {rates[0]:.1g} to {rates[-1]:.1g} the loss never '
            f"fell below {start:.4g} by more than batches differ. What there is to learn at this point may be learned. "
            "Give --lr a number, 0.01 with sgd or 0.0001 with adamw, or leave it out for the method's own."
        )
    above = np.flatnonzero(smoothed[: lowest + 1] > start - 0.1 * fall)
    begins = int(above[-1]) if len(above) else 0
    # Two digits: what is printed, recorded and typed by a person are then one number.
    chosen = float(f"{(rates[begins] * rates[lowest]) ** 0.5:.2g}")
    return RangeTest(rates, losses, smoothed, chosen)


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """(n,) means over `WINDOW` steps with each in the middle, which do not lag behind; fewer at the ends."""
    half = WINDOW // 2
    return np.array([losses[max(0, i - half) : i + half + 1].mean() for i in range(len(losses))])


class Unstopped(Learner):
    """A learner that goes on when its loss breaks: to see that happen is what the test is for."""

    stops = False


class Rising(L.Callback):
    """Sets the rate of each step, takes down its loss, and stops at divergence.

    Args:
        rates: (n,) of the head; other groups keep their proportion to it.
        accumulate: Batches a step.
    """

    def __init__(self, rates: np.ndarray, accumulate: int) -> None:
        self.rates, self.accumulate = rates, accumulate
        self.losses: list[float] = []
        self._batches: list[float] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Behind the schedule, which has set the rate by its own curve."""
        height = float(self.rates[min(trainer.global_step, len(self.rates) - 1)])
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = height * group["share"]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """The proportions are those of the phase's own groups."""
        groups = trainer.optimizers[0].param_groups
        top = max(group["initial_lr"] for group in groups)
        for group in groups:
            group["share"] = group["initial_lr"] / top

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step's loss is the mean over its batches."""
        # Lightning has divided it by the number of batches a step.
        self._batches.append(float(outputs["loss"]) * self.accumulate)
        if trainer.global_step > len(self.losses):
            self.losses.append(float(np.mean(self._batches)))
            self._batches.clear()
            trainer.should_stop = trainer.should_stop or self._over()

    def _over(self) -> bool:
        losses = np.array(self.losses)
        if not np.isfinite(losses[-1]):
            return True
        if len(losses) <= AT_ONCE:
            return bool(losses[-1] > 1e3 * max(abs(losses[0]), 1.0))
        recent = np.convolve(losses, np.ones(5) / 5, "valid")
        return bool(recent[-1] > max(TIMES * recent.min(), 2 * losses[:AT_ONCE].mean()))


def said(phase: str, found: RangeTest) -> str:
    """What a range test found, in a line."""
    lowest = found.smoothed.argmin()
    return (
        f'  phase "{phase}": rate {found.chosen:g} found in {len(found.rates)} steps from {found.rates[0]:.1g} to '
        f"{found.rates[-1]:.1g}; the loss was lowest, {found.smoothed[lowest]:.4g}, at {found.rates[lowest]:.2g}"
    )
