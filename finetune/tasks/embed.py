"""A point for each picture, near those of its own class: metric learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data.labels import Labels
from ..errors import ConfigError
from . import losses, resample
from .base import Parts, Task
from .options import PAIR_LOSSES, Embed
from .retrieval import retrieval_scores

SHARPNESS = {"normalised-softmax": 20.0, "proxy-anchor": 32.0, "sup-con": 10.0}
"""Those of the papers, where a temperature is one over it."""

MARGIN = 0.1


def metric_losses() -> Any:
    """The losses of pytorch-metric-learning.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import pytorch_metric_learning.losses
    except ImportError:
        raise ConfigError("The task embed needs pytorch-metric-learning: pip install 'finetune[embed]'") from None
    return pytorch_metric_learning.losses


@dataclass(frozen=True)
class EmbedTask(Task):
    """A point of length 1. Targets are (N,) int64: the class of each picture, be it one that was never trained.

    Args:
        labels: All classes that the examples have.
        trained: The numbers of those that are learned from; a proxy that nothing is near would only be in the way.
        objective: The loss.
        sharpness: What cosines are multiplied by in it.
        margin: Of proxy-anchor.
    """

    trained: tuple[int, ...] = ()
    objective: str = "normalised-softmax"
    sharpness: float = SHARPNESS["normalised-softmax"]
    margin: float = MARGIN

    metrics: ClassVar[tuple[str, ...]] = ("map_at_r", "recall_at_1", "recall_at_10")
    wanting: ClassVar[str] = "no class has two of them. Expected two pictures or more of some classes"

    @classmethod
    def of(cls, options: Embed, labels: Labels, targets: Sequence[Any]) -> EmbedTask:
        """See `Task.of`; without targets nothing is learned, and no head has proxies."""
        sharpness = SHARPNESS[options.loss] if options.sharpness is None else options.sharpness
        margin = MARGIN if options.margin is None else options.margin
        task = cls(labels, objective=options.loss, sharpness=sharpness, margin=margin)
        return task.learning_from(labels.encode(targets)) if len(targets) else task

    def learning_from(self, target: np.ndarray) -> EmbedTask:
        """See `Task.learning_from`."""
        return replace(self, trained=tuple(np.unique(target).tolist()))

    def kept(self, target: np.ndarray) -> EmbedTask:
        """See `Task.kept`: its labels are the classes that were learned from, and no others."""
        names = tuple(self.labels.names[k] for k in np.unique(target))
        return replace(self, labels=replace(self.labels, names=names), trained=())

    @property
    def head_outputs(self) -> int:
        """See `Task.head_outputs`: proxies, one for each class; none where nothing is learned, or by pairs."""
        return len(self.labels.names) if self.trained and self.objective not in PAIR_LOSSES else 0

    def step_loss(self, logits: Tensor, target: Tensor, head: nn.Module) -> Tensor:
        """See `Task.step_loss`."""
        return self.loss(logits, target, getattr(head, "proxies", None))

    def loss(self, logits: Tensor, target: Tensor, proxies: Tensor | None = None) -> Tensor:
        """The loss of (N, D) points, a scalar.

        normalised-softmax (Zhai and Wu 2019, arXiv 1811.12649) is the cross-entropy of the cosines to the proxies, a
        mean over the examples; proxy-anchor (Kim et al. 2020, arXiv 2003.13911) pulls and pushes around each proxy;
        sup-con (Khosla et al. 2020, arXiv 2004.11362) compares the examples of a step with each other.

        Args:
            logits: The points.
            target: (N,) int64, each one of `trained`.
            proxies: (K, D), a point for each of the K classes, of any length; not used by sup-con.
        """
        points = losses.precise(logits)
        if self.objective in PAIR_LOSSES:
            found: Tensor = self._criterion(points, target)
            return found
        assert proxies is not None  # noqa: S101  # the head has been built with as many as the task asks for
        kept = torch.tensor(self.trained, device=points.device)
        place = torch.zeros(len(proxies), dtype=torch.int64, device=points.device)
        place[kept] = torch.arange(len(kept), device=points.device)
        own = losses.precise(proxies)[kept]
        # The library's losses hold their proxies; ours are parameters of the head, which every phase hands on.
        named = {"W": own.t()} if self.objective == "normalised-softmax" else {"proxies": own}
        found = torch.func.functional_call(self._criterion, named, (points, place[target]))
        return found

    @cached_property
    def _criterion(self) -> nn.Module:
        library, classes = metric_losses(), max(1, len(self.trained))
        made: nn.Module
        if self.objective == "sup-con":
            made = library.SupConLoss(temperature=1 / self.sharpness)
        elif self.objective == "proxy-anchor":
            made = library.ProxyAnchorLoss(classes, 1, margin=self.margin, alpha=self.sharpness)
        else:
            made = library.NormalizedSoftmaxLoss(classes, 1, temperature=1 / self.sharpness)
        return made.requires_grad_(False)

    def distance(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """See `Task.distance`: 1 - cosine of the points; they have no temperature."""
        return (1 - functional.cosine_similarity(losses.precise(logits), losses.precise(teacher), dim=1)).mean()

    def answer(self, logits: Tensor) -> np.ndarray:
        """See `Task.answer`: (N, D) float64 of length 1."""
        return functional.normalize(logits.detach().double().cpu(), dim=1).numpy()

    def name(self, answer: np.ndarray) -> list[str | float]:
        """See `Task.name`: a point is called nothing."""
        return [""] * len(answer)

    def measure(self, answer: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """See `Task.measure`: what each picture finds among the others, copies of it too; a mean over those that can.

        Not a number where no class has two pictures.
        """
        found = self._scores(answer, target)
        return {name: float(found[name].mean()) if len(found[name]) else float("nan") for name in self.metrics}

    def resampled(self, answer: np.ndarray, target: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """See `Task.resampled`: pictures are drawn as those that ask, and all are always there to be found."""
        _, place, often = np.unique(target, return_inverse=True, return_counts=True)
        asking = counts[:, often[place] > 1]
        found = self._scores(answer, target)
        with np.errstate(invalid="ignore"):
            return {name: resample.mean(found[name], asking) for name in self.metrics}

    def parts(self, answer: np.ndarray, target: np.ndarray) -> dict[str, Parts]:
        """See `Task.parts`: all its metrics are shares."""
        return {}

    def _scores(self, answer: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        """Of the pictures whose class has another one."""
        scores = retrieval_scores(answer, target, np.arange(len(target)))
        return {name: values[~np.isnan(values)] for name, values in scores.items()}
