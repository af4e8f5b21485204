"""A run in folds: each example is held out once, and the model averages those of all folds."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.folding import fold_examples
from ..data.recorded import keep_recorded
from ..data.splits import Splits, write_splits
from ..folder import METRICS, MODEL, OUT_OF_FOLD, SPLITS, resumed_folder, run_folder, write_json
from ..model import Model, own
from ..predict import Answers, answers, as_table, write_table
from ..predictions import write_predictions
from ..recipe import Recipe
from ..report.printed import Talk, folds_rows
from ..saved import as_one, save_ensemble
from ..tasks.base import Task
from ..training.crew import waiting_crew
from ..training.ledger import Ledger
from ..training.machine import Machine
from ..training.phase import Phase
from ..training.transfer import Lesson
from .gather import Material, gather, write_recipe
from .measured import judge_run, tell
from .record import facts, fingerprint, write_report
from .run import UNMEASURED, Doors, Learned, learn, unless_stopped, until, without_leaks


def run_folds(
    recipe: Recipe, out: str | Path | None, *, overwrite: bool, talk: Talk, doors: Doors,
    recorded: pd.DataFrame | None = None, resume: bool = False,
) -> Model:  # fmt: skip
    """Makes one model from several runs, each of which holds out another fold of the examples.

    Each fold is an ordinary run in a folder of its own, `fold-1` and so on, with the fold as its validation part. The
    model's probabilities (or numbers) are the means of theirs.

    Args:
        recipe: What to do; `recipe.data.folds` says how many folds.
        out: The run folder; None for a temporary one.
        overwrite: Whether an earlier run there may be replaced.
        talk: Where progress is told.
        doors: For Lightning's Trainer; each fold has callbacks of its own, copies of these.
        recorded: The folds of an earlier run, which hold for the examples that it had.
        resume: Whether `out` holds a run that was interrupted, and is to go on.

    Raises:
        FinetuneError: Anything the user can mend.
    """
    began = time.monotonic()
    recipe.check()
    machine = Machine.of(recipe.plan)
    with resumed_folder(Path(out)) if resume and out else run_folder(out, overwrite=overwrite) as folder:
        material = gather(recipe, machine, folder, talk)
        splits = _divide(material, folder, recorded)
        ledger = Ledger(folder, resume=resume)
        ledger.begin(f"{fingerprint(material.examples)} {splits.fingerprint}")
        write_splits(folder / SPLITS, material.examples, splits)
        ends = until(recipe.plan, began)
        learned, stopped = _all_folds(material, splits, folder, talk, doors, until=ends, resume=resume)
        model = _averaged(material, splits, learned, folder, talk, stopped=stopped)
        if not stopped:
            ledger.finish()
    if out is None:
        own(model)
    return model


def _divide(material: Material, folder: Path, recorded: pd.DataFrame | None) -> Splits:
    data = material.recipe.data
    assert data.folds is not None  # noqa: S101  # who comes here asked for folds
    splits = fold_examples(material.examples, data.folds, seed=material.recipe.plan.seed, clusters=material.clusters)
    if recorded is not None:
        splits = keep_recorded(material.examples, splits, recorded)
    assert splits.fold is not None  # noqa: S101
    sides = np.array([f"fold {number}" if number else "test" for number in splits.fold])
    return without_leaks(material, splits, sides, folder)


def _all_folds(
    material: Material, splits: Splits, folder: Path, talk: Talk, doors: Doors, *, until: float | None, resume: bool
) -> tuple[list[Learned], bool]:
    """The folds one after the other; those that ended when the user stops, and whether that happened.

    Rates and lengths that the first fold measures are those of all, and of the recipe.
    """
    learned: list[Learned] = []
    data = material.recipe.data
    for number in range(1, (data.folds or 0) + 1):
        talk.say(f"Fold {number} of {data.folds}")
        # A fold's own recipe is that of one run: with the splits.csv beside it, it repeats the fold.
        fold = replace(
            material,
            network=copy.deepcopy(material.network),
            recipe=replace(material.recipe, data=replace(data, folds=None)),
        )
        own_doors = replace(doors, callbacks=copy.deepcopy(doors.callbacks))
        try:
            place = folder / f"fold-{number}"
            begun = resume and place.is_dir() and any(place.iterdir())
            with resumed_folder(place) if begun else run_folder(place) as inside:
                write_recipe(inside, replace(fold.asked, data=fold.recipe.data), fold.machine)
                now = time.monotonic()
                ends = None if until is None else now + (until - now) / (data.folds or 1)
                learned.append(learn(fold, splits.holding_out(number), inside, talk, own_doors, until=ends,
                                     resume=begun))  # fmt: skip
        except KeyboardInterrupt:
            if not learned:
                raise
            return learned, True
        if learned[-1].model.stopped:
            if not len(learned[-1].held):  # stopped while it was measured: there is nothing to average
                learned.pop()
            if not learned:
                raise KeyboardInterrupt
            return learned, True
        if learned[-1].phases != material.phases:
            material, until = _as_measured(material, learned[-1].phases), None
            write_recipe(folder, material.asked, material.machine)
    return learned, False


def _as_measured(material: Material, phases: tuple[Phase, ...]) -> Material:
    """The material of further folds, whose phases are those of the first."""
    plan = material.recipe.plan.measured(phases)
    return replace(material, phases=phases, recipe=replace(material.recipe, plan=plan),
                   asked=replace(material.asked, plan=plan))  # fmt: skip


def _averaged(
    material: Material, splits: Splits, learned: Sequence[Learned], folder: Path, talk: Talk, *, stopped: bool
) -> Model:
    """The members as one model, with what was measured of them; everything that the run folder still lacks."""
    recipe, examples, machine = material.recipe, material.examples, material.machine
    members = [one.model for one in learned]
    network, task = as_one([one.network for one in members], [one.task for one in members])
    held, answer = np.concatenate([one.held for one in learned]), np.concatenate([one.answer for one in learned])
    _write_out_of_fold(folder / OUT_OF_FOLD, material, splits, task, held, answer)

    # Held-out answers all together, then the test part, which nobody has looked at, by the mean of all members.
    lesson = Lesson(examples=splits.units_of(examples), target=task.labels.encode(examples.targets), train=held,
                    validation=held[:0], features=None)  # fmt: skip
    told = {"validation": (held, answer)}
    test, measured = splits.indices("test"), True
    if len(test):
        seen = unless_stopped(
            lambda: answers(network, task, examples.take(test), batch_size=recipe.plan.batch,
                            accelerator=machine.accelerator, crew=waiting_crew(machine)).answer
        )  # fmt: skip
        measured = seen is not None
        if seen is not None:
            told["test"] = (test, seen)
    verdict = judge_run(
        task, lesson, told, looks=material.looks, options=material.options, by=recipe.data.by,
        seed=recipe.plan.seed,
        sampler=recipe.plan.sampler if any(phase.on == "pictures" for phase in material.phases) else "shuffle",
    )  # fmt: skip
    metrics = verdict.metrics
    stopped = stopped or not measured
    metrics["folds"] = _over_folds(members)
    if splits.leaks:
        metrics["leaks"] = splits.leaks
    if examples.generated:
        metrics["generated"] = True

    known = facts(recipe, network, examples, splits)
    known |= {"chosen": [dict(one.facts["chosen"]) for one in members], "stopped": stopped}
    known["decisions"] = verdict.decisions.to_dict()
    save_ensemble(folder / MODEL, [one.folder for one in members], network, task, material.options, known)
    write_json(folder / METRICS, metrics)
    write_predictions(folder, verdict.predictions)
    notes = [*material.notes, *splits.notes, *verdict.notes]
    if not measured:
        notes.append(UNMEASURED)
    if len(members) < (recipe.data.folds or 0):
        notes.append(f"{len(members)} of {recipe.data.folds} folds were run; what the others would hold out was not.")
    write_report(folder, network, task, recipe, metrics=metrics, plan=learned[0].plan, notes=notes,
                 leaks=splits.notes[0] if splits.leaks else None, stopped=stopped, measured=measured,
                 examples=examples, told=told,
                 chosen=f"The model averages the answers of {len(members)} folds.")  # fmt: skip
    talk.say(f"All {len(members)} folds")
    tell(talk, task, verdict)
    for name, mean, spread, _ in folds_rows(metrics["folds"]):
        talk.say(f"  {name} over the folds: mean {mean}, standard deviation {spread}")
    return Model(network=network, task=task, folder=folder, metrics=metrics, facts=known, stopped=stopped)


def _over_folds(members: Sequence[Model]) -> dict[str, dict[str, Any]]:
    """Each metric's mean and standard deviation (with n - 1) over the folds on which it is defined."""
    found: dict[str, dict[str, Any]] = {}
    for name in members[0].metrics["validation"]:
        values = [one.metrics["validation"][name]["value"] for one in members]
        defined = [value for value in values if value is not None]
        found[name] = {
            "mean": float(np.mean(defined)) if defined else None,
            "spread": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
            "values": values,
        }
    return found


def _write_out_of_fold(
    path: Path, material: Material, splits: Splits, task: Task, held: np.ndarray, answer: np.ndarray
) -> None:
    """Writes out_of_fold.csv: what `predict` writes, of each example by the network that did not learn from it."""
    order = np.argsort(held)
    rows = held[order]
    table: pd.DataFrame = as_table(
        task, material.examples.take(rows), Answers(answer[order], np.arange(len(rows)), {})
    ).drop(columns="error")
    table = table.rename(columns={"fold": "fold (class)"})
    assert splits.fold is not None  # noqa: S101
    table["fold"] = splits.fold[rows]
    write_table(table, str(path))
