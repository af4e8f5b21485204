"""Which rate each stage gets, and how rates run over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..models.stages import stages_of
from ..types import Stage
from .phase import Phase
from .plan import Plan

MILESTONES = (1 / 3, 2 / 3, 8 / 9)
"""Where "step" falls by default, as shares of a phase: 30, 60 and 80 of the 90 epochs of ImageNet."""


def param_groups(
    module: nn.Module,
    *,
    lr: float,
    layer_decay: float = 1.0,
    weight_decay: float = 0.0,
    stages: Sequence[Stage] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for any torch optimizer: lower rates further from the head, no decay on norms and biases.

    The head learns at `lr`, the stage below it at `lr * layer_decay`, the next at `lr * layer_decay ** 2` (the
    layer-wise decay of Howard and Ruder 2018, arXiv 1801.06146, and Clark et al. 2020, arXiv 2003.10555).

    >>> import finetune as ft, torch
    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> groups = ft.param_groups(network, lr=0.1, layer_decay=0.5, weight_decay=0.01)
    >>> [(group["name"], group["lr"], group["weight_decay"]) for group in groups]
    [('2', 0.1, 0.01), ('2 (no decay)', 0.1, 0.0), ('0', 0.05, 0.01), ('0 (no decay)', 0.05, 0.0)]
    >>> optimizer = torch.optim.SGD(groups, lr=0.1)

    Args:
        module: The network. Parameters that do not require a gradient are left out.
        lr: Rate of the last stage, above 0.
        layer_decay: Factor from a stage to the one below, in (0, 1].
        weight_decay: For weights of two dimensions and more; biases and normalisation get 0.
        stages: The stages from input to head; by default those of the module's own structure.

    Returns:
        Groups with the keys `params`, `lr`, `weight_decay` and `name`.
    """
    stages = module_stages(module) if stages is None else stages
    parameters = dict(module.named_parameters())
    groups = []
    for above, stage in enumerate(reversed(stages)):
        learning = [parameters[name] for name in stage.parameters if parameters[name].requires_grad]
        for suffix, decay, members in (
            ("", weight_decay, [p for p in learning if p.ndim > 1]),
            (" (no decay)", 0.0, [p for p in learning if p.ndim <= 1]),
        ):
            if members:
                rate = lr * layer_decay**above
                groups.append({"params": members, "lr": rate, "weight_decay": decay, "name": stage.name + suffix})
    return groups


def module_stages(module: nn.Module) -> tuple[Stage, ...]:
    """The stages of any module from its own structure; the last one counts as its head."""
    stages = stages_of(module, nn.Identity())[:-1]
    return tuple(Stage(s.name, tuple(name.removeprefix("body.") for name in s.parameters)) for s in stages)


def phase_steps(trainer: Any, phase: Phase) -> int:
    """Optimizer steps of a whole phase, of which a trainer may run only the first part.

    Args:
        trainer: Lightning's, as it fits the phase.
        phase: For its length.
    """
    steps = int(trainer.estimated_stepping_batches)
    runs = trainer.max_epochs
    return steps if runs in (None, -1) else round(steps * phase.epochs / runs)


def rise(step: int, *, over: int, start: float = 0.0) -> float:
    """The share of its rate that a group gets at a step of the warm-up, linear a step at a time.

    Args:
        step: From 0, below `over`.
        over: How many steps the rise takes.
        start: The share to begin with (gradual warm-up: Goyal et al. 2017, arXiv 1706.02677); with 0 the first step is
            one of the rise already, since a step at rate 0 would be none.
    """
    return start + (1 - start) * step / over if start else (step + 1) / (over + 1)


def cosine(step: int, *, steps: int, warmup: int, start: float = 0.0) -> float:
    """The share of its rate that a group gets at a step: a linear rise, then half a cosine down to 0.

    Loshchilov and Hutter 2017 (arXiv 1608.03983), with the warm-up a step and not an epoch at a time.

    Args:
        step: From 0.
        steps: How many steps there are.
        warmup: How many of them the rise takes.
        start: The share that the rise begins with.
    """
    if step < warmup:
        return rise(step, over=warmup, start=start)
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def one_cycle(step: int, *, steps: int, rise: float = 0.3) -> float:
    """The share of its rate that a group gets at a step: from a 25th up over 30 % of the steps, then down to 0.

    Smith and Topin 2017 (arXiv 1708.07120), with cosines for lines as fastai has it.

    Args:
        step: From 0.
        steps: How many steps there are.
        rise: The share of them that the rise takes.
    """
    top = max(1.0, rise * steps)
    if step < top:
        return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * step / top))
    done = (step - top) / max(1.0, steps - top)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def schedule(
    name: str, *, steps: int, warmup: int, start: float = 0.0, falls: Sequence[int] = (), factor: float = 0.1
) -> Callable[[int], float]:
    """From a step to the share of its rate that a group gets there.

    Args:
        name: "cosine", "one-cycle", "step" or "constant".
        steps: Of the whole phase.
        warmup: In how many of them the rate rises; of all but "one-cycle".
        start: The share that the rise begins with.
        falls: Steps from which on "step" has fallen once more.
        factor: To what share of itself it falls each time.
    """
    if name == "one-cycle":
        return lambda step: one_cycle(step, steps=steps)
    if name == "cosine":
        return lambda step: cosine(step, steps=steps, warmup=warmup, start=start)
    edges = falls if name == "step" else ()

    def share(step: int) -> float:
        risen = rise(step, over=warmup, start=start) if step < warmup else 1.0
        return risen * factor ** sum(step >= edge for edge in edges)

    return share


def course(phase: Phase, plan: Plan, *, steps: int, scale: float = 1.0) -> Callable[[int], float]:
    """From a step of a phase to the share of its (scaled) rate that a group gets there, as the plan has it.

    Args:
        phase: Its schedule and its epochs.
        plan: Warm-up and milestones, in epochs of the phase.
        steps: Of the whole phase.
        scale: What rates were multiplied by, from `scaling`; a rise begins where they would be without.
    """
    epoch = steps / phase.epochs
    warmup = plan.warmup * steps if plan.warmup_epochs is None else plan.warmup_epochs * epoch
    milestones = plan.milestones or tuple(share * phase.epochs for share in MILESTONES)
    return schedule(
        phase.schedule, steps=steps, warmup=round(warmup), start=1 / scale if scale > 1 else 0.0,
        falls=[round(milestone * epoch) for milestone in milestones], factor=plan.step_factor,
    )  # fmt: skip


HEAVY, LIGHT = 0.95, 0.85  # momentum where the rate is 0, and at its height


class OneCycle(LambdaLR):
    """Rates as `one_cycle` has them, and momentum the other way round: SGD's own, or the first of AdamW's betas."""

    def step(self, epoch: int | None = None) -> None:
        """Moves on by one step of the optimizer."""
        super().step(epoch)
        share = self.lr_lambdas[0](self.last_epoch)
        momentum = HEAVY - share * (HEAVY - LIGHT)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum
