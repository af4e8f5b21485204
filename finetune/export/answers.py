"""Logits -> what is told, in a graph: probabilities, answers, sets and intervals, as `predict` tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from ..tasks.base import Task
from ..tasks.classify import ClassifyTask
from ..tasks.decisions import Decisions
from ..tasks.embed import EmbedTask


@final
class Told(nn.Module):
    """A model's decisions on its logits, by the rules of `Decisions` and `as_decided`.

    Args:
        task: What the logits mean.
        decisions: Those of the model.
        prior: How frequent some classes are where the graph will be used.

    Raises:
        ConfigError: A prior of no class, or one that cannot be.
    """

    def __init__(self, task: Task, decisions: Decisions, prior: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.kind: str = "points" if isinstance(task, EmbedTask) else task.labels.kind
        self.labels, self.decisions = task.labels, decisions
        self.moved = np.log(decisions.factors(task, prior)).tolist() if prior else None
        tree = task.taxonomy if isinstance(task, ClassifyTask) else None
        self.nodes: tuple[str, ...] = () if tree is None else tree.inner
        self.below = None if tree is None else tree.matrix(tree.inner).tolist()
        self.in_sets = decisions.coverage is not None and not prior
        self.abstains = decisions.coverage is None and decisions.answered is not None

    @property
    def outputs(self) -> dict[str, str]:
        """Each output by its name, in order, and what it is of N pictures."""
        if self.kind == "points":
            return {"embedding": "(N, D) float32 of length 1, whose products are cosines"}
        if self.kind == "number":
            found = {"value": "(N,) float32, the number in the target's own unit"}
            if self.decisions.coverage is not None:
                share = f"an interval that holds the right number in {self.decisions.coverage:.0%} of pictures"
                found |= {"low": f"(N,) float32, from here: {share}", "high": "(N,) float32, to here"}
            return found
        found = {"probabilities": "(N, K) float32, of the K classes in their order"}
        if self.kind == "class":
            found["label"] = "(N,) int64, the place of the class that is answered"
        else:
            found["labels"] = "(N, K) bool, the labels that are answered"
        if self.in_sets:
            found["set"] = f"(N, K) bool, classes that hold the right one in {self.decisions.coverage:.0%} of pictures"
            found["abstained"] = "(N,) bool, whether the set is not of one class"
        elif self.abstains:
            found["abstained"] = f"(N,) bool, whether no probability is {self.decisions.answered:.4g} or more"
        if self.below:
            found["nodes"] = "(N, G) float32, probabilities of the G nodes above the classes, in their order"
        return found

    def forward(self, logits: Tensor) -> dict[str, Tensor]:
        """(N, K) logits -> `outputs`."""
        # In double precision, as `predict`: sets of a sure model are told apart by what float32 takes for 1.
        logits = logits.double()
        if self.kind == "points":
            found = {"embedding": nn.functional.normalize(logits, dim=1)}
        elif self.kind == "number":
            found = self._number(logits)
        else:
            found = self._chosen(logits / self.decisions.temperature)
        return {name: found[name].float() if found[name].is_floating_point() else found[name] for name in self.outputs}

    def _number(self, logits: Tensor) -> dict[str, Tensor]:
        value = logits[:, 0] * self.labels.scale + self.labels.center
        limit = float("inf") if self.decisions.limit is None else self.decisions.limit
        return {"value": value, "low": value - limit, "high": value + limit}

    def _chosen(self, logits: Tensor) -> dict[str, Tensor]:
        even = self._probabilities(logits)
        shown = even if self.moved is None else self._probabilities(logits + logits.new_tensor(self.moved))
        found = {"probabilities": shown}
        if self.kind == "class":
            found["label"] = self._class(even, shown)
        else:
            found["labels"] = self._labels(even, shown)
        if self.in_sets:
            limit = float("inf") if self.decisions.limit is None else self.decisions.limit
            found["set"] = 1 - even <= limit
            found["abstained"] = found["set"].sum(dim=1) != 1
        elif self.abstains:
            found["abstained"] = even.amax(dim=1) < (self.decisions.answered or 0.0)
        if self.below:
            found["nodes"] = shown @ shown.new_tensor(self.below)
        return found

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1) if self.kind == "class" else logits.sigmoid()

    def _class(self, even: Tensor, shown: Tensor) -> Tensor:
        if not self.decisions.thresholds:
            return shown.argmax(dim=1)
        (positive, limit), *_ = self.decisions.thresholds.items()
        place = self.labels.names.index(positive)
        others = shown.clone()
        others[:, place] = -1
        return torch.where(even[:, place] >= limit, place, others.argmax(dim=1))

    def _labels(self, even: Tensor, shown: Tensor) -> Tensor:
        limits = self.decisions.thresholds
        asked = even.new_tensor([limits.get(name, 0.5) for name in self.labels.names])
        own = torch.tensor([name in limits for name in self.labels.names], device=even.device)
        return torch.where(own, even, shown) >= asked
