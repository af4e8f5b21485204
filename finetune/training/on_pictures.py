"""A phase of gradient steps on pictures: its loaders, its adapters, its rate, its length."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.cache import PictureCache
from ..data.loaders import make_loader
from ..models.network import Network
from ..tasks.base import Task
from ..types import ImageSpec, Stage
from .below import computed_once
from .checkpoints import Checkpoints
from .clock import every
from .freeze import learning_stages
from .ledger import keep_rows
from .machine import accumulation
from .offers import Candidate, Surroundings, write_state
from .phase import Phase
from .plan import Plan

if TYPE_CHECKING:
    from .resuming import Standing
    from .teaching import Teacher
    from .transfer import Lesson, Say


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one phase on pictures is given beside the network and the lesson.

    Args:
        index: Its number, from 0.
        prefix: Before the names of its checkpoints and table rows.
        monitor: The logged metric that chooses the epoch; None keeps the last.
        higher: Whether more of it is better.
        epochs: Stops after so many of its epochs; None after all.
        head_decay: Weight decay of the head, where an earlier phase has found the one that it needs.
        teacher: Whose answers count, where the phase asks for one.
        share: Of the time that is left for all phases, where the plan goes by the clock.
        last: Whether the weights of its last epoch are handed on, be they the best or not.
        safe: (n, K) logits of the validation examples, in the order of their rows, under a probe from which the phase
            must not lead away; None where it runs its course.
    """

    index: int
    prefix: str
    monitor: str | None
    higher: bool
    epochs: int | None
    head_decay: float | None
    teacher: Teacher | None
    share: float = 1.0
    last: bool = False
    safe: np.ndarray | None = None

    def key(self, phase: Phase) -> str:
        """What the files of the phase are called by."""
        return f"{self.prefix}{self.index}-{phase.name}"


def fit_on_pictures(
    network: Network, task: Task, lesson: Lesson, plan: Plan, phase: Phase, around: Surroundings, turn: Turn, say: Say
) -> tuple[list[Candidate], bool, Phase]:
    """Runs one phase; the network then holds its best weights.

    Returns:
        The best weights and behind them the next best, whether the user asked to stop, and the phase with the rate and
        the length that were measured.
    """
    # Lightning costs seconds to import, and a probe has no use for it.
    from ..models.adapters import add_lora, merge_lora
    from ..models.recompute import recomputed
    from .giving_up import GiveUp
    from .learner import Learner
    from .loggers import chosen
    from .memory import memory_told
    from .metered import Metered
    from .phases import fit_phase
    from .rollback import rolled_back

    # Whatever was asked of it before in evaluation mode: Lightning leaves modes as they are.
    network.train()
    added: tuple[str, ...] = ()
    if phase.learns == "adapters":
        added = add_lora(network, rank=plan.lora_rank, alpha=plan.lora_alpha, seed=plan.seed)
    try:
        learning = learning_stages(network, network.stages, phase.learns, added)
        size = (phase.size, phase.size) if phase.size else network.spec.size
        spec = replace(network.spec, size=size)
        with contextlib.ExitStack() as stack:
            stack.enter_context(memory_told(phase.name, plan.batch))
            stack.enter_context(recomputed(network, plan.grad_checkpointing))
            below = stack.enter_context(computed_once(network, lesson, learning, plan, phase, around, turn, say))
            if below is not None:
                train, validation = below.train, below.validation
            else:
                train, validation = (
                    stack.enter_context(_loader(lesson, seen, plan, phase, around, turn, say, train=part))
                    for part, seen in ((True, spec), (False, network.spec))
                )
            known = around.ledger.begun(turn.key(phase)) if around.ledger is not None else None
            phase, watchers = (known, []) if known is not None else _measured(
                network, task, lesson, plan, phase, around, turn, learning, len(train), len(validation or ()), say
            )  # fmt: skip
            place = standing_of(around, plan, turn.key(phase), say)
            ran, batches = in_epochs(phase, len(train), accumulate=accumulation(plan, around.machine.world_size))
            stages = [Stage(s.name, tuple(f"network.{name}" for name in s.parameters)) for s in learning]
            names = chosen(plan.log)[0]
            meters = [Metered(around.folder, turn.prefix + phase.name, names)] if names else []
            guards = [GiveUp(task, turn.safe)] if turn.safe is not None else []
            learner: Any = None

            def fit(phase: Phase, standing: Standing) -> tuple[list[Candidate], bool]:
                nonlocal learner
                learner = Learner(network, task, phase, plan, seed=plan.seed + turn.index, head_decay=turn.head_decay,
                                  learning=learning, teacher=turn.teacher,
                                  named=list(lesson.examples.table["id"]))  # fmt: skip
                learner.divided = below.divided if below is not None else None
                return fit_phase(
                    learner, stages, phase, plan, around, index=turn.index, monitor=turn.monitor, higher=turn.higher,
                    data={"train_dataloaders": train, "val_dataloaders": validation}, epochs=turn.epochs,
                    batches=batches, prefix=turn.prefix, watchers=[*watchers, *meters, *guards], standing=standing,
                    last=turn.last,
                )  # fmt: skip

            def note(lowered: Phase) -> None:
                nonlocal phase
                phase = replace(phase, lr=lowered.lr)
                if around.ledger is not None:
                    around.ledger.note_begun(turn.key(phase), phase)

            note(ran)
            if plan.on_nan == "rollback":
                offers, asked = rolled_back(fit, ran, place, network, say=say, note=note)
            else:
                offers, asked = fit(ran, place)
            lines = (*_afterwards(learner, watchers), *(guard.said() for guard in guards))
            for line in (*filter(None, lines), *(f"  {line}" for line in place.failed)):
                say(line)
            if not asked and around.ledger is None:
                place.checkpoints.clear()  # else when it is noted that the phase is done
    finally:
        network.requires_grad_(True)
        if added:
            merge_lora(network)
    if added:
        # Whoever reads these weights later has no adapters.
        write_state(offers[0].state, {f"network.{name}": t for name, t in network.state_dict().items()})
        offers = offers[:1]
    return offers, asked, phase


