"""What cannot be right between the values of a recipe, though each of them is: found before any file is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConfigError
from .models.options import EmbeddingHead
from .tasks.options import PAIR_LOSSES, Classify, Embed, Regress, Tag
from .training.methods import METHODS
from .types import Kind

if TYPE_CHECKING:
    from .recipe import Recipe

KINDS: dict[type, Kind] = {Classify: "class", Tag: "labels", Regress: "number", Embed: "class"}
"""What the targets of a task are."""

SHARDING = ("fsdp", "deepspeed", "model_parallel")
"""What the names of Lightning's strategies have in them that do not hold whole weights on each device."""


def clashes(recipe: Recipe) -> list[str]:
    """A line for each thing that is wrong."""
    return [*_of_task(recipe), *_of_embedding(recipe), *_of_weights(recipe)]


def _of_task(recipe: Recipe) -> list[str]:
    data, task, plan, wrong = recipe.data, recipe.task, recipe.plan, []
    if task is None:
        return []
    kind = KINDS[type(task)]
    if data.kind not in ("auto", kind):
        wrong.append(
            f"The task {type(task).__name__} needs targets of kind {kind!r}, and data.kind says {data.kind!r}. Leave "
            "one of them out."
        )
    if task.balances and plan.sampler not in ("auto", "shuffle"):
        wrong.append(
            f'{task.balances} and sampler="{plan.sampler}" both make up for the frequency of a class, which would be '
            "done twice. Expected one of them."
        )
    try:
        plan.check_kind(kind)
    except ConfigError as error:
        wrong.append(str(error))
    return wrong


def _of_embedding(recipe: Recipe) -> list[str]:
    """What a task needs that answers with points, and what such a task has no meaning for."""
    data, task, plan, head = recipe.data, recipe.task, recipe.plan, recipe.model.head
    if not isinstance(task, Embed):
        wrong = ["An embedding head answers with points. Expected the task embed with it, or another head."]
        wrong = wrong if isinstance(head, EmbeddingHead) else []
        if data.hold_out == "classes":
            wrong.append(
                'hold_out="classes" measures on classes that were never trained, which only the task embed can answer. '
                'Expected "pictures", or --task embed.'
            )
        return wrong
    wrong = []
    if not isinstance(head, EmbeddingHead):
        wrong.append("The task embed answers with points. Expected the head embedding, EmbeddingHead(), with it.")
    probing = [method.name for method in METHODS.values() if method.probes]
    if (plan.method in probing and not plan.phases) or any(phase.on == "features" for phase in plan.phases):
        steps = ", ".join(name for name in METHODS if name not in probing)
        wrong.append(
            "An embedding is learned in steps on pictures, and a phase that fits a head on features has no classes to "
            f"fit it for. Expected the method auto, {steps}, or phases on pictures."
        )
    idle = {"mixup": plan.mixup, "cutmix": plan.cutmix, "teacher": plan.teacher, "stage": plan.stage,
            "folds": data.folds, "by": data.by}  # fmt: skip
    if named := [name for name, value in idle.items() if value]:
        wrong.append(f"{', '.join(named)} have no meaning for the task embed, which answers no class. Leave them out.")
    if task.loss in PAIR_LOSSES and plan.sampler not in ("auto", "balanced") and "per-class" not in plan.sampler:
        wrong.append(
            f'loss="{task.loss}" compares pictures of one class within a step, and sampler="{plan.sampler}" may put '
            'none together. Expected sampler="m-per-class".'
        )
    if task.loss not in PAIR_LOSSES and any(word in plan.strategy for word in SHARDING):
        wrong.append(
            f'strategy="{plan.strategy}" holds a part of the weights on each device, and loss="{task.loss}" looks at '
            'points of the classes that are parts of the head. Expected strategy="ddp", or loss="sup-con".'
        )
    if not wrong:
        from .tasks.embed import metric_losses

        try:
            metric_losses()
        except ConfigError as error:
            wrong.append(str(error))
    return wrong


def _of_weights(recipe: Recipe) -> list[str]:
    model, plan, wrong = recipe.model, recipe.plan, []
    random = model.weights == "none" and model.module is None
    if plan.zero_gamma and not random:
        wrong.append(
            "zero_gamma starts fresh residual blocks at nothing, and would wipe out what loaded weights have "
            'learned. Expected weights="none" with it, or leave it out.'
        )
    if random and not plan.phases and plan.method in METHODS:
        try:
            METHODS[plan.method].check(pretrained=False)
        except ConfigError as error:
            wrong.append(str(error))
    return wrong
