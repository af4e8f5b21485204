"""One run, in the order in which it happens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data.addresses import printable
from .data.examples import Examples, read_examples
from .data.labels import Labels
from .data.readers import scan, without_unreadable
from .data.splits import Splits, split_examples, write_splits
from .errors import DataError, listing
from .evaluate import Metrics
from .features import Values, device_for, features
from .files import replacing
from .folder import METRICS, MODEL, RECIPE, REPORT, SPLITS, run_folder, write_json
from .model import Model, own
from .models.network import Network
from .predict import answers
from .recipe import HEADS, Recipe, task_for
from .report.intervals import measure
from .report.printed import Talk, metrics_table, plan_table
from .report.written import report
from .saved import save, versions
from .tasks.base import Task
from .training.freeze import learning_stages
from .training.machine import Machine, seed_all
from .training.offers import Surroundings
from .training.plan import Phase
from .training.shown import groups_line, plan_rows
from .training.transfer import Lesson, Outcome, load_offer, transfer, whole


@dataclass(frozen=True, kw_only=True)
class Doors:
    """What Lightning's own people pass through `fit` to the Trainer."""

    callbacks: Sequence[Any] = ()
    logger: Any = False
    trainer: Mapping[str, Any] | None = None


def run(recipe: Recipe, out: str | Path | None, *, overwrite: bool, talk: Talk, doors: Doors) -> Model:
    """Makes a model from a recipe.

    Args:
        recipe: What to do.
        out: The run folder; None for a temporary one.
        overwrite: Whether an earlier run there may be replaced.
        talk: Where progress is told.
        doors: For Lightning's Trainer.

    Raises:
        FinetuneError: Anything the user can mend.
    """
    # Options first: nothing below may fail for a reason that could have been told before.
    recipe.check()
    machine = Machine.of(recipe.plan)
    with run_folder(out, overwrite=overwrite) as folder:
        # The examples, as a table; no picture is opened yet.
        examples = read_examples(recipe.data)
        options = task_for(recipe.task, examples.kind)
        recipe = replace(recipe, task=options, plan=machine.recorded(recipe.plan).for_kind(examples.kind))
        write_json(folder / RECIPE, {"format": 1, "recipe": recipe.to_dict(), "world_size": machine.world_size,
                                     "strategy": machine.strategy, "versions": versions()})  # fmt: skip
        names = Labels.from_targets(examples.kind, examples.targets)
        options.build(names, examples.targets).check_monitor(recipe.plan.monitor)

        # The network, with a fresh head as wide as the labels.
        seed_all(recipe.plan.seed)
        network = recipe.model.build(names.num_outputs)
        phases = recipe.plan.build(pretrained=recipe.model.weights != "none" or recipe.model.module is not None)
        for phase in phases:
            learning_stages(network.stages, phase.learns)

        # Every picture is read once: for its features where a phase needs them, else to know that it can be read.
        examples, known, skipped = _read_all(examples, network, recipe, phases, machine, talk)

        # Who learns, who chooses, who is looked at once at the end.
        probing = all(phase.on == "features" for phase in phases)
        splits = split_examples(examples, validation=recipe.data.validation, test=recipe.data.test,
                                seed=recipe.plan.seed, carve=not probing)  # fmt: skip
        write_splits(folder / SPLITS, examples, splits)
        train = _all_classes(examples, splits, names)
        labels = (
            names if names.kind != "number" else Labels.from_targets("number", [examples.targets[i] for i in train])
        )
        task = options.build(labels, [examples.targets[i] for i in train])
        lesson = Lesson(examples=examples, target=labels.encode(examples.targets), train=train,
                        validation=splits.indices("validation"), features=known)  # fmt: skip

        # The plan, before anything is trained.
        notes = (*examples.notes, *skipped, *splits.notes)
        rows = _show(network, phases, recipe, machine, lesson, splits, notes, talk)

        # The phases; then, where validation was borrowed from training, once more on everything.
        around = Surroundings(folder=folder, machine=machine, callbacks=doors.callbacks, logger=doors.logger,
                              trainer=doors.trainer or {}, progress=talk.live)  # fmt: skip
        start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        outcome = transfer(network, task, lesson, recipe.plan, phases, around, say=talk.say)
        metrics = _validation(network, task, lesson, outcome, recipe, machine)
        if splits.refit and not outcome.stopped:
            talk.say("  once more on training and validation pictures together, to the length that was chosen")
            network.load_state_dict(start)
            final = transfer(network, task, whole(lesson), recipe.plan, phases, replace(around, callbacks=()),
                             say=talk.say, like=outcome, prefix="final-")  # fmt: skip
            if final.stopped:
                # Half of a final fit is none: the weights that validation chose are whole.
                load_offer(network, outcome.chosen)
                outcome = replace(outcome, stopped=True)

        # The test part is looked at once, with the weights that are saved.
        metrics |= _measured(network, task, lesson, splits.indices("test"), "test", outcome, recipe, machine)
        facts = _facts(recipe, network, examples, splits, outcome, task)
        save(folder / MODEL, network, task, options, facts)
        write_json(folder / METRICS, metrics)
        _report(folder, network, task, recipe, metrics, rows, notes, outcome)
        talk.show(metrics_table(metrics))
    model = Model(
        network=network.eval(), task=task, folder=folder, metrics=metrics, facts=facts, stopped=outcome.stopped
    )
    if out is None:
        own(model)
    return model


