"""The phases of a run, one after the other, and where between their weights the run comes to rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..data.examples import Examples
from ..errors import TrainingError
from ..features import Values, device_for, run_over
from ..models.network import Network
from ..tasks.base import Task
from ..tasks.metric_names import HIGHER_IS_BETTER
from .crew import waiting_crew
from .ledger import keep_rows
from .offers import Candidate, Surroundings, add_row, write_state
from .on_features import fit_on_features
from .on_pictures import Turn, fit_on_pictures
from .phase import Phase
from .plan import Plan
from .probe import HeadFit
from .settle import Settled, between, settle
from .soup import greedy_soup
from .teaching import Teacher

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
        plain: A head fitted on those of `train` without varied versions, where somebody has needed it already.
        lean: Of the way from the probe to what moves, the share to take where validation cannot tell.
        gives_up: Whether a phase ends early where validation tells that it leads away from the probe.
    """

    examples: Examples
    target: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    features: Values | None
    plain: tuple[nn.Module, HeadFit] | None = None
    lean: float = 0.0
    gives_up: bool = False

    def groups(self, rows: np.ndarray) -> list[Any]:
        """What the examples of some rows belong to."""
        return list(self.examples.table["group"].iloc[rows])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out of the phases; the network holds the chosen weights.

    Args:
        chosen: Which weights they are.
        lengths: After how many epochs each phase that ran had the weights that it handed on.
        held_out: (n, K) logits of each training example from heads fitted without it, where the chosen weights are a
            head fitted on features.
        stopped: Whether the user asked to stop before the end.
        probe: The head fitted on features, where a phase did so.
        settled: How far from it to what moved since the weights are, where validation chose that.
        phases: With the rates and lengths that were measured.
        views: How many varied versions of each picture the head on features was fitted on; None without such a head.
    """

    chosen: Candidate
    lengths: Mapping[str, int]
    held_out: np.ndarray | None
    stopped: bool
    probe: Candidate | None = None
    settled: Settled | None = None
    phases: tuple[Phase, ...] = ()
    views: int | None = None


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
    teacher: Teacher | None = None,
    prefix: str = "",
) -> Outcome:
    """Runs the phases and loads the weights that validation prefers.

    A phase starts from the weights that the one before hands on: those of its end on the line from a probe, else its
    best. The result lies on that line, or is the best of all phases, as `plan.settle` says; without validation it is
    the last.

    Args:
        network: Trained in place.
        task: Loss and metrics.
        lesson: The examples.
        plan: `monitor` must name a metric of the task.
        phases: What happens, in order.
        around: Folder, devices, callbacks.
        say: Is told each phase's result in a line.
        like: An earlier run of these phases: each is as long as its weights took there, up to the chosen ones, the
            head sees the versions that served it there, and the result is as far from the probe.
        teacher: For the phases that ask for one.
        prefix: Before the names of checkpoints and table rows.
    """
    task = task.learning_from(lesson.target[lesson.train])
    metric = _defined(task, task.check_monitor(plan.monitor), lesson)
    higher = HIGHER_IS_BETTER[metric]
    offers: list[Candidate] = []
    fitted: HeadFit | None = None
    safe: np.ndarray | None = None
    stopped = False
    ran = list(phases)
    ends = _to_the_end(plan, phases)
    for index, phase in enumerate(phases):
        turn = Turn(
            index=index, prefix=prefix, higher=higher, teacher=teacher if phase.teacher else None,
            monitor=f"validation_{metric}" if len(lesson.validation) else None,
            epochs=like.lengths.get(phase.name) if like is not None else None,
            head_decay=fitted.decay if fitted else None,
            share=phase.epochs / (sum(later.epochs for later in phases[index:]) or 1), last=ends,
            safe=safe,
        )  # fmt: skip
        key, ledger = turn.key(phase), around.ledger
        done = ledger.done(key) if ledger is not None else None
        try:
            if done is not None:
                kept, ran[index], fitted = done[0], done[1], done[2] or fitted
                load_offer(network, kept[0])
                say(f'  phase "{phase.name}" was done before')
            else:
                if phase.on == "features":
                    if ledger is not None:
                        keep_rows(around.folder / "metrics.csv", ledger.rows)
                    known = like.views if like is not None else None
                    fitted = fit_on_features(network, task, lesson, plan, phase, around, say, known)
                    kept = [_offer(network, task, lesson, phase, metric, around, key, prefix, fitted)]
                else:
                    kept, stopped, ran[index] = fit_on_pictures(network, task, lesson, plan, phase, around, turn, say)
                if ledger is not None and not stopped:
                    ledger.note_done(key, kept, ran[index], fitted if phase.on == "features" else None)
            offers.append(kept[0] if len(kept) == 1 else greedy_soup(network, task, lesson, kept, metric, around))
        except KeyboardInterrupt:
            # Also between phases, and while versions are looked at: what was offered before is whole.
            if not offers:
                raise
            stopped = True
            break
        say(_line(offers[-1], metric))
        if phase.on == "features" and len(lesson.validation) and lesson.gives_up:
            safe = of_features(network, lesson, np.sort(lesson.validation))
        if stopped or (like is not None and like.chosen.phase == phase.name):
            break
    if stopped:
        lesson = replace(lesson, lean=0.0)  # a phase that was cut off leads nowhere in particular
    chosen, settled = _come_to_rest(network, task, lesson, plan, offers, metric, around, prefix, like, ends)
    probe = offers[0] if fitted is not None else None
    lengths = {offer.phase: offer.epoch for offer in offers}
    held_out = fitted.held_out if fitted is not None and chosen is probe else None
    return Outcome(chosen=chosen, lengths=lengths, held_out=held_out, stopped=stopped, probe=probe, settled=settled,
                   phases=tuple(ran), views=None if fitted is None else fitted.views)  # fmt: skip


def _to_the_end(plan: Plan, phases: tuple[Phase, ...]) -> bool:
    """Whether the weights of a phase are those of its last epoch, be they the best that validation saw or not.

    On the line from a probe they are: the last epoch is where rates and averages lead to, the best of many is the
    luckiest one on a small validation part, and the line itself is the guard against having gone too far.
    """
    if plan.patience or plan.soup:
        return False  # which compare epochs
    line = plan.settle == "interpolate" and phases[0].on == "features"
    return line or plan.settle == "last"


def _come_to_rest(
    network: Network, task: Task, lesson: Lesson, plan: Plan, offers: list[Candidate], metric: str,
    around: Surroundings, prefix: str, like: Outcome | None, ends: bool,
) -> tuple[Candidate, Settled | None]:  # fmt: skip
    """Loads the weights that the run ends with, and keeps them where they are none of the offers."""
    higher = HIGHER_IS_BETTER[metric]
    best = offers[-1] if ends or plan.settle == "last" else _best(offers[1:] or offers, higher)
    walks = plan.settle == "interpolate" and len(offers) > 1 and offers[0].epoch == 0
    if not walks or not (len(lesson.validation) or like is not None):
        chosen = best if plan.settle == "last" else _best(offers, higher)
        load_offer(network, chosen)
        return chosen, None
    safe, moved = load_file(offers[0].state), load_file(best.state)

    def logits_at(share: float) -> np.ndarray:
        load_state(network, between(safe, moved, share))
        if share == 0.0 and lesson.features is not None:
            return of_features(network, lesson, lesson.validation)
        return run_over(
            network, lesson.examples.take(lesson.validation), batch_size=plan.batch,
            device=device_for(around.machine.accelerator), crew=waiting_crew(around.machine),
        ).values  # fmt: skip

    settled = None
    if len(lesson.validation):
        settled = settle(logits_at, lesson.target[lesson.validation], task, metric=metric,
                         groups=lesson.groups(lesson.validation), seed=plan.seed, lean=lesson.lean)  # fmt: skip
        share = settled.share
    else:
        share = like.chosen.share if like is not None else 1.0
    if share == 0.0:
        load_offer(network, offers[0])
        return offers[0], settled
    state = between(safe, moved, share)
    load_state(network, state)
    if share == 1.0:
        return best, settled
    path = around.folder / "checkpoints" / f"{prefix}settled.safetensors"
    write_state(path, state)
    score = None
    if len(lesson.validation):
        score = task.measure(
            task.answer(torch.from_numpy(logits_at(share))), lesson.target[lesson.validation])[metric]  # fmt: skip
    return replace(best, score=score, state=path, share=share), settled


def _offer(
    network: Network, task: Task, lesson: Lesson, phase: Phase, metric: str, around: Surroundings, key: str,
    prefix: str, fitted: HeadFit,
) -> Candidate:  # fmt: skip
    """Keeps a fitted head as weights to choose from, and its row in the table."""
    score, row = None, {"phase": prefix + phase.name, "epoch": 0, "step": 0, "train_loss": fitted.loss}
    if len(lesson.validation):
        logits = of_features(network, lesson, lesson.validation)
        values = task.measure(task.answer(torch.from_numpy(logits)), lesson.target[lesson.validation])
        score = values[metric]
        row |= {f"validation_{name}": value for name, value in values.items()}
    state = around.folder / "checkpoints" / f"{key}.safetensors"
    write_state(state, {f"network.{name}": tensor for name, tensor in network.state_dict().items()})
    add_row(around.folder / "metrics.csv", row)
    return Candidate(phase=phase.name, epoch=0, score=score, state=state)


def of_features(network: Network, lesson: Lesson, rows: np.ndarray) -> np.ndarray:
    """(n, K) logits of the head for rows of the lesson's examples, whose features are known."""
    assert lesson.features is not None  # noqa: S101
    with torch.no_grad():
        return np.asarray(network.head.eval()(torch.from_numpy(lesson.features.at(rows).copy())).numpy())