def _measured(
    network: Network, task: Task, lesson: Lesson, plan: Plan, phase: Phase, around: Surroundings, turn: Turn,
    learning: tuple[Stage, ...], batches: int, looks: int, say: Say,
) -> tuple[Phase, list[Any]]:  # fmt: skip
    """The phase with a rate where it was to be looked for, and steps where it goes by the clock, with what ends it."""
    if phase.lr != "auto" and around.budget is None:
        return phase, []
    from .budget import TRIED, StopInTime, measure_pace, steps_for
    from .finder import find_rate, said
    from .trial import Trial

    if around.budget is not None:
        around.budget.check(f'phase "{phase.name}"')
    size = (phase.size, phase.size) if phase.size else network.spec.size
    spec, world = replace(network.spec, size=size), around.machine.world_size
    accumulate = accumulation(plan, world)

    def trial() -> Trial:
        return Trial(network=network, task=task, phase=replace(phase, lr=1.0 if phase.lr == "auto" else phase.lr),
                     plan=plan, around=around, learning=learning, seed=plan.seed + turn.index,
                     head_decay=turn.head_decay, teacher=turn.teacher)  # fmt: skip

    # Another order than the phase's own, and nothing said of the cache twice.
    aside = replace(turn, index=turn.index + 1_000_000, epochs=None)

    def few(phase: Phase, *, train: bool, some: int | None = None) -> contextlib.AbstractContextManager[Any]:
        seen = spec if train else network.spec
        return _loader(lesson, seen, plan, phase, around, aside, _nothing, train=train, some=some)

    if phase.lr == "auto":
        steps = phase.steps or phase.epochs * math.ceil(batches / accumulate)
        plain = replace(trial(), plan=replace(plan, compile=False))
        with few(replace(phase, epochs=1), train=True) as loader:
            # One device takes the batches of all, so that a step sees as many pictures.
            found = find_rate(plain, loader, steps=steps, accumulate=accumulate * world)
        found.write(around.folder / f"rates-{phase.name}.csv")
        say(said(phase.name, found))
        phase = replace(phase, lr=found.chosen)
    if around.budget is None:
        return phase, []
    some = TRIED * plan.batch
    with few(phase, train=True, some=some) as loader, few(phase, train=False, some=some) as validation:
        left = around.budget.start + around.budget.seconds - time.monotonic()
        pace = measure_pace(trial(), loader, validation, batches=batches, looks=looks, left=left)
    # Validation is answered at four shares of the way from the probe, for its score, and for the report.
    passes = 1 + (5 if plan.settle == "interpolate" else 0) + plan.soup
    steps, until = steps_for(
        around.budget, pace, passes=passes, share=turn.share, accumulate=accumulate, phase=phase.name
    )
    if not phase.steps:
        say(f'  phase "{phase.name}": {steps} steps in the time; a step takes {accumulate * pace.warm:.2g} s here')
        phase = replace(phase, steps=steps)
    return phase, [StopInTime(until, pace.looks * pace.warm_look + pace.keep)]