def _report(
    folder: Path, network: Network, task: Task, recipe: Recipe, metrics: Metrics, rows: list[dict[str, str]],
    notes: Sequence[str], outcome: Outcome,
) -> None:  # fmt: skip
    text = report(
        title=f"{network.id} on {_name(recipe.data.source)}", metrics=metrics, primary=task.metrics[0], plan=rows,
        notes=notes, chosen=_chosen(outcome, task.check_monitor(recipe.plan.monitor)), versions=versions(),
        repeat=["finetune", "fit", "--recipe", str(folder / RECIPE)], stopped=outcome.stopped,
    )  # fmt: skip
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _read_all(
    examples: Examples, network: Network, recipe: Recipe, phases: tuple[Phase, ...], machine: Machine, talk: Talk
) -> tuple[Examples, Values | None, tuple[str, ...]]:
    """Features or a plain reading of all pictures; those that cannot be read stop the run or are left out."""
    known = None
    with talk.bar("reading pictures", len(examples)) as moved:
        if any(phase.on == "features" for phase in phases):
            known = features(network, examples, batch_size=recipe.plan.batch_size, progress=moved,
                             device=device_for(machine.accelerator))  # fmt: skip
            errors = known.errors
        else:
            errors = scan(examples, in_chans=network.spec.in_chans, progress=moved)
    if not errors:
        return examples, known, ()
    examples, note = without_unreadable(examples, errors, recipe.data.on_corrupt)
    if known is not None:
        known = Values(known.values, np.arange(len(examples)), {})
    return examples, known, (note,) if note else ()


def _all_classes(examples: Examples, splits: Splits, names: Labels) -> np.ndarray:
    """The rows of the training part, in which every class must be."""
    train = splits.indices("train")
    missing = sorted(set(names.names) - {examples.targets[row] for row in train}) if names.kind == "class" else []
    if missing:
        raise DataError(
            f"There is no training picture of {listing(missing)} that can be read. Expected some of each class: "
            "mend the pictures, or take the class out of the source."
        )
    return train


