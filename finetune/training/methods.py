"""The methods by name: each is a tuple of phases, and says where it is from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, nearest
from .phase import Phase

if TYPE_CHECKING:
    from .plan import Plan

# Rates of the head by optimizer: (adamw, sgd).
FRESH_RATE = (1e-3, 1e-2)
TUNE_RATE = (1e-4, 1e-2)
# What is small, new and starts at 0 moves faster than pretrained weights may.
SLIGHT_RATE = (1e-3, 3e-2)

EVERYTHING = "none"
"""What `Plan.freeze_to` says where nothing is to be frozen."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to fine-tune, as phases.

    Args:
        name: For `--method` and `Plan.method`.
        summary: What it does, in a sentence.
        source: The paper it is from.
        make: From a plan without open choices, whether the backbone is pretrained, and the names of its stages from
            input to head, to phases.
        needs_pretrained: Whether it makes no sense of random weights.
        probes: Whether its first phase fits the head on features.
    """

    name: str
    summary: str
    source: str
    make: Callable[[Plan, bool, Sequence[str]], tuple[Phase, ...]]
    needs_pretrained: bool = False
    probes: bool = True

    def phases(self, plan: Plan, *, pretrained: bool = True, stages: Sequence[str] = ()) -> tuple[Phase, ...]:
        """The phases of this method, which may be changed and given back as `Plan(phases=...)`.

        Args:
            plan: Lengths, rates and the like.
            pretrained: Whether the backbone's weights are worth keeping.
            stages: The names of its stages from input to head, as `Network.stages` has them; "gradual" and "surgical"
                need them.

        Raises:
            ConfigError: Random weights for a method that keeps to pretrained ones, or a stage that does not exist.
        """
        self.check(pretrained=pretrained)
        return _above(self.make(plan, pretrained, stages), plan.freeze_to, stages)

    def check(self, *, pretrained: bool) -> None:
        """Refuses random weights for a method that keeps to pretrained ones.

        Raises:
            ConfigError: It does.
        """
        if self.needs_pretrained and not pretrained:
            raise ConfigError(
                f'The method "{self.name}" keeps to pretrained weights, and these are random (weights="none"). '
                'Expected pretrained weights, or method "full".'
            )


def _probe(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    views = plan.views or 0
    if plan.augment == "none" or plan.mirror_target == "negate":
        views = 0  # they would all be the picture itself; or targets would have to turn with them
    # Views are mild whatever varies the pictures of later phases, unless somebody names the policy.
    policy = "light" if plan.augment == "auto" else plan.augment
    return (Phase(name="probe", learns="head", on="features", views=views, augment=policy if views else "none"),)


def _from_nothing(plan: Plan, pretrained: bool) -> Phase:
    """Everything learns, under a head that knows nothing yet."""
    optimizer = "adamw" if plan.optimizer == "auto" else plan.optimizer
    return Phase(
        name="fine-tune" if pretrained else "train",
        epochs=plan.epochs or 10,
        steps=plan.steps or 0,
        optimizer=optimizer,
        lr=plan.lr or FRESH_RATE["sgd" in optimizer],
        layer_decay=plan.layer_decay if pretrained else 1.0,
        schedule=plan.schedule,
        norms=_norms(plan, pretrained),
        augment="light" if plan.augment == "auto" else plan.augment,
        ema=plan.ema or 0.0,
    )


def _norms(plan: Plan, pretrained: bool) -> Any:
    return ("frozen" if pretrained else "train") if plan.norms == "auto" else plan.norms


def _from_fitted(plan: Plan, pretrained: bool, rates: tuple[float, float] = TUNE_RATE) -> Phase:
    """What learns has a fitted head already, and so starts from a good place, if its backbone is any good."""
    usual: Any = "sgd" if pretrained else "adamw"
    optimizer = usual if plan.optimizer == "auto" else plan.optimizer
    return replace(
        _from_nothing(plan, pretrained), optimizer=optimizer,
        lr=plan.lr or (rates if pretrained else FRESH_RATE)["sgd" in optimizer],
        ema=0.5 if plan.ema is None else plan.ema,
        augment="standard" if plan.augment == "auto" else plan.augment,
    )  # fmt: skip


def _full(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    return _grown(plan, _from_nothing(plan, pretrained))


def _head_then_full(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    head = replace(_from_nothing(plan, pretrained), name="head", learns="head", epochs=plan.head_epochs, steps=0)
    return (head, *_grown(plan, _from_fitted(plan, pretrained)))


def _lp_ft(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    return (*_probe(plan, pretrained, stages), *_grown(plan, _from_fitted(plan, pretrained)))


def _l2_sp(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    tune = replace(_from_fitted(plan, pretrained), decay_to="start")
    return (*_probe(plan, pretrained, stages), *_grown(plan, tune))


def _gradual(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    bodies = list(stages[:-1])
    if not bodies:
        raise ConfigError('The method "gradual" needs the names of the stages, from input to head. Got none.')
    tune = _from_fitted(plan, pretrained)
    epochs = max(1, round(tune.epochs / len(bodies)))
    steps = round(tune.steps / len(bodies))
    phases = [
        replace(tune, name=f"from {bodies[first]}", learns=(*bodies[first:], stages[-1]), epochs=epochs, steps=steps)
        for first in reversed(range(len(bodies)))
    ]
    return (*_probe(plan, pretrained, stages), *phases)


def _surgical(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    stage = plan.stage or ""
    if stage not in stages[:-1]:
        raise ConfigError(
            f'The method "surgical" trains one stage and the head. Expected stage to be one of '
            f"{', '.join(stages[:-1])}. Got {stage or 'none'}.{nearest(stage, stages[:-1])}"
        )
    tune = replace(_from_fitted(plan, pretrained), name=stage, learns=(stage, stages[-1]), layer_decay=1.0)
    return (*_probe(plan, pretrained, stages), tune)


def _lora(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    adapt = replace(_from_fitted(plan, pretrained, SLIGHT_RATE), name="adapters", learns="adapters", layer_decay=1.0)
    if plan.optimizer == "auto":
        adapt = replace(adapt, optimizer="adamw", lr=plan.lr or SLIGHT_RATE[0])
    return (*_probe(plan, pretrained, stages), adapt)


def _bias_norm(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    tune = _from_fitted(plan, pretrained, SLIGHT_RATE)
    return (*_probe(plan, pretrained, stages), replace(tune, name="bias-norm", learns="bias-norm", layer_decay=1.0))


def _distill(plan: Plan, pretrained: bool, stages: Sequence[str]) -> tuple[Phase, ...]:
    tune = replace(_from_fitted(plan, pretrained), name="distill", teacher=plan.teacher_weight)
    return (*_probe(plan, pretrained, stages), *_grown(plan, tune))


def _grown(plan: Plan, phase: Phase) -> tuple[Phase, ...]:
    """The phase in pieces of growing pictures, where the plan names sizes; the last piece is at the network's own."""
    if not plan.sizes:
        return (phase,)
    share = len(plan.sizes) + 1
    epochs, steps = max(1, round(phase.epochs / share)), round(phase.steps / share)
    small = [
        replace(phase, name=f"{phase.name} at {size}", size=size, epochs=epochs, steps=steps) for size in plan.sizes
    ]
    return (*small, replace(phase, epochs=max(1, phase.epochs - epochs * len(small)), steps=steps))


