"""One class an example."""

from __future__ import annotations

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
from .options import ADJUSTED, Classify
from .scores import levels_of, precision_score, quiet_scores, ranking_score
from .taxonomy import Level, Taxonomy

TOP = 5
"""How many answers may be wrong before the right one in top_5."""


@dataclass(frozen=True)
class ClassifyTask(Task):
    """A softmax, and a loss on it. Targets are (N,) int64; to the loss also (N, K) shares of each class.

    Args:
        labels: The classes.
        weight: Of each class in the loss, with a mean of 1 over the training examples.
        label_smoothing: Share of the target that is spread over all classes.
        gamma: Of the focal loss; None for cross-entropy.
        log_prior: Logarithm of each class's share of the training examples, which the loss adds to the logits.
        scale: The classes from the lowest to the highest, where they are levels.
        taxonomy: The tree that the classes lie on, where there is one.
    """

    weight: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    gamma: float | None = None
    log_prior: tuple[float, ...] | None = None
    scale: tuple[str, ...] | None = None
    taxonomy: Taxonomy | None = None

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "auroc", "f1", "log_loss")

    @classmethod
    def of(cls, options: Classify, labels: Labels, targets: Sequence[Any]) -> ClassifyTask:
        """See `Task.of`; without targets no class is more frequent than another."""
        counts = np.bincount(labels.encode(targets), minlength=labels.num_outputs).astype(np.float64)
        weight = None
        if isinstance(options.class_weight, Mapping):
            weight = weights_by_name(options.class_weight, labels)
        elif options.class_weight is not None and counts.any():
            weight = np.maximum(counts, 1) ** (-1.0 if options.class_weight == "balanced" else -0.5)
        if weight is not None and counts.any():
            weight = weight * counts.sum() / (weight @ counts)
        prior = None
        if options.loss in ADJUSTED and counts.any():
            prior = np.log(np.maximum(counts, 1) / counts.sum())
        return cls(
            labels, _tuple(weight), options.label_smoothing,
            gamma=options.focal_gamma if options.loss == "focal" else None, log_prior=_tuple(prior),
            scale=options.checked_scale(labels.names),
            taxonomy=None if (tree := options.tree) is None else Taxonomy(tree, labels.names),
        )  # fmt: skip

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.loss`.

        A prior is added here and nowhere else: `answer` takes the logits as they are, so that they speak for classes
        that are equally frequent (Menon et al. 2021), and so do all metrics, log_loss among them.
        """
        logits = losses.precise(logits)
        weight = None if self.weight is None else logits.new_tensor(self.weight)
        if self.log_prior is not None:
            logits = logits + logits.new_tensor(self.log_prior)
        if self.gamma is not None:
            return losses.focal(logits, target, gamma=self.gamma, weight=weight, smoothing=self.label_smoothing)
        return losses.cross_entropy(logits, target, weight=weight, smoothing=self.label_smoothing)

    def distance(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """See `Task.distance`: the Kullback-Leibler divergence of the softmaxes."""
        ours = torch.log_softmax(losses.precise(logits) / temperature, dim=1)
        theirs = torch.log_softmax(losses.precise(teacher) / temperature, dim=1)
        return temperature**2 * functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)

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
        return {
            "accuracy": resample.mean((given == target).astype(float), counts),
            "balanced_accuracy": resample.balanced_accuracy(right, true),
            "auroc": resample.mean_auroc(*self._against_rest(answer, target), counts),
            "f1": resample.macro_f1(right, true, answered),
            "log_loss": resample.mean(_surprise(answer, target), counts),
        }

    def parts(self, answer: np.ndarray, target: np.ndarray) -> dict[str, Parts]:
        """See `Task.parts`."""
        return {
            "log_loss": Parts(_surprise(answer, target), 0, np.inf),
            "brier": Parts(_square(answer, target), 0, 1 if answer.shape[1] == 2 else 2),
        }

    def further(self, answer: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """See `Task.further`.

        brier is the sum of squares over the classes, of two classes half of it, as scikit-learn scales it; kappa has
        quadratic weights; top_5 is told of more than five classes.
        """
        from sklearn import metrics

        places, levels = np.arange(answer.shape[1]), self._levels()
        with quiet_scores():
            found = {
                "auprc": precision_score(*self._against_rest(answer, target)),
                "brier": float(metrics.brier_score_loss(target, answer, labels=places, scale_by_half="auto")),
            }
            if levels is not None:
                # Over the whole scale: of the levels that occur alone, scikit-learn would count places.
                found["kappa"] = float(metrics.cohen_kappa_score(
                    levels[target], levels[answer.argmax(axis=1)], weights="quadratic",
                    labels=np.arange(levels.max() + 1)))  # fmt: skip
            if len(places) > TOP:
                found["top_5"] = float(metrics.top_k_accuracy_score(target, answer, k=TOP, labels=places))
        return found

    def further_resampled(self, answer: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """See `Task.further_resampled`."""
        classes, levels = answer.shape[1], self._levels()
        truth, score = self._against_rest(answer, target)
        found = {
            "auprc": resample.mean_auprc(truth, score, counts),
            "brier": resample.mean(_square(answer, target), counts),
        }
        if levels is not None:
            given = levels[answer.argmax(axis=1)]
            found["kappa"] = resample.kappa(levels[target], given, int(levels.max()) + 1, counts)
        if classes > TOP:
            # As scikit-learn breaks ties: of equal scores the later class comes first.
            best = np.argsort(answer, axis=1, kind="mergesort")[:, ::-1][:, :TOP]
            found["top_5"] = resample.mean((best == target[:, None]).any(axis=1).astype(float), counts)
        return found

    def against_rest(self, answer: np.ndarray, target: np.ndarray) -> AgainstRest:
        """See `Task.against_rest`."""
        one_hot = np.eye(answer.shape[1], dtype=bool)
        return AgainstRest(one_hot[target], one_hot[answer.argmax(axis=1)], answer)

    def of_level(self, level: Level) -> ClassifyTask:
        """The task whose classes are the nodes of one level of the taxonomy: its answers are (N, K) @ the matrix."""
        return ClassifyTask(Labels(kind="class", names=level.names))

    def _levels(self) -> np.ndarray | None:
        """(K,) the place of each class on a scale, where there is one."""
        if self.scale is None:
            return levels_of(self.labels.names)
        return np.array([self.scale.index(name) for name in self.labels.names], np.int64)

    def _against_rest(self, answer: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each class against the rest, (N, K) truth and score; of two classes the second says it all."""
        one_hot = np.eye(answer.shape[1], dtype=bool)[target]
        return (one_hot[:, 1:], answer[:, 1:]) if answer.shape[1] == 2 else (one_hot, answer)


def _surprise(answer: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N,) minus the logarithm of the probability of what is true."""
    return np.asarray(-np.log(np.clip(answer[np.arange(len(target)), target], np.finfo(float).eps, 1)))


def _square(answer: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N,) the squares of what is wrong with each probability, summed; of two classes half of it."""
    classes = answer.shape[1]
    return np.asarray(((answer - np.eye(classes)[target]) ** 2).sum(axis=1) / (2 if classes == 2 else 1))


def _tuple(values: np.ndarray | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values.tolist())
