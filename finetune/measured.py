"""What is measured of a run once its weights are chosen, and the table that it can be measured again from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .baselines import baselines
from .data.looks import Looks
from .gain import beside, gain
from .models.network import Network
from .predictions import as_predictions
from .report.judged import Seen, judge
from .tasks.base import Task
from .training.transfer import Lesson, Outcome

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be said of a model.

    Args:
        metrics: What metrics.json holds of its parts.
        predictions: What predictions.csv holds.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame


def judge_run(
    task: Task, lesson: Lesson, answers: Mapping[str, tuple[np.ndarray, np.ndarray]], *, looks: Looks | None,
    probe: Mapping[str, np.ndarray] | None = None, seed: int,
) -> Verdict:  # fmt: skip
    """The figures of the parts of a run, beside those of naive answers.

    What was kept together on one side of the split is drawn together for the intervals.

    Args:
        task: Says what the answers mean.
        lesson: The examples, and which of them were learned from.
        answers: Of each part that was measured its rows of the lesson's examples, and the (n, K) answers to them.
        looks: What the pictures of all examples look like; None where nobody looked.
        probe: (n, K) answers of the frozen probe to a part, where there was one and the model is another.
        seed: Seeds the intervals.
    """
    parts = {part: (rows, _seen(lesson, rows, answer)) for part, (rows, answer) in answers.items()}
    metrics = judge(task, {part: seen for part, (_, seen) in parts.items()}, seed=seed)
    if parts:
        metrics["baselines"] = baselines(
            task, parts, train=lesson.train, target=lesson.target, probe=probe or {}, seed=seed,
            thumbnails=None if looks is None else looks.thumbnail,
        )  # fmt: skip
    table = as_predictions(
        task, {part: (lesson.examples.take(rows), answer) for part, (rows, answer) in answers.items()}
    )
    return Verdict(metrics=metrics, predictions=table)


def judge_transfer(
    network: Network, task: Task, lesson: Lesson, outcome: Outcome,
    answers: Mapping[str, tuple[np.ndarray, np.ndarray]], *, test: np.ndarray, again: bool, looks: Looks | None,
    seed: int,
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
        seed: Seeds the intervals.
    """
    asked = {part: rows for part, (rows, _) in answers.items() if part == "test" or not again}
    probe = beside(network, task, lesson, outcome, asked)
    verdict = judge_run(task, lesson, answers, looks=looks, probe=probe, seed=seed)
    seen = answers["test"][1] if "test" in answers else None
    if gained := gain(network, task, lesson, outcome, test=test, seen=seen, seed=seed):
        verdict.metrics["gain"] = gained
    return verdict


def _seen(lesson: Lesson, rows: np.ndarray, answer: np.ndarray) -> Seen:
    groups = list(lesson.examples.table["group"].iloc[rows])
    return Seen(answer=answer, target=lesson.target[rows], groups=groups if any(groups) else None)
