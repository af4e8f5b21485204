"""What cannot be right about a plan, all of it at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..data.policies import ENGINES
from ..data.policies import POLICIES as VARIATIONS
from ..data.sampling import unfit_batch, unknown_sampler
from ..errors import ConfigError, nearest
from .clock import every, seconds
from .methods import METHODS
from .phase import OPTIMIZERS, SCHEDULES

if TYPE_CHECKING:
    from .plan import Plan

MOVES_ALL = ("auto", "full", "head-then-full", "lp-ft", "l2-sp", "distill")
"""Methods with a phase that moves everything, and so can be told to begin further up."""


def faults(plan: Plan) -> list[str]:
    """A line for each thing that is wrong, in the order of the plan's fields."""
    return [*_names(plan), *_numbers(plan), *_lengths(plan), *_rates(plan), *_method(plan), *_variation(plan),
            *_phases(plan), *_devices(plan)]  # fmt: skip


def _names(plan: Plan) -> list[str]:
    from .plan import CACHES, LOGS, ON_NAN, POLICIES, PRECISIONS, SETTLES

    known = {
        "method": ("auto", *METHODS), "augment": POLICIES, "augment_engine": ENGINES, "precision": PRECISIONS,
        "cache": CACHES, "schedule": SCHEDULES, "settle": SETTLES,
        "optimizer": ("auto", *OPTIMIZERS), "norms": ("auto", "frozen", "train"),
        "mirror_target": ("keep", "negate"), "on_nan": ON_NAN,
    }  # fmt: skip
    wrong = [
        f'log takes no "{name}". Expected some of {", ".join(LOGS)}.' + nearest(str(name), LOGS)
        for name in plan.log
        if name not in LOGS
    ]
    for name, names in known.items():
        value = getattr(plan, name)
        if value not in names:
            wrong.append(f'Unknown {name} "{value}". Expected one of {", ".join(names)}.' + nearest(str(value), names))
    unfit = unfit_batch(plan.sampler, plan.batch_size) if isinstance(plan.batch_size, int) else None
    return [*wrong, *filter(None, [unknown_sampler(plan.sampler) or unfit])]


def _numbers(plan: Plan) -> list[str]:
    wrong = []
    least = {"epochs": 1, "steps": 1, "head_epochs": 1, "batch_size": 1, "accumulate": 1, "effective_batch": 1,
             "reference_batch": 1, "warmup_epochs": 0, "num_nodes": 1, "lora_rank": 1, "patience": 0, "soup": 0,
             "views": 0, "workers": 0, "weight_decay": 0,
             "gradient_clip": 0, "seed": 0}  # fmt: skip
    for name, bound in least.items():
        value = getattr(plan, name)
        if value is not None and value != "auto" and (isinstance(value, str) or not value >= bound):
            wrong.append(f"{name} must be {bound} or more. Got {value}.")
    for name in ("lr", "lora_alpha", "temperature"):
        value = getattr(plan, name)
        if value is not None and value != "auto" and (isinstance(value, str) or not 0 < value < float("inf")):
            wrong.append(f"{name} must be above 0. Got {value}.")
    if not 0 < plan.layer_decay <= 1:
        wrong.append(f"layer_decay must be above 0 and at most 1. Got {plan.layer_decay}.")
    if not 0 <= plan.warmup < 1:
        wrong.append(f"warmup is a share of the steps, from 0 to below 1. Got {plan.warmup}.")
    if not 0 < plan.teacher_weight <= 1:
        wrong.append(f"teacher_weight is a share of the loss, above 0 and at most 1. Got {plan.teacher_weight}.")
    if not 0 <= (plan.ema or 0.0) <= 1:
        wrong.append(f"ema is a share of the steps of a phase, from 0 to 1. Got {plan.ema}.")
    for name in ("mixup", "cutmix"):
        if not 0 <= (getattr(plan, name) or 0.0) < float("inf"):
            wrong.append(f"{name} is 0 for none, or the alpha of a Beta distribution. Got {getattr(plan, name)}.")
    if any(size < 1 for size in plan.sizes):
        wrong.append(f"sizes are sides in pixels, 1 or more. Got {', '.join(map(str, plan.sizes))}.")
    return wrong


def _lengths(plan: Plan) -> list[str]:
    wrong = []
    said = [name for name in ("epochs", "steps", "time") if getattr(plan, name) is not None]
    if len(said) > 1:
        wrong.append(f"{' and '.join(said)} each say how long to train. Expected one of them.")
    if plan.time is not None:
        try:
            seconds(plan.time)
        except ConfigError as error:
            wrong.append(str(error))
    for name, read in (("checkpoint_every", every), ("rank_timeout", seconds)):
        try:
            read(getattr(plan, name))
        except ConfigError as error:
            wrong.append(f"{name}: {error}")
    if plan.effective_batch is not None:
        if plan.accumulate > 1:
            wrong.append("accumulate follows from effective_batch. Expected one of them.")
        if isinstance(plan.batch_size, int) and plan.effective_batch % plan.batch_size:
            wrong.append(
                f"effective_batch must be a multiple of batch_size, {plan.batch_size}. Got {plan.effective_batch}."
            )
    return wrong


