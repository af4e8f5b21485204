"""What the data decides of a plan where the user has not, and why.

Its ancestor is the BiT-HyperRule (Kolesnikov et al. 2020, arXiv 1912.11370), which lets the size of the data choose
length, resolution and mixup. Nothing here knows a data set's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..data.sampling import PER_CLASS, USUAL
from ..types import Kind
from .faults import idle_in_a_probe
from .methods import METHODS
from .plan import MOST_VIEWED, Plan

FEW = 20  # training examples below which, or of the rarest class
FEW_OF_A_CLASS = 4  # below which, nothing can be held out to tell whether moving the backbone helps
SEEN = 20_000  # pictures that a phase looks at, views of one picture counted each
MOST_EPOCHS, FEWEST_EPOCHS = 10, 3
VIEWS = 4
MIXUP = 0.4


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of the data before a plan is made.

    Args:
        examples: About how many there are to train on.
        kind: What a target is.
        classes: How many classes or labels; 0 for a number.
        rarest: Training examples of the rarest class or label; 0 for a number.
        pretrained: Whether the backbone's weights are.
        embeds: Whether the answer is a point for each picture.
    """

    examples: int
    kind: Kind
    classes: int
    rarest: int
    pretrained: bool
    embeds: bool = False

    @classmethod
    def of(
        cls, kind: Kind, targets: Sequence[Any], *, share: float, pretrained: bool, embeds: bool = False
    ) -> Facts:  # fmt: skip
        """Counts the targets.

        Args:
            kind: What they are.
            targets: One an example: a name, a tuple of names, or a number.
            share: How much of them is for training.
            pretrained: Whether the backbone's weights are.
            embeds: Whether the answer is a point for each picture.
        """
        names = [] if kind == "number" else targets if kind == "class" else [name for of in targets for name in of]
        counts = Counter(names)
        rarest = min(counts.values(), default=0)
        return cls(
            examples=round(share * len(targets)), kind=kind, classes=len(counts), rarest=round(share * rarest),
            pretrained=pretrained, embeds=embeds,
        )  # fmt: skip


def decide(plan: Plan, facts: Facts) -> tuple[Plan, tuple[str, ...]]:
    """The plan with nothing left open that the data can decide, and a line for each decision with its reason.

    Args:
        plan: What the user said.
        facts: What the data is.
    """
    reasons: list[str] = []
    if plan.sampler == "auto" and facts.embeds:
        plan = replace(plan, sampler=_in_groups(plan))
        reasons.append(f"sampler {plan.sampler}: a step must hold several pictures of a class")
    if plan.phases:
        return replace(plan, mixup=plan.mixup or 0.0), tuple(reasons)
    if plan.optimizer == "auto" and facts.embeds:
        plan = replace(plan, optimizer="adamw")
        reasons.append("optimizer adamw: the points of the classes and the backbone move at rates of their own")
    method = plan.method
    if method == "auto":
        method, why = _method(plan, facts)
        reasons.append(f"method {method}: {why}")
    warm = METHODS[method].probes and method != "probe"
    plan = replace(plan, method=method)
    if plan.moves and plan.epochs is plan.steps is plan.time is None:
        epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, round(SEEN / max(1, facts.examples))))
        plan = replace(plan, epochs=epochs)
        reasons.append(f"{epochs} epochs: {facts.examples:,} pictures to train on, and at most {SEEN:,} looks at them")
    if plan.views is None and METHODS[method].probes:
        views = VIEWS if warm and facts.examples <= MOST_VIEWED else 0
        plan = replace(plan, views=views)
        if warm:
            reasons.append(_of_views(views, facts.kind))
    if plan.mixup is None:
        # A head that fits its training pictures already would else only grow sure of itself.
        mixup = MIXUP if warm and facts.kind != "number" else 0.0
        plan = replace(plan, mixup=mixup)
        if warm:
            why = "a fitted head would else grow sure of itself" if mixup else "of numbers it is no rule"
            reasons.append(f"mixup {mixup:g}: {why}")
    if plan.augment == "auto" and facts.kind == "number":
        policy = "light" if plan.mirror_target == "negate" else "documents"
        plan = replace(plan, augment=policy)
        reasons.append(f"augment {policy}: a mirrored road turns the other way")
    return plan, tuple(reasons)


def _in_groups(plan: Plan) -> str:
    """The sampler of groups that the batch holds whole."""
    return PER_CLASS if plan.batch % USUAL == 0 else "2-per-class" if plan.batch % 2 == 0 else "balanced"


def _method(plan: Plan, facts: Facts) -> tuple[str, str]:
    if facts.embeds:
        return ("head-then-full", "distances are learned in steps on pictures, first above what is there") if (
            facts.pretrained
        ) else ("full", "the weights are random, so everything must learn")  # fmt: skip
    for word, method in (("stage", "surgical"), ("teacher", "distill")):
        if getattr(plan, word):
            return method, f"{word} is what it is for"
    if not facts.pretrained and not plan.views:
        return "full", "the weights are random, so everything must learn"
    if plan.epochs or idle_in_a_probe(plan):
        return "lp-ft", "options of phases that move the backbone were given"
    if facts.examples < FEW or (facts.classes and facts.rarest < FEW_OF_A_CLASS):
        return "probe", f"{facts.examples} examples, {facts.rarest} of the rarest class: too few to move more by"
    few = f"{facts.examples:,} pictures to train on"
    return "lp-ft", f"pretrained weights, {few}" + (f", {facts.rarest:,} of the rarest class" if facts.classes else "")


def _of_views(views: int, kind: Kind) -> str:
    if not views:
        return "0 views for the head: so many pictures are varied enough"
    unless = " unless it knows most without" if kind == "class" else ""
    return f"{views} views for the head{unless}: varied versions cost a pass each, later phases more"