def _above(phases: tuple[Phase, ...], stage: str | None, stages: Sequence[str]) -> tuple[Phase, ...]:
    """Phases of which those that would move everything leave all below a stage as it is."""
    if stage is None or stage == EVERYTHING:
        return phases
    if stage not in stages[:-1]:
        raise ConfigError(
            f"freeze_to is the lowest stage that moves. Expected one of {', '.join(stages[:-1])}, or {EVERYTHING}. "
            f"Got {stage}.{nearest(stage, stages[:-1])}"
        )
    upper = tuple(stages[stages.index(stage) :])
    if len(upper) == len(stages):
        return phases
    return tuple(replace(phase, learns=upper) if phase.learns == "all" else phase for phase in phases)


_ALL = (
    Method(name="probe", make=_probe, source="Alain and Bengio 2016, arXiv 1610.01644",
           summary="computes the frozen backbone's features once and fits the head to convergence"),
    Method(name="full", make=_full, probes=False, source="Girshick et al. 2014, arXiv 1311.2524",
           summary="trains everything from the pretrained weights"),
    Method(name="head-then-full", make=_head_then_full, probes=False, source="Howard and Gugger 2020, arXiv 2002.04688",
           summary="trains the head for some epochs, then everything"),
    Method(name="lp-ft", make=_lp_ft, source="Kumar et al. 2022, arXiv 2202.10054",
           summary="the probe first, then everything from there"),
    Method(name="gradual", make=_gradual, source="Howard and Ruder 2018, arXiv 1801.06146",
           summary="the probe, then stage by stage from the top, one phase each"),
    Method(name="lora", make=_lora, needs_pretrained=True, source="Hu et al. 2021, arXiv 2106.09685",
           summary="the probe, then matrices of low rank beside the frozen weights, merged at the end"),
    Method(name="l2-sp", make=_l2_sp, needs_pretrained=True, source="Li et al. 2018, arXiv 1802.01483",
           summary="the probe, then everything, decaying towards the pretrained weights"),
    Method(name="surgical", make=_surgical, needs_pretrained=True, source="Lee et al. 2023, arXiv 2210.11466",
           summary="the probe, then one named stage and the head"),
    Method(name="bias-norm", make=_bias_norm, needs_pretrained=True,
           source="Ben Zaken et al. 2022, arXiv 2106.10199; Frankle et al. 2021, arXiv 2003.00152",
           summary="the probe, then biases, scales and shifts alone"),
    Method(name="distill", make=_distill, source="Hinton et al. 2015, arXiv 1503.02531; Beyer et al. 2022, "
           "arXiv 2106.05237", summary="the probe, then everything, towards the answers of a larger fine-tuned run"),
)  # fmt: skip

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
"""Every method by its name."""


def list_methods() -> dict[str, Method]:
    """Every method by its name: what it does, the paper it is from, and its phases as values.

    >>> import finetune as ft
    >>> phases = ft.list_methods()["probe"].phases(ft.Plan())
    >>> [phase.name for phase in phases]
    ['probe']
    """
    return dict(METHODS)
