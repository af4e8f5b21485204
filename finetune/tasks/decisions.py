"""From probabilities to decisions: what was fitted on held-out examples and is applied to a model's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..data.sampling import POWERS
from ..errors import ConfigError, nearest
from .base import Task

TINY = 1e-300


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What finetune.json holds under "decisions".

    Args:
        temperature: What logits are divided by (Guo et al. 2017, arXiv 1706.04599); 1 leaves probabilities as they are.
        priors: Each class's share of the examples that the probabilities assume; empty for a number.
        asked: The operating point in the words of the user; None where none was asked for.
        thresholds: The probability from which on a class or label is answered.
        coverage: The share of right answers that sets or intervals are to hold; None where none was asked for.
        limit: The largest non-conformity in a set: 1 - probability of a class, or the distance from a number in its
            own unit; None where everything conforms, for there were too few held-out examples to exclude anything.
        answered: The probability from which on the likeliest class is an answer; None where all are.
        levels: Of a taxonomy, each level's depth (as text, for JSON) with its own "limit" and "answered".
    """

    temperature: float = 1.0
    priors: Mapping[str, float] = field(default_factory=dict)
    asked: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    coverage: float | None = None
    limit: float | None = None
    answered: float | None = None
    levels: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Decisions:
        """The inverse of `to_dict`; of a model without any, those that change nothing."""
        return cls(**(values or {}))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)

    def at_level(self, depth: int) -> Decisions:
        """Those of the nodes of a level, for answers that are already calibrated; none where none were fitted."""
        own = self.levels.get(str(depth))
        if own is None:
            return Decisions()
        return Decisions(asked=self.asked, coverage=self.coverage, limit=own["limit"], answered=own["answered"])

    def calibrated(self, task: Task, answer: np.ndarray) -> np.ndarray:
        """(N, K) probabilities at the temperature; numbers as they are."""
        return tempered(task, answer, self.temperature)

    def at_prior(self, task: Task, answer: np.ndarray, prior: Mapping[str, float]) -> np.ndarray:
        """(N, K) probabilities where classes are as frequent as `prior` says (Saerens et al. 2002).

        Bayes' rule with other priors: each probability is multiplied by new over old share, and they are normalised.
        Of classes that are not named the shares keep their proportions. That holds where pictures of a class look
        alike here and there, and only their frequencies differ.

        Raises:
            ConfigError: Names that are no classes, or shares that cannot be.
        """
        factor = self.factors(task, prior)
        if task.labels.kind == "labels":
            return np.asarray(answer * factor / (answer * factor + 1 - answer))
        weighed = answer * factor
        return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))

    def factors(self, task: Task, prior: Mapping[str, float]) -> np.ndarray:
        """(K,) what the odds of each class or label are multiplied by at another prior.

        Raises:
            ConfigError: As `at_prior`.
        """
        names = task.labels.names
        checked_prior(task, prior, self.priors)
        old = np.array([self.priors[name] for name in names])
        if task.labels.kind == "labels":
            new = np.array([prior.get(name, self.priors[name]) for name in names])
            return np.asarray((new / (1 - new)) / (old / (1 - old)))
        rest = [k for k, name in enumerate(names) if name not in prior]
        new = np.array([prior.get(name, 0.0) for name in names])
        new[rest] = (1 - new.sum()) * old[rest] / old[rest].sum() if rest else 0.0
        return np.asarray(new / old)

    def name(self, task: Task, answer: np.ndarray, shown: np.ndarray | None = None) -> list[str | float]:
        """The answer of each example in words, by the thresholds where there are any.

        Args:
            task: Says what the answers mean.
            answer: (N, K) calibrated answers, which the thresholds are for.
            shown: The same at another prior, which decides where no threshold does.
        """
        shown = answer if shown is None else shown
        if not self.thresholds:
            return task.name(shown)
        names = task.labels.names
        if task.labels.kind == "labels":
            limits = np.array([self.thresholds.get(name, 0.5) for name in names])
            kept = np.where([name in self.thresholds for name in names], answer, shown) >= limits
            return ["|".join(np.array(names, dtype=object)[row]) for row in kept]
        (positive, limit), *_ = self.thresholds.items()
        place = names.index(positive)
        others = shown.copy()
        others[:, place] = -1
        return [
            positive if sure >= limit else names[k]
            for sure, k in zip(answer[:, place], others.argmax(axis=1), strict=True)
        ]

    def abstained(self, answer: np.ndarray) -> np.ndarray:
        """(N,) bool, which of (N, K) calibrated answers are no answers: the likeliest class is not sure enough."""
        return np.asarray(answer.max(axis=1) < (self.answered or 0.0))

    def sets(self, answer: np.ndarray) -> np.ndarray:
        """(N, K) bool, which classes the set of each example holds; a set may hold one, several or none."""
        limit = np.inf if self.limit is None else self.limit
        return np.asarray(1 - answer <= limit)


