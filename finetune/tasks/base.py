"""What the output of a network means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from ..data.labels import Labels
from ..errors import ConfigError, nearest


class AgainstRest(NamedTuple):
    """Each class or label against all others: what is true, what was answered, and how sure the answer was.

    positive: (N, K) bool.
    given: (N, K) bool.
    score: (N, K) float64, the probability of the class or label.
    """

    positive: np.ndarray
    given: np.ndarray
    score: np.ndarray


class Parts(NamedTuple):
    """What each example adds to a metric: values whose mean is the metric, and which move as the metric does.

    Of a mean of losses these are the losses. Of a ratio of means they are its value plus the influence of each
    example (Hampel 1974), so that the spread and the lean of their mean are those of the metric, to first order.

    values: (N,) float64.
    low: The lowest that their mean can be.
    high: The highest that it can be.
    root: Whether the metric is the square root of their mean.
    """

    values: np.ndarray
    low: float
    high: float
    root: bool = False


@dataclass(frozen=True)
class Task(ABC):
    """A loss, an answer and the metrics of it, for one set of labels. N examples, K outputs."""

    labels: Labels

    metrics: ClassVar[tuple[str, ...]]
    """The names of what `measure` computes; the first is quoted, and chooses among epochs where the user names none."""

    wanting: ClassVar[str] = "they hold one value only. Expected both values"
    """What examples lack on which a metric is undefined, and what to do."""

    @classmethod
    @abstractmethod
    def of(cls, options: Any, labels: Labels, targets: Sequence[Any]) -> Task:
        """Makes the task from its options, the labels and the training targets."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean loss of (N, K) logits against the encoded target, a scalar.

        The target may also be a blend of several: (N, K) shares of each class, or values between those of examples.
        The mean is over the N examples, so that the losses of equal batches average to the loss of them together.
        """

    def step_loss(self, logits: Tensor, target: Tensor, head: nn.Module) -> Tensor:
        """The loss of a step, in which what the head has learned beside the answer may take part."""
        return self.loss(logits, target)

    def learning_from(self, target: np.ndarray) -> Task:
        """The task where these encoded targets alone are learned from, for a loss that must know which occur."""
        return self

    def kept(self, target: np.ndarray) -> Task:
        """The task as a model keeps it that has learned from these encoded targets."""
        return self

    @property
    def head_outputs(self) -> int:
        """How many outputs a head is built for."""
        return self.labels.num_outputs

    @abstractmethod
    def distance(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """How far (N, K) logits are from a teacher's in the same unit, a mean over the examples, a scalar.

        Hinton et al. 2015 (arXiv 1503.02531): both are divided by the temperature, and the distance is multiplied by
        its square, so that the size of the gradient does not depend on it.
        """

    @abstractmethod
    def answer(self, logits: Tensor) -> np.ndarray:
        """What the logits say: (N, K) float64 probabilities, (N, 1) numbers in the target's own unit, (N, D) points."""

    @abstractmethod
    def name(self, answer: np.ndarray) -> list[str | float]:
        """The answer of each example in words (or as a number)."""

    @abstractmethod
    def measure(self, answer: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """The metrics of (N, K) answers against encoded targets; not a number where one is undefined."""

    @abstractmethod
    def resampled(self, answer: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """The same metrics in each of B resamples, (B,); `counts` (B, N) says how often each example was drawn."""

    @abstractmethod
    def parts(self, answer: np.ndarray, target: np.ndarray) -> dict[str, Parts]:
        """What each example adds to those metrics, of `measure` and `further`, that are no shares."""

    def further(self, answer: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """More metrics of the same, too dear or too special for each epoch; none, or some of those in `FURTHER`."""
        return {}

    def further_resampled(self, answer: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those of `further` in each of B resamples, as `resampled`."""
        return {}

    def against_rest(self, answer: np.ndarray, target: np.ndarray) -> AgainstRest:
        """Each class or label against the rest; a number and a point are of no class, and K is 0."""
        none = np.zeros((len(target), 0))
        return AgainstRest(none.astype(bool), none.astype(bool), none)

    def check_monitor(self, monitor: str | None) -> str:
        """The metric that chooses the best epoch.

        Raises:
            ConfigError: A metric that this task does not have.
        """
        if monitor is None:
            return self.metrics[0]
        if monitor not in self.metrics:
            raise ConfigError(
                f'There is no metric "{monitor}" to monitor here. Expected one of {", ".join(self.metrics)}.'
                + nearest(monitor, self.metrics)
            )
        return monitor


def weights_by_name(weight: Mapping[str, float], labels: Labels) -> np.ndarray:
    """The weight of each class in the order of the labels; 1 for a class that is not named.

    Raises:
        ConfigError: A name that is no class.
    """
    unknown = sorted(set(weight) - set(labels.names))
    if unknown:
        raise ConfigError(
            f'class_weight names "{unknown[0]}", which is no class here. Expected some of {", ".join(labels.names)}.'
            + nearest(unknown[0], labels.names)
        )
    return np.array([float(weight.get(name, 1.0)) for name in labels.names])
