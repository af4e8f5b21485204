"""The plan and its phases, as the data and the network decide what the user left open."""

from __future__ import annotations

from dataclasses import replace

from ..data.examples import Examples
from ..models.network import Network
from ..recipe import Recipe
from ..tasks.options import Embed
from ..training.defaults import Facts, decide
from ..training.depth import FEW, LITTLE, lowest_to_move
from ..training.phase import Phase
from ..training.plan import Plan


def decided(recipe: Recipe, examples: Examples) -> tuple[Plan, tuple[str, ...]]:
    """The plan with what the data decides, and why."""
    data, plan = recipe.data, recipe.plan
    plan.check_kind(examples.kind)
    parts = list(examples.table["split"])
    given = sum(part == "train" for part in parts) / len(parts)
    share = 1 - 1 / data.folds if data.folds else given or 1 - data.validation - data.test
    return decide(plan, Facts.of(examples.kind, examples.targets, share=share, pretrained=pretrained(recipe),
                                 embeds=isinstance(recipe.task, Embed)))  # fmt: skip


def pretrained(recipe: Recipe) -> bool:
    """Whether the backbone's weights are worth keeping."""
    return recipe.model.weights != "none" or recipe.model.module is not None


def phases_of(
    asked: Recipe, plan: Plan, network: Network, examples: Examples
) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """The phases of a plan, and how deep they go, with a line that says why where that was left open.

    Args:
        asked: What the user said.
        plan: As `decided`.
        network: As it was built.
        examples: All of the run.
    """
    names = [stage.name for stage in network.stages]
    phases = plan.build(pretrained=pretrained(asked), stages=names)
    said = asked.plan.method != "auto" or asked.plan.freeze_to is not None or bool(asked.plan.phases)
    # Of labels and numbers nothing was measured.
    if said or plan.method != "lp-ft" or examples.kind != "class" or len(examples) > FEW:
        return phases, ()
    lowest = lowest_to_move(network)
    below = names.index(lowest)
    if not below:
        return phases, ()
    deep = replace(plan, freeze_to=lowest).build(pretrained=pretrained(asked), stages=names)
    return deep, (
        f"freeze_to {lowest}: at most {LITTLE:.1%} of the weights lie below, which learn little from "
        f"{len(examples):,} pictures and take much of the time; --freeze-to none moves them too",
    )
