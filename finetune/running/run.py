"""One run, in the order in which it happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch

from ..data.labels import Labels
from ..data.leaks import find_leaks, refuse
from ..data.recorded import keep_recorded
from ..data.splits import Splits, split_examples, write_splits
from ..errors import DataError, listing
from ..features import device_for
from ..folder import METRICS, MODEL, SPLITS, resumed_folder, run_folder, write_json
from ..model import Model, own
from ..models.network import Network
from ..nearest.answers import TaughtBy
from ..predict import answers
from ..predictions import write_predictions
from ..recipe import Recipe
from ..report.printed import Talk
from ..saved import save
from ..tasks.base import Task
from ..tasks.options import Embed
from ..training.clock import seconds
from ..training.crew import waiting_crew
from ..training.ledger import Ledger
from ..training.machine import Machine
from ..training.mirrored import keep_left_and_right
from ..training.offers import Surroundings
from ..training.phase import Phase
from ..training.plan import Plan
from ..training.room import room_left
from ..training.transfer import Lesson, Outcome, load_offer, of_features, transfer, whole
from .foretold import show_plan
from .gain import gain_line
from .gather import Material, gather, held_out, write_recipe
from .measured import judge_transfer, tell
from .record import choice, chosen_line, facts, fingerprint, write_report

if TYPE_CHECKING:
    from ..training.budget import Budget
    from ..training.teaching import Teacher

T = TypeVar("T")
UNMEASURED = "The run was stopped before all its parts were measured: the weights are those that were chosen."


@dataclass(frozen=True, kw_only=True)
class Doors:
    """What Lightning's own people pass through `fit` to the Trainer."""

    callbacks: Sequence[Any] = ()
    logger: Any = False
    trainer: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What one fit gave.

    Args:
        model: The model, which is also on disk.
        plan: The rows of the plan as printed.
        held: Rows of the examples that were held out.
        answer: (n, K) what was answered of them without having learned from them.
        phases: With the rates and lengths that were measured.
    """

    model: Model
    plan: list[dict[str, str]]
    held: np.ndarray
    answer: np.ndarray
    phases: tuple[Phase, ...]


def run(
    recipe: Recipe, out: str | Path | None, *, overwrite: bool, talk: Talk, doors: Doors,
    recorded: pd.DataFrame | None = None, resume: bool = False,
) -> Model:  # fmt: skip
    """Makes a model from a recipe.

    Args:
        recipe: What to do.
        out: The run folder; None for a temporary one.
        overwrite: Whether an earlier run there may be replaced.
        talk: Where progress is told.
        doors: For Lightning's Trainer.
        recorded: The split of an earlier run, which holds for the examples that it had.
        resume: Whether `out` holds a run that was interrupted, and is to go on.

    Raises:
        FinetuneError: Anything the user can mend.
    """
    began = time.monotonic()
    # Options first: nothing below may fail for a reason that could have been told before.
    recipe.check()
    machine = Machine.of(recipe.plan)
    with resumed_folder(Path(out)) if resume and out else run_folder(out, overwrite=overwrite) as folder:
        material = gather(recipe, machine, folder, talk)
        splits = divide(material, folder, recorded)
        model = learn(material, splits, folder, talk, doors, until=until(recipe.plan, began), resume=resume).model
    if out is None:
        own(model)
    return model


def until(plan: Plan, began: float) -> float | None:
    """When a run that began then, by `time.monotonic`, has to end; None where the clock does not matter."""
    return None if plan.time is None else began + seconds(plan.time)


def divide(
    material: Material, folder: Path, recorded: pd.DataFrame | None, *, choosing: bool = False
) -> Splits:  # fmt: skip
    """Who learns, who chooses, who is looked at once at the end; and what leaks between them.

    Args:
        material: The examples, and the phases.
        folder: Where leaks are listed.
        recorded: The split of an earlier run.
        choosing: Whether validation has to choose, be it among probes alone.
    """
    data, examples = material.recipe.data, material.examples
    carve = choosing or any(phase.on == "pictures" for phase in material.phases)
    splits = split_examples(
        examples, validation=data.validation, test=data.test, seed=material.recipe.plan.seed, carve=carve,
        clusters=material.clusters, order=data.order, stretches=data.stretches, gap=data.gap,
        hold_out=held_out(data, material.options),
    )  # fmt: skip
    if recorded is not None:
        splits = keep_recorded(examples, splits, recorded)
    return without_leaks(material, splits, splits.part, folder)


def without_leaks(material: Material, splits: Splits, sides: np.ndarray, folder: Path) -> Splits:
    """The same split with a note on what leaks from one side to another, where that is allowed.

    Raises:
        DataError: There are leaks that are not allowed.
    """
    data = material.recipe.data
    # Of a sequence that is cut into stretches the parts are meant to hold pieces.
    leaks = find_leaks(material.examples, sides, material.pairs, groups=data.stretches is None)
    notes = refuse(leaks, allow=data.allow_leaks, folder=folder)
    return replace(splits, leaks=len(leaks), notes=(*notes, *splits.notes))


def learn(
    material: Material, splits: Splits, folder: Path, talk: Talk, doors: Doors, *, until: float | None = None,
    resume: bool = False,
) -> Learned:  # fmt: skip
    """One fit: the phases on the training part, and the figures of the others; it ends by the clock at `until`."""
    recipe, machine, network, phases = material.recipe, material.machine, material.network, material.phases
    options, examples = material.options, material.examples
    ledger = Ledger(folder, resume=resume)
    ledger.begin(f"{fingerprint(examples)} {splits.fingerprint}")
    write_splits(folder / SPLITS, examples, splits)
    lesson, task = lesson_of(material, splits)

    # The plan, before anything is trained.
    phases, lesson, room = room_left(network, task, lesson, phases, material.asked.plan)
    phases, upright = keep_left_and_right(network, task, lesson, phases, material.asked.plan,
                                          device_for(machine.accelerator))  # fmt: skip
    notes = (*material.notes, *splits.notes, *material.reasons, *filter(None, (room, upright)))
    rows = show_plan(network, phases, recipe, machine, lesson, task.labels, splits, notes, talk)

    # The phases; then, where validation was borrowed from training, once more on everything.
    around = Surroundings(folder=folder, machine=machine, callbacks=doors.callbacks, logger=doors.logger,
                          trainer=doors.trainer or {}, progress=talk.live, ledger=ledger,
                          skip=recipe.data.on_corrupt == "skip",
                          budget=_budget(recipe.plan, splits, until))  # fmt: skip
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    outcome = transfer(network, task, lesson, recipe.plan, phases, around, say=talk.say, teacher=material.teacher)
    judged, plan, again = outcome, recipe.plan, False
    if outcome.phases != phases and not outcome.stopped:
        # What was measured is remembered: a run of this recipe repeats it.
        plan = plan.measured(outcome.phases)
        write_recipe(folder, replace(material.asked, data=recipe.data, plan=plan), machine)
    found = unless_stopped(lambda: _held_out(network, task, lesson, outcome, recipe, machine))
    held, answer = found or (lesson.validation[:0], np.zeros((0, task.labels.num_outputs)))
    outcome = replace(outcome, stopped=outcome.stopped or found is None)
    if splits.refit and not outcome.stopped:
        final = _once_more(network, task, lesson, plan, outcome, around, start, material.teacher, talk)
        judged, outcome, again = final or outcome, replace(outcome, stopped=final is None), final is not None

    # The test part is looked at once, with the weights that are saved.
    test = splits.indices("test")
    told = {"validation": (held, answer)} if len(held) else {}
    seen = None
    if len(test) and found is not None:
        seen = unless_stopped(lambda: _answer(network, task, lesson, test, outcome, recipe, machine))
    if seen is not None:
        told["test"] = (test, seen)
    verdict = judge_transfer(
        network, task, lesson, judged, told, test=test, again=again, looks=material.looks,
        options=options, by=recipe.data.by, sampler=recipe.plan.sampler, seed=recipe.plan.seed,
    )  # fmt: skip
    metrics, notes = verdict.metrics, (*notes, *verdict.notes)
    measured = found is not None and (seen is not None or not len(test))
    outcome = replace(outcome, stopped=outcome.stopped or not measured)
    notes = notes if measured else (*notes, UNMEASURED)
    monitor = task.check_monitor(recipe.plan.monitor)
    gained_line = gain_line(metrics.get("gain", {}), judged, monitor)
    if gained_line is not None:
        talk.say(f"  {gained_line}")
    if splits.leaks:
        metrics["leaks"] = splits.leaks
    if examples.generated:
        metrics["generated"] = True
    known = facts(recipe, network, examples, splits)
    known |= {"chosen": choice(recipe, task, outcome), "stopped": outcome.stopped,
              "decisions": verdict.decisions.to_dict()}  # fmt: skip
    task = task.kept(lesson.target[whole(lesson).train if again else lesson.train])
    save(folder / MODEL, network, task, options, known)
    write_json(folder / METRICS, metrics)
    write_predictions(folder, verdict.predictions)
    write_report(folder, network, task, recipe, metrics=metrics, plan=rows, notes=notes,
                 leaks=splits.notes[0] if splits.leaks else None, stopped=outcome.stopped, measured=measured,
                 examples=examples, told=told,
                 taught=TaughtBy(rows=lesson.train, features=None if outcome.chosen.epoch else lesson.features),
                 chosen=" ".join(filter(None, (chosen_line(outcome, monitor), gained_line))))  # fmt: skip
    if not outcome.stopped:
        ledger.finish()
    tell(talk, task, verdict, before=[] if measured else [UNMEASURED])
    model = Model(
        network=network.eval(), task=task, folder=folder, metrics=metrics, facts=known, stopped=outcome.stopped
    )
    return Learned(model=model, plan=rows, held=held, answer=answer, phases=outcome.phases)


def _once_more(
    network: Network, task: Task, lesson: Lesson, plan: Plan, outcome: Outcome, around: Surroundings,
    start: Mapping[str, torch.Tensor], teacher: Teacher | None, talk: Talk,
) -> Outcome | None:  # fmt: skip
    """The final fit on training and validation; None where the user stopped it, with the weights from before."""
    talk.say("  once more on training and validation pictures together, to the length that was chosen")
    network.load_state_dict(start)
    final, again = None, replace(around, callbacks=(), budget=None)
    with contextlib.suppress(KeyboardInterrupt):  # before any of its phases had weights to offer
        final = transfer(network, task, whole(lesson), plan, outcome.phases, again, say=talk.say, like=outcome,
                         teacher=teacher, prefix="final-")  # fmt: skip
    if final is not None and not final.stopped:
        return final
    # Half of a final fit is none: the weights that validation chose are whole.
    load_offer(network, outcome.chosen)
    return None


def _budget(plan: Plan, splits: Splits, until: float | None) -> Budget | None:
    if until is None or plan.time is None or not plan.moves:
        return None
    from ..training.budget import Budget

    whole = seconds(plan.time)
    budget = Budget(start=until - whole, seconds=whole, answered=len(splits.indices("test")), twice=splits.refit)
    budget.check("training")
    return budget


def unless_stopped(measuring: Callable[[], T]) -> T | None:
    """What a measurement gives; None where Ctrl-C ended it, for the weights are chosen by then and must not be lost."""
    try:
        return measuring()
    except KeyboardInterrupt:
        return None


def lesson_of(material: Material, splits: Splits) -> tuple[Lesson, Task]:
    """What is learned from and chosen by, and what its answers mean."""
    names, examples = material.names, material.examples
    train = _all_classes(material, splits)
    labels = names if names.kind != "number" else Labels.from_targets("number", [examples.targets[i] for i in train])
    task = material.options.build(labels, [examples.targets[i] for i in train])
    lesson = Lesson(examples=splits.units_of(examples), target=labels.encode(examples.targets), train=train,
                    validation=splits.indices("validation"), features=material.features)  # fmt: skip
    return lesson, task


def _all_classes(material: Material, splits: Splits) -> np.ndarray:
    """The rows of the training part, in which every class must be that is to be answered."""
    examples, names = material.examples, material.names
    train = splits.indices("train")
    if names.kind != "class" or isinstance(material.options, Embed):
        return train
    class_of = names.encode(examples.targets)
    learned = {names.names[k] for k in class_of[train]}
    missing = [name for name in names.names if name not in learned]
    if missing:
        found = {names.names[k] for k in class_of}
        late = [name for name in missing if name in found]
        raise DataError(
            f"There is no training picture of {listing(late)}: its examples are all on the other side of the split. "
            "Expected some of each class: divide otherwise, or take the class out of the source."
            if late
            else f"There is no training picture of {listing(missing)} that can be read. Expected some of each class: "
            "mend the pictures, or take the class out of the source."
        )
    return train


def _held_out(
    network: Network, task: Task, lesson: Lesson, outcome: Outcome, recipe: Recipe, machine: Machine
) -> tuple[np.ndarray, np.ndarray]:
    """The validation part and its answers; without one, training examples and answers of heads fitted without them."""
    if len(lesson.validation):
        return lesson.validation, _answer(network, task, lesson, lesson.validation, outcome, recipe, machine)
    if outcome.held_out is None:
        return lesson.validation, np.zeros((0, task.labels.num_outputs))
    return lesson.train, task.answer(torch.from_numpy(outcome.held_out))


def _answer(
    network: Network, task: Task, lesson: Lesson, rows: np.ndarray, outcome: Outcome, recipe: Recipe, machine: Machine
) -> np.ndarray:
    if outcome.chosen.epoch == 0 and lesson.features is not None:
        # The chosen weights are the loaded backbone and a fitted head: its features are known already.
        return task.answer(torch.from_numpy(of_features(network, lesson, rows)))
    return answers(network, task, lesson.examples.take(rows), batch_size=recipe.plan.batch,
                   accelerator=machine.accelerator, crew=waiting_crew(machine)).answer  # fmt: skip