def _best(offers: list[Candidate], higher: bool) -> Candidate:
    """The earliest of the best; the last one where nothing was measured."""
    measured = [offer for offer in offers if offer.score is not None]
    if not measured:
        return offers[-1]
    return max(measured, key=lambda offer: (offer.score or 0.0) if higher else -(offer.score or 0.0))


def load_offer(network: Network, offer: Candidate) -> None:
    """Gives a network the weights that a phase offered."""
    load_state(network, load_file(offer.state))


def load_state(network: Network, state: Mapping[str, Tensor]) -> None:
    """Gives a network weights under the names of a checkpoint."""
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in state.items()})


def _defined(task: Task, metric: str, lesson: Lesson) -> str:
    """The metric, where it is defined on the validation part: hours of training must not end at one that is not.

    Raises:
        TrainingError: It is not.
    """
    n = len(lesson.validation)
    if n:
        same = np.full((n, task.labels.num_outputs), 1 / task.labels.num_outputs)
        measured = task.measure(same, lesson.target[lesson.validation])
        if not np.isfinite(measured[metric]):
            others = ", ".join(name for name, value in measured.items() if np.isfinite(value))
            raise TrainingError(
                f"{metric} is undefined on the {n} validation examples and cannot choose among epochs: {task.wanting}"
                + (f", or another metric with --monitor: {others}." if others else ".")
            )
    return metric


def _line(offer: Candidate, metric: str) -> str:
    at = f"those of epoch {offer.epoch}" if offer.epoch else "the fitted head"
    score = f": validation {metric} {offer.score:.4f}" if offer.score is not None else ""
    return f'  phase "{offer.phase}" done, its weights are {at}{score}'


def whole(lesson: Lesson) -> Lesson:
    """The same lesson with validation given to training, for a final fit on everything."""
    everything = np.sort(np.concatenate([lesson.train, lesson.validation]))
    return replace(lesson, train=everything, validation=everything[:0], plain=None)
