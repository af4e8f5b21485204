"""What a user says about the task: values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..data.trees import Tree, read_tree, tree_of
from ..errors import ConfigError, nearest
from .operate import Operate

if TYPE_CHECKING:
    from ..data.labels import Labels
    from .base import Task

ADJUSTED = ("logit-adjusted", "balanced-softmax")
CLASS_LOSSES = ("cross-entropy", "focal", *ADJUSTED)
TAG_LOSSES = ("cross-entropy", "focal", "asymmetric")
NUMBER_LOSSES = ("mse", "huber")
PROXY_LOSSES = ("normalised-softmax", "proxy-anchor")
PAIR_LOSSES = ("sup-con",)
EMBED_LOSSES = (*PROXY_LOSSES, *PAIR_LOSSES)
Loss = Literal[
    "cross-entropy", "focal", "logit-adjusted", "balanced-softmax", "asymmetric", "mse", "huber", "normalised-softmax",
    "proxy-anchor", "sup-con",
]  # fmt: skip
"""The loss of any task."""


@dataclass(frozen=True, kw_only=True)
class Classify:
    """One class an example.

    Args:
        class_weight: "balanced" weighs each class by n / (classes * n of the class), as scikit-learn does; "sqrt" by
            one over the square root of its frequency; a mapping from class name to weight says it outright. Weights
            are scaled to a mean of 1 over the training examples.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        loss: "cross-entropy"; "focal" (Lin et al. 2017, arXiv 1708.02002), to which what is sure already matters
            less; "logit-adjusted" (Menon et al. 2021, arXiv 2007.07314, tau of 1), which adds the logarithm of a
            class's frequency to its logit while training, so that the answers suit classes that are equally frequent.
            "balanced-softmax" (Ren et al. 2020, arXiv 2007.10740) is the same formula under its other name.
        focal_gamma: Power of (1 - p) in the focal loss, 0 or more; 0 is cross-entropy.
        scale: The classes from the lowest to the highest, where they are levels: for kappa with quadratic weights. Of
            names that are whole numbers it is known.
        operate: The point at which one class is answered, "[CLASS:]sensitivity>=0.95" say, or specificity, precision or
            recall: its threshold is fitted on held-out examples. Of two classes the second is meant.
            "any:precision>=0.99" answers only where the likeliest class is sure enough to be right so often; of more
            than two classes "precision>=0.99" means the same.
        coverage: Share of right classes that sets of classes are to hold (conformal prediction), in (0, 1).
        taxonomy: A tree on which the classes lie (Esteva et al. 2017): a file (`data/trees.py`), or names nested in
            mappings and lists. The answer is then known at every node of it.
        max_class_size: Nodes of the tree with fewer examples than this are one class with all below them; 1 trains
            the classes as they are.
    """

    class_weight: Literal["balanced", "sqrt"] | Mapping[str, float] | None = None
    label_smoothing: float = 0.0
    loss: Literal["cross-entropy", "focal", "logit-adjusted", "balanced-softmax"] = "cross-entropy"
    focal_gamma: float = 2.0
    scale: tuple[str, ...] | None = None
    operate: str | None = None
    coverage: float | None = None
    taxonomy: str | Mapping[str, Any] | None = None
    max_class_size: int = 1

    def __post_init__(self) -> None:
        if self.scale is not None:
            object.__setattr__(self, "scale", tuple(self.scale))  # a list as JSON has it
        wrong = [*_class_weight(self.class_weight), *_loss(self.loss, CLASS_LOSSES), *_gamma(self.focal_gamma)]
        wrong += [*_operate(self.operate), *_coverage(self.coverage)]
        wrong += self._taxonomy()
        if not 0 <= self.label_smoothing < 1:
            wrong.append(f"label_smoothing must be from 0 to below 1. Got {self.label_smoothing}.")
        if self.loss in ADJUSTED and isinstance(self.class_weight, str):
            wrong.append(
                f'loss="{self.loss}" and class_weight="{self.class_weight}" both make up for the frequency of a class. '
                "Expected one of them."
            )
        if wrong:
            raise ConfigError("\n".join(wrong))

    def _taxonomy(self) -> list[str]:
        """What is wrong with the tree and the size of its classes; the tree is kept as `tree_of` gives it."""
        wrong = []
        if self.max_class_size < 1:
            wrong.append(f"max_class_size must be 1 or more examples. Got {self.max_class_size}.")
        elif self.max_class_size > 1 and self.taxonomy is None:
            wrong.append("max_class_size says where a taxonomy is divided. Expected a taxonomy with it.")
        if isinstance(self.taxonomy, Path):
            object.__setattr__(self, "taxonomy", str(self.taxonomy))
        elif isinstance(self.taxonomy, Mapping):
            try:
                object.__setattr__(self, "taxonomy", tree_of(self.taxonomy))
            except ConfigError as error:
                wrong.append(f"taxonomy is no tree of names.\n{error}")
        elif self.taxonomy is not None and not isinstance(self.taxonomy, str):
            wrong.append(f"taxonomy must be a file, or names nested in mappings and lists. Got {self.taxonomy!r}.")
        return wrong

    @property
    def tree(self) -> Tree | None:
        """The taxonomy, read where it is a file.

        Raises:
            DataError: It cannot be read, or is no tree.
        """
        return read_tree(self.taxonomy) if isinstance(self.taxonomy, str) else self.taxonomy  # type: ignore[return-value]

    def build(self, labels: Labels, targets: Sequence[Any]) -> Task:
        """The task for these labels; `targets` are the training part's, for the frequencies of the classes."""
        from .classify import ClassifyTask

        if self.operate is not None and (asked := Operate.parse(self.operate)).abstains(labels.names):
            if self.coverage is not None:
                raise ConfigError(
                    f'operate="{self.operate}" and coverage={self.coverage:g} both say where nothing is answered. '
                    "Expected one of them."
                )
        elif self.operate is not None:
            asked.positives(labels.names, several=False)
        return ClassifyTask.of(self, labels, targets)

    def checked_scale(self, names: tuple[str, ...]) -> tuple[str, ...] | None:
        """The scale, which must hold each class once.

        Raises:
            ConfigError: It does not.
        """
        if self.scale is None or sorted(self.scale) == sorted(names):
            return self.scale
        raise ConfigError(
            f"scale must name each class once, from the lowest to the highest. Expected {', '.join(names)} in their "
            f"order. Got {', '.join(self.scale)}."
        )

    @property
    def balances(self) -> str | None:
        """The option by which the loss makes up for the frequencies of the classes, if any."""
        if isinstance(self.class_weight, str):
            return f'class_weight="{self.class_weight}"'
        return f'loss="{self.loss}"' if self.loss in ADJUSTED else None

    @property
    def summary(self) -> str:
        """The loss in words; empty for plain cross-entropy."""
        smoothing = [f"label smoothing {self.label_smoothing:g}"] if self.label_smoothing else []
        return _summary(self.loss, self.focal_gamma, self.class_weight, smoothing)


