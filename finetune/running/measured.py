"""What is measured of a run once its weights are chosen, and the table that it can be measured again from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.columns import LOOKED_AT, columns_of
from ..data.looks import Looks
from ..embedded import Points, judge_points, told_points
from ..models.network import Network
from ..nearest.index import vectors_of
from ..predictions import as_predictions
from ..recipe import TaskOptions
from ..report.baselines import baselines
from ..report.decided import decide, told_of
from ..report.judged import Seen, judge
from ..report.printed import Talk, metrics_table
from ..report.slices import sliced
from ..report.told import told_lines
from ..tasks.base import Task
from ..tasks.decisions import Decisions, assumed_priors
from ..tasks.embed import EmbedTask
from ..training.transfer import Lesson, Outcome
from .gain import beside, gain

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be said of a model.

    Args:
        metrics: What metrics.json holds of its parts.
        predictions: What predictions.csv holds.
        decisions: What is kept with the model to decide by.
        notes: What could not be fitted, a sentence each.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame
    decisions: Decisions
    notes: tuple[str, ...]


def judge_run(
    task: Task, lesson: Lesson, answers: Mapping[str, tuple[np.ndarray, np.ndarray]], *, looks: Looks | None,
    options: TaskOptions, by: Sequence[str] = (), sampler: str = "shuffle",
    probe: Mapping[str, np.ndarray] | None = None, seed: int,
) -> Verdict:  # fmt: skip
    """The figures of the parts of a run, beside those of naive answers, and what is decided by from now on.

    What was kept together on one side of the split is drawn together for the intervals.

    Args:
        task: Says what the answers mean.
        lesson: The examples, and which of them were learned from.
        answers: Of each part that was measured its rows of the lesson's examples, and the (n, K) answers to them.
        looks: What the pictures of all examples look like; None where nobody looked.
        options: Those of the task, which say what decisions are asked for.
        by: Columns by whose values figures are told apart, beside what pictures look like.
        sampler: How the examples of a step were drawn.
        probe: (n, K) answers of the frozen probe to a part, where there was one and the model is another.
        seed: Seeds the intervals.
    """
    if isinstance(task, EmbedTask):
        return _judged_points(task, lesson, answers, looks, seed)
    raw = {part: _seen(lesson, rows, answer) for part, (rows, answer) in answers.items()}
    decided = decide(
        task, raw, seed=seed,
        operate=getattr(options, "operate", None), coverage=getattr(options, "coverage", None),
        priors=assumed_priors(task, lesson.target[lesson.train], sampler=sampler),
    )  # fmt: skip
    metrics = judge(task, decided.parts, seed=seed) | told_of(
        task, decided.decisions, raw, decided.parts, held_out=decided.held_out, seed=seed
    )
    rows = {part: rows for part, (rows, _) in answers.items()}
    if rows:
        metrics |= baselines(
            task, {part: (rows[part], seen) for part, seen in decided.parts.items()}, train=lesson.train,
            target=lesson.target, probe=probe or {}, seed=seed, thumbnails=None if looks is None else looks.thumbnail,
        )  # fmt: skip
    columns = columns_of(lesson.examples, looks, list(dict.fromkeys((*LOOKED_AT, *by))))
    metrics |= sliced(task, decided.parts, columns, rows, seed=seed)
    table = as_predictions(
        task, {part: (lesson.examples.take(rows[part]), seen.answer) for part, seen in decided.parts.items()},
        decided.decisions,
    )  # fmt: skip
    return Verdict(metrics=metrics, predictions=table, decisions=decided.decisions, notes=decided.notes)


def judge_transfer(
    network: Network, task: Task, lesson: Lesson, outcome: Outcome,
    answers: Mapping[str, tuple[np.ndarray, np.ndarray]], *, test: np.ndarray, again: bool, looks: Looks | None,
    options: TaskOptions, by: Sequence[str], sampler: str, seed: int,
) -> Verdict:  # fmt: skip
    """The same of a run whose phases may have moved the backbone: with the frozen probe, and the gain over it.

    Args:
        network: With the weights that are judged.
        task: Says what the answers mean.
        lesson: The examples.
        outcome: Of the phases that made the weights.
        answers: As for `judge_run`.
        test: Rows of the test part.
        again: Whether those phases learned from the validation part too, so that nothing of it judges the probe.
        looks: As for `judge_run`.
        options: As for `judge_run`.
        by: As for `judge_run`.
        sampler: How the examples of a step on pictures were drawn; a probe takes each once.
        seed: Seeds the intervals.
    """
    asked = {part: rows for part, (rows, _) in answers.items() if part == "test" or not again}
    probe = beside(network, task, lesson, outcome, asked)
    drawn = sampler if outcome.chosen.epoch else "shuffle"
    verdict = judge_run(
        task, lesson, answers, looks=looks, options=options, by=by, sampler=drawn, probe=probe, seed=seed
    )
    seen = answers["test"][1] if "test" in answers else None
    if gained := gain(network, task, lesson, outcome, test=test, seen=seen, seed=seed):
        verdict.metrics["gain"] = gained
    return verdict


def tell(talk: Talk, task: Task, verdict: Verdict, *, before: Sequence[str] = ()) -> None:
    """Shows the figures of a run after some lines, and what there is to say of them."""
    for line in before:
        talk.say(f"  {line}")
    talk.show(metrics_table(verdict.metrics))
    for line in (*told_lines(verdict.metrics, task.metrics[0]), *verdict.notes):
        talk.say(f"  {line}")


def _judged_points(
    task: EmbedTask,
    lesson: Lesson,
    answers: Mapping[str, tuple[np.ndarray, np.ndarray]],
    looks: Looks | None,
    seed: int,
) -> Verdict:
    """The same where answers are points, beside those of the backbone before anything was learned."""
    known = lesson.features
    parts = {
        part: Points(examples=lesson.examples.take(rows), answer=answer,
                     frozen=None if known is None else vectors_of(known.at(rows)),
                     looks=None if looks is None else looks.take(rows.tolist()))
        for part, (rows, answer) in answers.items()
    }  # fmt: skip
    learned = {task.labels.names[k] for k in np.unique(lesson.target[lesson.train])}
    metrics, table = judge_points(parts, learned=learned, seed=seed)
    notes = tuple(told_points(metrics, task.metrics[0]))
    return Verdict(metrics=metrics, predictions=table, decisions=Decisions(), notes=notes)


def _seen(lesson: Lesson, rows: np.ndarray, answer: np.ndarray) -> Seen:
    groups = list(lesson.examples.table["group"].iloc[rows])
    return Seen(answer=answer, target=lesson.target[rows], groups=groups if any(groups) else None)