def _show(
    network: Network, phases: tuple[Phase, ...], recipe: Recipe, machine: Machine, lesson: Lesson, splits: Splits,
    notes: Sequence[str], talk: Talk,
) -> list[dict[str, str]]:  # fmt: skip
    """Prints what was found and what will happen."""
    counts = {part: len(splits.indices(part)) for part in ("train", "validation", "test")}
    spec = network.spec
    talk.say(f"{len(lesson.examples)} examples: " + ", ".join(f"{n} {part}" for part, n in counts.items()))
    talk.say(
        f"{network.id}: pictures {spec.size[0]}x{spec.size[1]}, {spec.interpolation}, crop {spec.crop_pct:g}, "
        f"mean {_numbers(spec.mean)}, std {_numbers(spec.std)}"
    )
    for note in notes:
        talk.say(f"  {note}")
    rows = plan_rows(network, phases, recipe.plan, machine, len(lesson.train))
    talk.show(plan_table(rows, f"Plan: {recipe.plan.method}"))
    for phase in phases:
        if phase.on == "pictures" and phase.layer_decay < 1:
            talk.say(groups_line(network, phase))
    return rows


def _validation(
    network: Network, task: Task, lesson: Lesson, outcome: Outcome, recipe: Recipe, machine: Machine
) -> Metrics:
    """The figures of the validation part; without one, those of training examples from heads fitted without them."""
    if len(lesson.validation):
        return _measured(network, task, lesson, lesson.validation, "validation", outcome, recipe, machine)
    if outcome.held_out is None:
        return {}
    answer = task.answer(torch.from_numpy(outcome.held_out))
    return {"validation": _with_intervals(task, answer, lesson, lesson.train, recipe)}


def _measured(
    network: Network, task: Task, lesson: Lesson, rows: np.ndarray, part: str, outcome: Outcome, recipe: Recipe,
    machine: Machine,
) -> Metrics:  # fmt: skip
    if not len(rows):
        return {}
    if outcome.chosen.epoch == 0 and lesson.features is not None:
        # The chosen weights are the loaded backbone and a fitted head: its features are known already.
        with torch.no_grad():
            answer = task.answer(network.head.eval()(torch.from_numpy(lesson.features.at(rows).copy())))
    else:
        answer = answers(network, task, lesson.examples.take(rows), batch_size=recipe.plan.batch_size,
                         accelerator=machine.accelerator).answer  # fmt: skip
    return {part: _with_intervals(task, answer, lesson, rows, recipe)}


def _with_intervals(task: Task, answer: np.ndarray, lesson: Lesson, rows: np.ndarray, recipe: Recipe) -> Any:
    groups = list(lesson.examples.table["group"].iloc[rows])
    return measure(task, answer, lesson.target[rows], groups=groups if any(groups) else None, seed=recipe.plan.seed)


def _facts(
    recipe: Recipe, network: Network, examples: Examples, splits: Splits, outcome: Outcome, task: Task
) -> dict[str, Any]:
    """What finetune.json keeps beside labels, task and preprocessing."""
    table = [[row.id, row.target, row.group] for row in examples.table.itertuples()]
    head = next(name for name, kind in HEADS.items() if type(recipe.model.head) is kind)
    return {
        "backbone": {
            "name": network.id,
            "args": dict(network.origin.args),
            "head": {"kind": head, **vars(recipe.model.head)},
        },
        "chosen": {
            "phase": outcome.chosen.phase,
            "epoch": outcome.chosen.epoch,
            "score": outcome.chosen.score,
            "monitor": task.check_monitor(recipe.plan.monitor),
        },
        "stopped": outcome.stopped,
        "data": {"examples": len(examples), "fingerprint": _digest(table)},
        "splits": splits.fingerprint,
    }


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, default=list, ensure_ascii=False).encode()).hexdigest()


def _chosen(outcome: Outcome, monitor: str) -> str:
    chosen = outcome.chosen
    if chosen.score is None:
        return f'The weights are those at the end of phase "{chosen.phase}"; there was no validation part to choose by.'
    at = f"epoch {chosen.epoch} of phase" if chosen.epoch else "phase"
    return f'The weights are those of {at} "{chosen.phase}", the best {monitor} on validation ({chosen.score:.4g}).'


def _name(source: Any) -> str:
    return (
        Path(printable(str(source))).name if isinstance(source, str | Path) else f"a {type(source).__name__} in memory"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{v:g}" for v in values) + ")"