@dataclass(frozen=True, kw_only=True)
class Tag:
    """Several labels at once, each its own yes or no.

    Args:
        class_weight: "balanced" weighs the positives of a label by negatives / positives, "sqrt" by the square root of
            that; a mapping from label name to the weight of its positives says it outright.
        loss: "cross-entropy"; "focal" (Lin et al. 2017, arXiv 1708.02002), to which what is sure and right already
            matters less; "asymmetric" (Ben-Baruch et al. 2021, arXiv 2009.14119, with powers of 0 and 4 and a margin
            of 0.05), to which easy negatives matter hardly or not at all.
        focal_gamma: Power of (1 - p) in the focal loss, 0 or more; 0 is cross-entropy.
        operate: The point at which each label, or one that is named, is answered: see `Classify`.
    """

    class_weight: Literal["balanced", "sqrt"] | Mapping[str, float] | None = None
    loss: Literal["cross-entropy", "focal", "asymmetric"] = "cross-entropy"
    focal_gamma: float = 2.0
    operate: str | None = None

    def __post_init__(self) -> None:
        wrong = [*_class_weight(self.class_weight), *_loss(self.loss, TAG_LOSSES), *_gamma(self.focal_gamma)]
        wrong += _operate(self.operate)
        if wrong:
            raise ConfigError("\n".join(wrong))

    def build(self, labels: Labels, targets: Sequence[Any]) -> Task:
        """The task for these labels; `targets` are the training part's, for the frequencies of the labels."""
        from .tag import TagTask

        if self.operate is not None:
            Operate.parse(self.operate).positives(labels.names, several=True)
        return TagTask.of(self, labels, targets)

    @property
    def balances(self) -> str | None:
        """The option by which the loss makes up for the frequencies of the labels, if any."""
        return f'class_weight="{self.class_weight}"' if isinstance(self.class_weight, str) else None

    @property
    def summary(self) -> str:
        """The loss in words; empty for plain cross-entropy."""
        return _summary(self.loss, self.focal_gamma, self.class_weight, [])


