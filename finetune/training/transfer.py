"""The phases of a run, one after the other, and the choice among what they offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ..data.cache import PictureCache
from ..data.examples import Examples
from ..data.loaders import make_loader
from ..errors import TrainingError
from ..features import Values, device_for, view_features
from ..models.network import Network
from ..tasks.base import HIGHER_IS_BETTER, Task
from ..types import Stage
from .offers import Candidate, Surroundings, add_row, write_state
from .plan import MOST_VIEWED, Phase, Plan
from .probe import HeadFit, Views, fit_head

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is learned from, and by what it is judged.

    Args:
        examples: All examples of the run.
        target: Their encoded targets.
        train: Rows to learn from.
        validation: Rows to choose by; none where a part has to do without.
        features: Features of all examples under the backbone as it was loaded, where a phase needs them.
    """

    examples: Examples
    target: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    features: Values | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out of the phases; the network holds the chosen weights.

    Args:
        chosen: Which weights they are.
        lengths: After how many epochs each phase that ran had its best weights.
        held_out: (n, K) logits of each training example from heads fitted without it, where the chosen weights are a
            head fitted on features.
        stopped: Whether the user asked to stop before the end.
    """

    chosen: Candidate
    lengths: Mapping[str, int]
    held_out: np.ndarray | None
    stopped: bool


def transfer(
    network: Network,
    task: Task,
    lesson: Lesson,
    plan: Plan,
    phases: tuple[Phase, ...],
    around: Surroundings,
    *,
    say: Say,
    like: Outcome | None = None,
    prefix: str = "",
) -> Outcome:
    """Runs the phases and loads the weights that validation prefers.

    A phase starts from the best weights of the one before. The result is the best of all phases, so that a phase
    that only harms changes nothing; without validation it is the last.

    Args:
        network: Trained in place.
        task: Loss and metrics.
        lesson: The examples.
        plan: `monitor` must name a metric of the task.
        phases: What happens, in order.
        around: Folder, devices, callbacks.
        say: Is told each phase's result in a line.
        like: An earlier run of these phases: each is as long as its best weights took there, up to the chosen ones.
        prefix: Before the names of checkpoints and table rows.
    """
    metric = _defined(task, task.check_monitor(plan.monitor), lesson)
    higher = HIGHER_IS_BETTER[metric]
    offers: list[Candidate] = []
    fitted: HeadFit | None = None
    stopped = False
    for index, phase in enumerate(phases):
        if phase.on == "features":
            fitted = _fit_on_features(network, task, lesson, plan, phase, around, say)
            offers.append(_offer(network, task, lesson, phase, metric, around, index, prefix, fitted))
        else:
            try:
                offer, stopped = _fit_on_pictures(
                    network, task, lesson, plan, phase, around, index=index, prefix=prefix,
                    head_decay=fitted.decay if fitted else None,
                    monitor=f"validation_{metric}" if len(lesson.validation) else None, higher=higher,
                    epochs=like.lengths[phase.name] if like is not None else None, say=say,
                )  # fmt: skip
            except KeyboardInterrupt:
                if not offers:
                    raise
                stopped = True
                break
            offers.append(offer)
        say(_line(offers[-1], metric))
        if stopped or (like is not None and like.chosen.phase == phase.name):
            break
    chosen = _best(offers, higher)
    load_offer(network, chosen)
    on_features = next(p for p in phases if p.name == chosen.phase).on == "features"
    lengths = {offer.phase: offer.epoch for offer in offers}
    return Outcome(
        chosen=chosen, lengths=lengths, held_out=fitted.held_out if fitted and on_features else None, stopped=stopped
    )


def _fit_on_features(
    network: Network, task: Task, lesson: Lesson, plan: Plan, phase: Phase, around: Surroundings, say: Say
) -> HeadFit:
    assert lesson.features is not None  # noqa: S101  # the run computes them when a phase asks for them
    groups = list(lesson.examples.table["group"].iloc[lesson.train])
    views = None
    if phase.views and len(lesson.train) <= MOST_VIEWED:
        say(f"  looking at {phase.views} {phase.augment} versions of each training picture")
        values = view_features(
            network, lesson.examples.take(lesson.train), policy=phase.augment, views=phase.views,
            engine=plan.augment_engine, seed=plan.seed, batch_size=plan.batch_size, workers=around.machine.workers,
            device=device_for(around.machine.accelerator),
        )  # fmt: skip
        views = Views(values, np.tile(np.arange(len(lesson.train)), phase.views))
    fitted = fit_head(
        network.head, lesson.features.at(lesson.train), lesson.target[lesson.train], task, groups=groups, views=views,
        seed=plan.seed,
    )  # fmt: skip
    how = f"chosen by {fitted.folds} folds of the training part" if fitted.folds else "by default: too few for folds"
    say(f"  head fitted to convergence, L2 penalty {fitted.penalty:.2g} {how}")
    return fitted


def _offer(
    network: Network, task: Task, lesson: Lesson, phase: Phase, metric: str, around: Surroundings, index: int,
    prefix: str, fitted: HeadFit,
) -> Candidate:  # fmt: skip
    """Keeps a fitted head as weights to choose from, and its row in the table."""
    score, row = None, {"phase": prefix + phase.name, "epoch": 0, "step": 0, "train_loss": fitted.loss}
    if len(lesson.validation):
        assert lesson.features is not None  # noqa: S101
        with torch.no_grad():
            logits = network.head.eval()(torch.from_numpy(lesson.features.at(lesson.validation).copy()))
        values = task.measure(task.answer(logits), lesson.target[lesson.validation])
        score = values[metric]
        row |= {f"validation_{name}": value for name, value in values.items()}
    state = around.folder / "checkpoints" / f"{prefix}{index}-{phase.name}.safetensors"
    write_state(state, {f"network.{name}": tensor for name, tensor in network.state_dict().items()})
    add_row(around.folder / "metrics.csv", row)
    return Candidate(phase=phase.name, epoch=0, score=score, state=state)


def _fit_on_pictures(
    network: Network, task: Task, lesson: Lesson, plan: Plan, phase: Phase, around: Surroundings, *,
    index: int, prefix: str, monitor: str | None, higher: bool, epochs: int | None, head_decay: float | None, say: Say,
) -> tuple[Candidate, bool]:  # fmt: skip
    # Lightning costs seconds to import, and a probe has no use for it.
    from .learner import Learner
    from .phases import fit_phase

    learner = Learner(network, task, phase, plan, seed=plan.seed + index, head_decay=head_decay)
    stages = tuple(Stage(s.name, tuple(f"network.{name}" for name in s.parameters)) for s in network.stages)

    def loader(rows: np.ndarray, train: bool, cache: PictureCache) -> Any:
        return make_loader(
            lesson.examples, lesson.target, network.spec, indices=rows, batch_size=plan.batch_size, train=train,
            policy=phase.augment, engine=plan.augment_engine, negate=plan.mirror_target == "negate",
            sampler=plan.sampler, seed=plan.seed + index, workers=around.machine.workers,
            kept=cache.kept(phase.augment if train else "none", rows, epochs=epochs or phase.epochs),
        )  # fmt: skip

    try:
        with PictureCache(plan.cache, lesson.examples, network.spec, say=say) as cache:
            data = {
                "train_dataloaders": loader(lesson.train, True, cache),
                "val_dataloaders": loader(lesson.validation, False, cache) if len(lesson.validation) else None,
            }
            return fit_phase(
                learner, stages, phase, plan, around, index=index, monitor=monitor, higher=higher, data=data,
                epochs=epochs, prefix=prefix,
            )  # fmt: skip
    finally:
        network.requires_grad_(True)


def _best(offers: list[Candidate], higher: bool) -> Candidate:
    """The earliest of the best; the last one where nothing was measured."""
    measured = [offer for offer in offers if offer.score is not None]
    if not measured:
        return offers[-1]
    return max(measured, key=lambda offer: (offer.score or 0.0) if higher else -(offer.score or 0.0))


def load_offer(network: Network, offer: Candidate) -> None:
    """Gives a network the weights that a phase offered."""
    state = load_file(offer.state)
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in state.items()})


def _defined(task: Task, metric: str, lesson: Lesson) -> str:
    """The metric, where it is defined on the validation part: hours of training must not end at one that is not.

    Raises:
        TrainingError: It is not.
    """
    n = len(lesson.validation)
    if n:
        same = np.full((n, task.labels.num_outputs), 1 / task.labels.num_outputs)
        if not np.isfinite(task.measure(same, lesson.target[lesson.validation])[metric]):
            others = ", ".join(name for name in task.metrics if name != metric)
            raise TrainingError(
                f"{metric} is undefined on the {n} validation examples and cannot choose among epochs: they hold one "
                f"value only. Expected both values, or another metric with --monitor: {others}."
            )
    return metric


def _line(offer: Candidate, metric: str) -> str:
    at = f"epoch {offer.epoch}" if offer.epoch else "the fitted head"
    score = f": validation {metric} {offer.score:.4f}" if offer.score is not None else ""
    return f'  phase "{offer.phase}" done, best is {at}{score}'


def whole(lesson: Lesson) -> Lesson:
    """The same lesson with validation given to training, for a final fit on everything."""
    everything = np.sort(np.concatenate([lesson.train, lesson.validation]))
    return replace(lesson, train=everything, validation=everything[:0])
