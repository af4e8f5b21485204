"""Several labels at once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..data.labels import Labels
from . import losses, resample
from .base import AgainstRest, Parts, Task, weights_by_name
from .options import Tag
from .scores import precision_score, quiet_scores, ranking_score


@dataclass(frozen=True)
class TagTask(Task):
    """A sigmoid and a binary loss for each label. Targets are (N, K) float32 of 0 and 1; to the loss also in between.

    Args:
        labels: The labels.
        positive_weight: Of the positives of each label in the loss.
        objective: "cross-entropy", "focal" or "asymmetric".
        gamma: Of the focal loss.
    """

    positive_weight: tuple[float, ...] | None = None
    objective: str = "cross-entropy"
    gamma: float = 2.0

    metrics: ClassVar[tuple[str, ...]] = ("auroc", "f1", "accuracy", "balanced_accuracy", "log_loss")

    @classmethod
    def of(cls, options: Tag, labels: Labels, targets: Sequence[Any]) -> TagTask:
        """See `Task.of`; without targets no label is more frequent than another."""
        weight = None
        if isinstance(options.class_weight, Mapping):
            weight = weights_by_name(options.class_weight, labels)
        elif options.class_weight is not None and len(targets):
            positives = labels.encode(targets).sum(axis=0)
            weight = (len(targets) - positives) / np.maximum(positives, 1)
            weight = np.where(weight > 0, weight, 1.0)  # a label that everything has: its weight must not vanish
            weight = weight if options.class_weight == "balanced" else np.sqrt(weight)
        return cls(labels, None if weight is None else tuple(weight.tolist()), options.loss, options.focal_gamma)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.loss`."""
        logits = losses.precise(logits)
        weight = None if self.positive_weight is None else logits.new_tensor(self.positive_weight)
        if self.objective == "focal":
            return losses.sigmoid_focal(logits, target, gamma=self.gamma, positive_weight=weight)
        if self.objective == "asymmetric":
            return losses.asymmetric(logits, target, positive_weight=weight)
        return losses.binary_cross_entropy(logits, target, positive_weight=weight)

    def distance(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """See `Task.distance`: the Kullback-Leibler divergence of the sigmoids, a mean over the labels."""
        ours, theirs = losses.precise(logits) / temperature, losses.precise(teacher) / temperature
        gap = functional.binary_cross_entropy_with_logits(ours, torch.sigmoid(theirs))
        # Less the teacher's own entropy, so that it is 0 where both say the same.
        return temperature**2 * (gap - functional.binary_cross_entropy_with_logits(theirs, torch.sigmoid(theirs)))

    def answer(self, logits: Tensor) -> np.ndarray:
        """See `Task.answer`."""
        return torch.sigmoid(logits.detach().double().cpu()).numpy()

    def name(self, answer: np.ndarray) -> list[str | float]:
        """All labels of at least one half, joined by `|`; empty where there is none."""
        names = np.array(self.labels.names, dtype=object)
        return ["|".join(names[row >= 0.5]) for row in answer]

    def measure(self, answer: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """See `Task.measure`.

        accuracy is the share of examples with every label right; the others are means over the labels, auroc and
        balanced_accuracy over those that hold both values.
        """
        from sklearn import metrics

        target = target.astype(np.int64)
        given = (answer >= 0.5).astype(np.int64)
        both = [k for k in range(target.shape[1]) if 0 < target[:, k].sum() < len(target)]
        clipped = np.clip(answer, 1e-15, 1 - 1e-15)
        with quiet_scores():
            balanced = [metrics.balanced_accuracy_score(target[:, k], given[:, k]) for k in both]
            return {
                "auroc": ranking_score(target, answer),
                "f1": float(metrics.f1_score(target, given, average="macro")),
                "accuracy": float(metrics.accuracy_score(target, given)),
                "balanced_accuracy": float(np.mean(balanced)) if both else float("nan"),
                "log_loss": float(-np.mean(target * np.log(clipped) + (1 - target) * np.log(1 - clipped))),
            }

    def resampled(self, answer: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """See `Task.resampled`."""
        truth, given = target.astype(bool), answer >= 0.5
        f1, balanced = [], []
        for k in range(truth.shape[1]):
            sums = resample.class_sums(truth[:, k].astype(int), given[:, k].astype(int), 2, counts)
            right, true, answered = sums
            positives = true[:, 1] + answered[:, 1]
            f1.append(np.divide(2 * right[:, 1], positives, out=np.zeros(len(counts)), where=positives > 0))
            both = (true > 0).all(axis=1)
            balanced.append(np.where(both, resample.balanced_accuracy(right, true), np.nan))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a resample in which no label holds both values has no such mean
            balanced_mean = np.nanmean(balanced, axis=0)
        return {
            "auroc": resample.mean_auroc(truth, answer, counts),
            "f1": np.mean(f1, axis=0),
            "accuracy": resample.mean((truth == given).all(axis=1).astype(float), counts),
            "balanced_accuracy": balanced_mean,
            "log_loss": resample.mean(_surprise(answer, target), counts),
        }

    def parts(self, answer: np.ndarray, target: np.ndarray) -> dict[str, Parts]:
        """See `Task.parts`."""
        square = ((answer - target) ** 2).mean(axis=1)
        return {"log_loss": Parts(_surprise(answer, target), 0, np.inf), "brier": Parts(square, 0, 1)}

    def further(self, answer: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """See `Task.further`: means over the labels, auprc over those that hold both values."""
        from sklearn import metrics

        target = target.astype(np.int64)
        with quiet_scores():
            brier = [metrics.brier_score_loss(target[:, k], answer[:, k]) for k in range(target.shape[1])]
            return {"auprc": precision_score(target, answer), "brier": float(np.mean(brier))}

    def further_resampled(self, answer: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """See `Task.further_resampled`."""
        return {
            "auprc": resample.mean_auprc(target.astype(bool), answer, counts),
            "brier": resample.mean(((answer - target) ** 2).mean(axis=1), counts),
        }

    def against_rest(self, answer: np.ndarray, target: np.ndarray) -> AgainstRest:
        """See `Task.against_rest`."""
        return AgainstRest(target.astype(bool), answer >= 0.5, answer)


def _surprise(answer: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N,) minus the logarithm of the probability of what is true, the mean over the labels."""
    clipped = np.clip(answer, 1e-15, 1 - 1e-15)
    return np.asarray(-np.where(target.astype(bool), np.log(clipped), np.log(1 - clipped)).mean(axis=1))