def standing_of(around: Surroundings, plan: Plan, key: str, say: Say) -> Standing:
    """Where a phase writes down how far it is, and the checkpoint that it goes on from in a run that is resumed."""
    from .resuming import Standing

    checkpoints, table = Checkpoints.of(around.folder, key), around.folder / "metrics.csv"
    after = None
    if around.ledger is not None and around.ledger.resume:
        after = checkpoints.last(say)
        if after is not None:
            say(f'  going on at step {after.facts["step"]} of phase "{after.facts["phase"]}"')
    if after is None:
        checkpoints.clear()
    if around.ledger is not None:
        # What the phase has written since, it will write again.
        keep_rows(table, after.facts["rows"] if after is not None else around.ledger.rows)
    return Standing(
        checkpoints=checkpoints, every=every(plan.checkpoint_every), table=table, after=after,
        again=f"finetune fit --resume {around.ledger.folder}" if around.ledger is not None else "",
    )  # fmt: skip


def _afterwards(learner: Any, watchers: list[Any]) -> list[str]:
    """What did not go as planned in a phase, a line each."""
    lines = []
    if learner.not_compiled is not None:
        lines.append(f"  the steps were not compiled: {learner.not_compiled}")
    lines += [f"  the clock ended the phase after {one.after} steps" for one in watchers if one.after is not None]
    return lines


def _nothing(line: str) -> None:
    """Nobody is told."""


def in_epochs(phase: Phase, batches: int, *, accumulate: int) -> tuple[Phase, int | None]:
    """A phase whose length is said in steps, as epochs of equal length that end in a validation each.

    Args:
        phase: As planned.
        batches: How many there are in an epoch.
        accumulate: Batches a step.

    Returns:
        The phase with its number of epochs, and how many batches each of them has; None for all.
    """
    if not phase.steps:
        return phase, None
    # The last batches of an epoch make a step too, though they may be fewer.
    epochs = math.ceil(phase.steps / math.ceil(batches / accumulate))
    return replace(phase, epochs=epochs), min(batches, max(1, round(phase.steps / epochs)) * accumulate)


@contextlib.contextmanager
def _loader(
    lesson: Lesson, spec: ImageSpec, plan: Plan, phase: Phase, around: Surroundings, turn: Turn, say: Say, *,
    train: bool, some: int | None = None,
) -> Iterator[Any]:  # fmt: skip
    """Batches of the training or the validation part, with what keeps them decoded; None where the part is empty.

    `some` takes so many of its pictures alone, kept as all of them would be.
    """
    rows: np.ndarray = lesson.train if train else lesson.validation
    if not len(rows):
        yield None
        return
    with PictureCache(plan.cache, lesson.examples, spec, say=say) as cache:
        yield make_loader(
            lesson.examples, lesson.target, spec, indices=rows[:some], batch_size=plan.batch, train=train,
            policy=phase.augment, engine=plan.augment_engine, negate=plan.mirror_target == "negate",
            sampler=plan.sampler, seed=plan.seed + turn.index, workers=around.machine.workers,
            kept=cache.kept(phase.augment if train else "none", rows, epochs=turn.epochs or phase.epochs),
            skip=around.skip, loaders=2 * around.machine.world_size // around.machine.num_nodes, say=say,
        )  # fmt: skip