@dataclass(frozen=True, kw_only=True)
class Regress:
    """A number.

    Args:
        loss: "mse", or "huber" where some targets are far off (quadratic up to one standard deviation).
        coverage: Share of right numbers that an interval around the answer is to hold, in (0, 1): conformal prediction.
    """

    loss: Literal["mse", "huber"] = "mse"
    coverage: float | None = None

    def __post_init__(self) -> None:
        if wrong := [*_loss(self.loss, NUMBER_LOSSES), *_coverage(self.coverage)]:
            raise ConfigError("\n".join(wrong))

    def build(self, labels: Labels, targets: Sequence[Any]) -> Task:
        """The task for a number; what the labels know of its mean and spread is all it needs."""
        from .regress import RegressTask

        return RegressTask.of(self, labels, targets)

    @property
    def balances(self) -> str | None:
        """None: a number has no classes."""
        return None

    @property
    def summary(self) -> str:
        """The loss in words; empty for the mean square."""
        return "" if self.loss == "mse" else self.loss


@dataclass(frozen=True, kw_only=True)
class Embed:
    """A point for each picture, near those of its own class: for classes that are not known yet (metric learning).

    Needs `pip install 'finetune[embed]'` (pytorch-metric-learning).

    Args:
        loss: "normalised-softmax" (Zhai and Wu 2019, arXiv 1811.12649) and "proxy-anchor" (Kim et al. 2020, arXiv
            2003.13911) compare pictures with a learned point of each class, "sup-con" (Khosla et al. 2020, arXiv
            2004.11362) with the other pictures of a step, on each device with its own.
        sharpness: What cosines are multiplied by in the loss, one over its temperature; by default 20, 32 and 10.
        margin: How far a cosine of proxy-anchor must be on the right side, in [0, 1); by default 0.1.
    """

    loss: Literal["normalised-softmax", "proxy-anchor", "sup-con"] = "normalised-softmax"
    sharpness: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        wrong = _loss(self.loss, EMBED_LOSSES)
        if self.sharpness is not None and not 0 < self.sharpness < float("inf"):
            wrong.append(f"sharpness must be above 0. Got {self.sharpness}.")
        if self.margin is not None and not 0 <= self.margin < 1:
            wrong.append(f"margin must be from 0 to below 1. Got {self.margin}.")
        elif self.margin is not None and self.loss in EMBED_LOSSES and self.loss != "proxy-anchor":
            wrong.append(f'margin is for loss="proxy-anchor"; "{self.loss}" has none. Leave it out.')
        if wrong:
            raise ConfigError("\n".join(wrong))

    def build(self, labels: Labels, targets: Sequence[Any]) -> Task:
        """The task for these labels; `targets` are the training part's, whose classes alone are learned from."""
        from .embed import EmbedTask

        return EmbedTask.of(self, labels, targets)

    @property
    def balances(self) -> str | None:
        """None: which classes a step holds is for the sampler to say."""
        return None

    @property
    def summary(self) -> str:
        """The loss in words."""
        return self.loss


def _class_weight(weight: object) -> list[str]:
    if isinstance(weight, Mapping):
        bad = {k: v for k, v in weight.items() if not 0 < v < float("inf")}
        return [f"class_weight must be above 0 for every class. Got {bad}."] if bad else []
    if weight in (None, "balanced", "sqrt"):
        return []
    return [f'class_weight must be "balanced", "sqrt" or a mapping from class to weight. Got {weight!r}.']


def _loss(loss: str, known: tuple[str, ...]) -> list[str]:
    if loss in known:
        return []
    names = ", ".join(f'"{name}"' for name in known)
    return [f"loss must be one of {names} for this task. Got {loss!r}.{nearest(str(loss), known)}"]


def _gamma(gamma: float) -> list[str]:
    return [] if 0 <= gamma < float("inf") else [f"focal_gamma must be 0 or more. Got {gamma}."]


def _operate(text: str | None) -> list[str]:
    try:
        if text is not None:
            Operate.parse(text)
    except ConfigError as error:
        return [str(error)]
    return []


def _coverage(share: float | None) -> list[str]:
    return [] if share is None or 0 < share < 1 else [f"coverage must be above 0 and below 1. Got {share}."]


def _summary(loss: str, gamma: float, weight: object, more: list[str]) -> str:
    name = f"focal, gamma {gamma:g}" if loss == "focal" else loss
    said = [*([] if weight is None else [f"class weights {weight if isinstance(weight, str) else 'given'}"]), *more]
    return "" if name == "cross-entropy" and not said else ", ".join([name, *said])
