"""The plan in words, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.nn.modules.batchnorm import _NormBase

from ..data.policies import policy
from ..models.network import Network
from ..types import Stage
from .below import views_of
from .freeze import learning_stages
from .machine import Machine, accumulation, batches_an_epoch, scaling
from .phase import Phase
from .plan import MOST_VIEWED, Plan
from .rates import MILESTONES


def plan_rows(
    network: Network, phases: Sequence[Phase], plan: Plan, machine: Machine, examples: int, *, loss: str = ""
) -> list[dict[str, str]]:
    """One row a phase: what learns, how fast, for how long, and what normalisation does.

    Args:
        network: For its stages and sizes.
        phases: What will happen.
        plan: Batch and accumulation.
        machine: How many devices share a step.
        examples: How many pictures there are to train on.
        loss: In words; empty for the plain one, of which nothing is said.
    """
    return [_row(network, phase, plan, machine, examples) | _chosen(phase, plan, loss) for phase in phases]


def _chosen(phase: Phase, plan: Plan, loss: str) -> dict[str, str]:
    """What is said of loss, sampler and mixing, where they are not the usual ones."""
    mixing = [f"{name} {alpha:g}" for name, alpha in (("mixup", plan.mixup), ("cutmix", plan.cutmix)) if alpha]
    on_pictures = phase.on == "pictures"
    row = {"loss": loss} if loss else {}
    if plan.sampler not in ("auto", "shuffle"):
        row["sampler"] = plan.sampler if on_pictures else "each picture once"
    if mixing:
        row["mixing"] = (" or ".join(mixing) + (", by chance a batch" if mixing[1:] else "")) if on_pictures else "none"
    return row


def _row(network: Network, phase: Phase, plan: Plan, machine: Machine, examples: int) -> dict[str, str]:
    learning = learning_stages(network, network.stages, phase.learns)
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    trainable = sum(sizes[name] for stage in learning for name in stage.parameters)
    adapters = f" and adapters of rank {plan.lora_rank}, beside all" if phase.learns == "adapters" else ""
    layers = [f"{name}.weight" for name, m in network.named_modules() if isinstance(m, _NormBase)]
    norms, moves = len(layers), {name for stage in learning for name in stage.parameters}
    moving = 0 if phase.norms == "frozen" else sum(name in moves for name in layers)
    if phase.on == "features":
        length, rate, batch = "to convergence", "L-BFGS, L2 penalty by cross-validation", str(examples)
    else:
        added, size = accumulation(plan, machine.world_size), plan.batch
        batch = str(size * added * machine.world_size)
        length, rate = _length(phase, plan, machine, examples), _rate(phase, plan, network, learning, machine)
    return {
        "phase": phase.name,
        "learns": _stages(learning, network),
        "trainable": f"{trainable:,}{adapters} of {sum(sizes.values()):,}",
        "length": length,
        "rate": rate,
        "batch": batch,
        "norms": _norms(norms, moving)
        + (f", each device's by its own {plan.batch} pictures" if moving and machine.world_size > 1 else ""),
        "augment": _augment(phase, plan, examples),
    }


def _length(phase: Phase, plan: Plan, machine: Machine, examples: int) -> str:
    """Epochs and steps of a phase on pictures."""
    if plan.time is not None:
        return f"what {plan.time} allow, measured before the first step"
    if phase.steps:
        return f"{phase.steps} steps"
    batches = batches_an_epoch(plan, machine.world_size, examples)
    steps = math.ceil(batches / accumulation(plan, machine.world_size)) * phase.epochs
    until = f", fewer where {plan.patience} in a row are no better" if plan.patience else ""
    return f"{phase.epochs} epochs, {steps} steps{until}"


def _rate(phase: Phase, plan: Plan, network: Network, learning: Sequence[Stage], machine: Machine) -> str:
    """Rate, schedule and what is done to the weights beside the gradient."""
    if phase.lr == "auto":
        rate = f"{phase.optimizer}, looked for by a range test"
    else:
        scale = scaling(plan, machine.world_size)
        height = scale * phase.lr
        rate = f"{phase.optimizer}, {height:.2g} on the head"
        if len(learning) > 1 and phase.layer_decay < 1:
            lowest, slowest = _rates(learning, phase, height)[-1]
            rate += f" down to {slowest:.2g} on {lowest}"
        pictures = scale * plan.reference_batch
        rate += (
            f", scaled with the batch: {phase.lr:.2g} times {pictures:.0f}/{plan.reference_batch}"
            if plan.scale_lr
            else ", not scaled with the batch"
        )
    rate += f"; {phase.schedule}{_run(phase, plan)}"
    if phase.decay_to == "start":
        rate += "; weights decay towards those at the start"
    if phase.teacher:
        rate += f"; {phase.teacher:.0%} of the loss is the teacher's"
    if phase.ema:
        rate += f"; weights averaged over {phase.ema:.0%} of the steps"
    return rate


def _run(phase: Phase, plan: Plan) -> str:
    """How the rate rises, and where it falls."""
    if phase.schedule == "one-cycle":
        return ""
    falls = ""
    if phase.schedule == "step":
        milestones = plan.milestones or [share * phase.epochs for share in MILESTONES]
        falls = f" times {plan.step_factor:g} after epochs " + ", ".join(f"{milestone:.3g}" for milestone in milestones)
    if plan.warmup_epochs is None:
        return f"{falls}, {plan.warmup:.0%} warm-up"
    return f"{falls}, {plan.warmup_epochs:g} epochs warm-up" + (" from the rate unscaled" if plan.scale_lr else "")


def _augment(phase: Phase, plan: Plan, examples: int) -> str:
    if phase.on == "features":
        views = phase.views and examples <= MOST_VIEWED
        versions = f", and of {phase.views} {phase.augment} versions of each picture" if views else ""
        return f"features are computed once{versions}" if versions else "none (features are computed once)"
    mirrored = plan.mirror_target == "negate" and "mirror" in policy(phase.augment).does
    size = f", at {phase.size} pixels" if phase.size else ""
    if rounds := views_of(plan, phase):
        versions = f"{rounds} {phase.augment} versions" if phase.augment != "none" else "none"
        return f"{versions} (what is below the stages that learn is computed once, where it fits into the cache)"
    return phase.augment + size + (", and a mirrored target is negated" if mirrored else "")


def _stages(learning: Sequence[Stage], network: Network) -> str:
    names, every = [stage.name for stage in learning], [stage.name for stage in network.stages]
    if len(names) == len(every):
        return f"all {len(names)} stages"
    if len(names) > 3 and names == every[-len(names) :]:
        return f"{names[0]} to {names[-1]}, {len(names)} of {len(every)} stages"
    return ", ".join(names)


def _norms(norms: int, moving: int) -> str:
    if norms == 0:
        return "none with running statistics"
    return (
        f"{norms} frozen"
        if moving == 0
        else f"{moving} learn, {norms - moving} frozen"
        if moving < norms
        else f"{norms} learn"
    )


def groups_line(network: Network, phase: Phase, scale: float = 1.0) -> str:
    """The rate of every stage of a phase, from the head down, all multiplied by `scale`."""
    learning = learning_stages(network, network.stages, phase.learns)
    rates = _rates(learning, phase, 1.0 if phase.lr == "auto" else scale * phase.lr)
    of = "rates as shares of the head's" if phase.lr == "auto" else "rates"
    return f'  {of} in "{phase.name}": ' + ", ".join(f"{name} {rate:.2g}" for name, rate in rates)


def _rates(learning: Sequence[Stage], phase: Phase, height: float) -> list[tuple[str, float]]:
    """Of every stage that learns, from the head down, its rate, as `param_groups` counts it: among those that learn."""
    return [(stage.name, height * phase.layer_decay**above) for above, stage in enumerate(reversed(learning))]
