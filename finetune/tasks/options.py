"""What a user says about the task: values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..data.labels import Labels
    from .base import Task


@dataclass(frozen=True, kw_only=True)
class Classify:
    """One class an example.

    Args:
        class_weight: "balanced" weighs each class by n / (classes * n of the class), as scikit-learn does; a mapping
            from class name to weight says it outright.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
    """

    class_weight: Literal["balanced"] | Mapping[str, float] | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_class_weight(self.class_weight)
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be from 0 to below 1. Got {self.label_smoothing}.")

    def build(self, labels: Labels, targets: Sequence[Any]) -> Task:
        """The task for these labels; `targets` are the training part's, for the balanced weights."""
        from .classify import ClassifyTask

        return ClassifyTask.of(self, labels, targets)


@dataclass(frozen=True, kw_only=True)
class Tag:
    """Several labels at once, each its own yes or no.

    Args:
        class_weight: "balanced" weighs the positives of a label by negatives / positives; a mapping from label name
            to the weight of its positives says it outright.
    """

    class_weight: Literal["balanced"] | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        _check_class_weight(self.class_weight)

    def build(self, labels: Labels, targets: Sequence[Any]) -> Task:
        """The task for these labels; `targets` are the training part's, for the balanced weights."""
        from .tag import TagTask

        return TagTask.of(self, labels, targets)


@dataclass(frozen=True, kw_only=True)
class Regress:
    """A number.

    Args:
        loss: "mse", or "huber" where some targets are far off (quadratic up to one standard deviation).
    """

    loss: Literal["mse", "huber"] = "mse"

    def __post_init__(self) -> None:
        if self.loss not in ("mse", "huber"):
            raise ConfigError(f'loss must be "mse" or "huber". Got {self.loss!r}.')

    def build(self, labels: Labels, targets: Sequence[Any]) -> Task:
        """The task for a number; what the labels know of its mean and spread is all it needs."""
        from .regress import RegressTask

        return RegressTask.of(self, labels, targets)


def _check_class_weight(weight: object) -> None:
    if isinstance(weight, Mapping):
        bad = {k: v for k, v in weight.items() if not v > 0}
        if bad:
            raise ConfigError(f"class_weight must be above 0 for every class. Got {bad}.")
    elif weight not in (None, "balanced"):
        raise ConfigError(f'class_weight must be "balanced" or a mapping from class to weight. Got {weight!r}.')