def _rates(plan: Plan) -> list[str]:
    """Rates that scale, and how they run."""
    wrong = []
    if plan.optimizer in ("lars", "lamb") and not isinstance(plan.lr, int | float) and not plan.phases:
        wrong.append(
            f'The optimizer "{plan.optimizer}" has no rate that suits every network and batch. Expected lr to be a '
            "number."
        )
    if plan.scale_lr and plan.lr == "auto":
        wrong.append(
            'lr "auto" looks for the rate at the batch that there is, which scale_lr would scale once more. '
            "Expected one of them."
        )
    rising = all(low < high for low, high in zip((0.0, *plan.milestones), plan.milestones, strict=False))
    if not rising:
        wrong.append(f"milestones are epochs after which the rate falls, from 0 upwards. Got {plan.milestones}.")
    if plan.milestones and plan.schedule != "step" and all(phase.schedule != "step" for phase in plan.phases):
        wrong.append(f'milestones are for schedule "step", and it is "{plan.schedule}". Leave one of them out.')
    if not 0 < plan.step_factor < 1:
        wrong.append(f"step_factor must be above 0 and below 1. Got {plan.step_factor}.")
    if plan.warmup_epochs is not None and plan.schedule == "one-cycle":
        wrong.append('The schedule "one-cycle" has a rise of its own. Leave warmup_epochs out.')
    if plan.warmup_epochs is not None and plan.milestones and rising and plan.warmup_epochs > plan.milestones[0]:
        wrong.append(
            f"The rise must be over before the first fall: warmup_epochs is {plan.warmup_epochs:g}, milestones begin "
            f"with {plan.milestones[0]:g}."
        )
    return wrong


def _method(plan: Plan) -> list[str]:
    """Options of one method under another."""
    if plan.phases:
        return []
    wrong = []
    if plan.method == "surgical" and plan.stage is None:
        wrong.append('The method "surgical" trains one stage. Expected its name as stage; a wrong one lists them all.')
    if plan.method == "distill" and plan.teacher is None:
        wrong.append('The method "distill" learns from a teacher. Expected the folder of an earlier run as teacher.')
    for name, methods in (
        ("stage", ("surgical",)), ("teacher", ("distill",)),
        ("sizes", MOVES_ALL), ("freeze_to", MOVES_ALL),
    ):  # fmt: skip
        if getattr(plan, name) and plan.method in METHODS and plan.method not in methods:
            wrong.append(
                f'{name} is for {" and ".join(m for m in methods if m != "auto")}; method "{plan.method}" does not use '
                "it. Leave it out."
            )
    if plan.views and plan.method in METHODS and not METHODS[plan.method].probes:
        wrong.append(
            f'views are for a head that is fitted on features; method "{plan.method}" fits none. Leave it out.'
        )
    return wrong


def _variation(plan: Plan) -> list[str]:
    wrong = []
    varied = VARIATIONS.get(plan.augment)
    if plan.mirror_target == "negate" and varied is not None and "mirror" in varied.never:
        wrong.append(
            f'mirror_target "negate" is for pictures that are mirrored, which the augment "{plan.augment}" never does. '
            "Leave one of them out."
        )
    idle = idle_in_a_probe(plan)
    if idle and not plan.moves:
        wrong.append(
            f"{', '.join(idle)} would do nothing: a probe fits its head on the features of all pictures at once. "
            "Expected a method that takes steps on pictures; against rare classes, class_weight or loss."
        )
    return wrong


def idle_in_a_probe(plan: Plan) -> list[str]:
    """The options that say something of steps on pictures, of which a probe takes none."""
    words = ("sampler", "mixup", "cutmix", "ema", "sizes", "soup", "time", "steps", "compile", "freeze_to")
    return [name for name in words if getattr(plan, name) not in ("auto", "shuffle", 0, None, (), False)]


def _phases(plan: Plan) -> list[str]:
    wrong = []
    if plan.mirror_target == "negate" and any(phase.views for phase in plan.phases):
        wrong.append(
            'Views of a phase on features are not negated with their pictures, as mirror_target="negate" asks. '
            "Expected views=0 in the phases."
        )
    names = [phase.name for phase in plan.phases]
    if len(set(names)) < len(names):
        wrong.append(f"Phases need names of their own. Got {', '.join(names)}.")
    if any(phase.on == "features" for phase in plan.phases[1:]):
        wrong.append("A phase on features must be the first: features are those of the backbone as it is loaded.")
    if any(phase.teacher for phase in plan.phases) and plan.teacher is None:
        wrong.append("A phase with a teacher needs one. Expected the folder of an earlier run as teacher.")
    return wrong


def _devices(plan: Plan) -> list[str]:
    if isinstance(plan.devices, int) and plan.devices < 1:
        return [f'devices must be 1 or more, or "auto". Got {plan.devices}.']
    if isinstance(plan.devices, str) and not re.fullmatch(r"auto|\d+(,\d+)*,?", plan.devices):
        return [f'devices must be a number, numbers such as 0,1, or "auto". Got {plan.devices!r}.']
    return []