def tempered(task: Task, answer: np.ndarray, temperature: float) -> np.ndarray:
    """(N, K) probabilities of logits that are divided by a temperature; numbers have none."""
    if temperature == 1.0 or task.labels.kind == "number":
        return answer
    if task.labels.kind == "labels":
        logit = np.log(np.clip(answer, TINY, None)) - np.log(np.clip(1 - answer, TINY, None))
        return np.asarray(1 / (1 + np.exp(-np.clip(logit / temperature, -700, 700))))
    log = np.log(np.clip(answer, TINY, None)) / temperature
    raised = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def checked_prior(task: Task, prior: Mapping[str, float], known: Mapping[str, float]) -> None:
    """Refuses shares that no classes can have.

    Args:
        task: Says which classes there are.
        prior: Shares by class.
        known: Those that the model assumes.

    Raises:
        ConfigError: All that is wrong.
    """
    names = task.labels.names
    if not names:
        raise ConfigError("This model answers with a number, which has no classes: a prior says nothing of it.")
    if not known:
        raise ConfigError("This model does not know how frequent its classes were: fit it again to use a prior.")
    wrong = [
        f'prior names "{name}", which is no class here. Expected some of {", ".join(names)}.{nearest(name, names)}'
        for name in prior
        if name not in names
    ]
    wrong += [
        f"The prior of {name} must be above 0 and below 1. Got {share}."
        for name, share in prior.items()
        if not 0 < share < 1
    ]
    whole = sum(prior.values())
    every = set(prior) >= set(names)
    if not wrong and task.labels.kind == "class" and (abs(whole - 1) > 1e-6 if every else whole >= 1):
        wrong.append(
            f"The priors of {'all classes must sum to 1' if every else 'some classes must leave room for the others'}. "
            f"They sum to {whole:g}."
        )
    if wrong:
        raise ConfigError("\n".join(wrong))


def assumed_priors(task: Task, target: np.ndarray, *, sampler: str = "shuffle") -> dict[str, float]:
    """How frequent the classes are that a model's probabilities assume, given how it was trained.

    Those of the training part, as far as loss and sampler left them: weights multiply them, a loss that is adjusted
    for them and a balanced sampler make all alike.

    Args:
        task: With the weights of its loss.
        target: The encoded targets of the training part.
        sampler: How the examples of a step were drawn.
    """
    from .classify import ClassifyTask
    from .tag import TagTask

    names = task.labels.names
    if isinstance(task, TagTask):
        shares = (target.sum(axis=0) + 0.5) / (len(target) + 1)  # a label that nothing has is no impossible one
        weight = np.ones(len(names)) if task.positive_weight is None else np.array(task.positive_weight)
        odds = weight * shares / (1 - shares)
        return dict(zip(names, (odds / (1 + odds)).tolist(), strict=True))
    if not isinstance(task, ClassifyTask):
        return {}
    shares = np.maximum(np.bincount(target.astype(np.int64), minlength=len(names)), 1).astype(np.float64)
    if task.log_prior is not None:
        shares = shares / np.exp(task.log_prior)
    if task.weight is not None:
        shares = shares * np.array(task.weight)
    shares = shares ** POWERS.get(sampler, 0.0)
    return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))
