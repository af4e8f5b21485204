"""One class an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..data.labels import Labels
from . import resample
from .base import Task, weights_by_name
from .options import Classify
from .scores import quiet_scores, ranking_score


@dataclass(frozen=True)
class ClassifyTask(Task):
    """Softmax and cross-entropy. Targets are (N,) int64."""

    weight: tuple[float, ...] | None = None
    label_smoothing: float = 0.0

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "auroc", "f1", "log_loss")

    @classmethod
    def of(cls, options: Classify, labels: Labels, targets: Sequence[Any]) -> ClassifyTask:
        """See `Task.of`."""
        weight = None
        if options.class_weight == "balanced":
            counts = np.bincount(labels.encode(targets), minlength=labels.num_outputs)
            weight = counts.sum() / (len(counts) * np.maximum(counts, 1))
        elif options.class_weight is not None:
            weight = weights_by_name(options.class_weight, labels)
        return cls(labels, None if weight is None else tuple(weight.tolist()), options.label_smoothing)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.loss`."""
        weight = None if self.weight is None else logits.new_tensor(self.weight)
        return functional.cross_entropy(logits, target, weight=weight, label_smoothing=self.label_smoothing)

    def answer(self, logits: Tensor) -> np.ndarray:
        """See `Task.answer`."""
        return torch.softmax(logits.detach().double().cpu(), dim=1).numpy()

    def name(self, answer: np.ndarray) -> list[str | float]:
        """See `Task.name`."""
        return [self.labels.names[k] for k in answer.argmax(axis=1)]

    def measure(self, answer: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """See `Task.measure`; f1 and (one-against-rest) auroc are means over the classes."""
        from sklearn import metrics

        given = answer.argmax(axis=1)
        with quiet_scores():
            return {
                "accuracy": float(metrics.accuracy_score(target, given)),
                "balanced_accuracy": float(metrics.balanced_accuracy_score(target, given)),
                "auroc": ranking_score(*self._against_rest(answer, target)),
                "f1": float(metrics.f1_score(target, given, average="macro")),
                "log_loss": float(metrics.log_loss(target, answer, labels=np.arange(answer.shape[1]))),
            }

    def resampled(self, answer: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """See `Task.resampled`."""
        given = answer.argmax(axis=1)
        right, true, answered = resample.class_sums(target, given, answer.shape[1], counts)
        surprise = -np.log(np.clip(answer[np.arange(len(target)), target], np.finfo(float).eps, 1))
        return {
            "accuracy": resample.mean((given == target).astype(float), counts),
            "balanced_accuracy": resample.balanced_accuracy(right, true),
            "auroc": resample.mean_auroc(*self._against_rest(answer, target), counts),
            "f1": resample.macro_f1(right, true, answered),
            "log_loss": resample.mean(surprise, counts),
        }

    def _against_rest(self, answer: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each class against the rest, (N, K) truth and score; of two classes the second says it all."""
        one_hot = np.eye(answer.shape[1], dtype=bool)[target]
        return (one_hot[:, 1:], answer[:, 1:]) if answer.shape[1] == 2 else (one_hot, answer)
