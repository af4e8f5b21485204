"""A number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional

from ..data.labels import Labels
from . import resample
from .base import Parts, Task
from .options import Regress
from .scores import quiet_scores


@dataclass(frozen=True)
class RegressTask(Task):
    """The network answers in standard deviations from the training mean. Targets are (N,) float32 in their own unit."""

    huber: bool = False

    metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae", "r2")

    @classmethod
    def of(cls, options: Regress, labels: Labels, targets: Sequence[Any]) -> RegressTask:
        """See `Task.of`."""
        return cls(labels, options.loss == "huber")

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.loss`."""
        standard = (target.to(logits.dtype) - self.labels.center) / self.labels.scale
        measure = functional.huber_loss if self.huber else functional.mse_loss
        return measure(logits.squeeze(1), standard)

    def distance(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """See `Task.distance`: the loss of the numbers; they have no temperature."""
        measure = functional.huber_loss if self.huber else functional.mse_loss
        return measure(logits, teacher.to(logits.dtype))

    def answer(self, logits: Tensor) -> np.ndarray:
        """See `Task.answer`."""
        return logits.detach().double().cpu().numpy() * self.labels.scale + self.labels.center

    def name(self, answer: np.ndarray) -> list[str | float]:
        """See `Task.name`."""
        return [float(value) for value in answer[:, 0]]

    def measure(self, answer: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """See `Task.measure`; rmse and mae are in the target's own unit."""
        from sklearn import metrics

        number = answer[:, 0]
        with quiet_scores():
            return {
                "rmse": float(metrics.root_mean_squared_error(target, number)),
                "mae": float(metrics.mean_absolute_error(target, number)),
                # Of targets that are all the same there is no variance to explain.
                "r2": float(metrics.r2_score(target, number)) if np.ptp(target) > 0 else float("nan"),
            }

    def resampled(self, answer: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """See `Task.resampled`."""
        number, target = answer[:, 0], target.astype(np.float64)
        return {
            "rmse": np.sqrt(resample.mean((number - target) ** 2, counts)),
            "mae": resample.mean(np.abs(number - target), counts),
            "r2": resample.r2(target, number, counts),
        }

    def parts(self, answer: np.ndarray, target: np.ndarray) -> dict[str, Parts]:
        """See `Task.parts`: of r2, a ratio, by its derivatives."""
        target = target.astype(np.float64)
        square, apart = (answer[:, 0] - target) ** 2, (target - target.mean()) ** 2
        mean, spread = square.mean(), apart.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            # Of equal targets there is no r2.
            explained = 1 - (square + mean - mean / spread * apart) / spread
        return {
            "rmse": Parts(square, 0, np.inf, root=True), "mae": Parts(np.abs(answer[:, 0] - target), 0, np.inf),
            "r2": Parts(explained, -np.inf, 1),
        }  # fmt: skip
