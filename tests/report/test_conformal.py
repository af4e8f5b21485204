"""Sets and intervals hold what they promise, as often as they promise."""

import numpy as np
import pytest

from finetune.data.labels import Labels
from finetune.report.conformal import conformal, fit_limit
from finetune.report.intervals import measure
from finetune.report.judged import Seen
from finetune.report.told import told_lines
from finetune.tasks.decisions import Decisions
from finetune.tasks.options import Classify, Regress

CLASSES = Classify().build(Labels(kind="class", names=("a", "b", "c", "d")), [])
NUMBER = Regress().build(Labels(kind="number", names=()), [])


def world(n: int, rng: np.random.Generator) -> Seen:
    """Answers of a model that is right in four of five examples, and too sure of itself."""
    target = rng.integers(0, 4, n)
    score = rng.normal(0, 1, (n, 4)) + 1.7 * np.eye(4)[target]
    raised = np.exp(2 * score)
    return Seen(answer=raised / raised.sum(axis=1, keepdims=True), target=target)


def numbers(n: int, rng: np.random.Generator) -> Seen:
    target = rng.normal(0, 1, n)
    return Seen(answer=(target + rng.standard_t(3, n))[:, None], target=target)


def coverage_of(task, make, draws: int, held: int, new: int) -> float:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        limit = fit_limit(task, 0.9, make(held, rng))
        part = make(new, rng)
        if task is CLASSES:
            sets = Decisions(coverage=0.9, limit=limit).sets(part.answer)
            found.append(sets[np.arange(new), part.target].mean())
        else:
            found.append((np.abs(part.answer[:, 0] - part.target) <= limit).mean())
    return float(np.mean(found))


def test_sets_and_intervals_hold_the_truth_in_nine_of_ten_over_500_draws():
    for task, make in ((CLASSES, world), (NUMBER, numbers)):
        assert 0.88 <= coverage_of(task, make, draws=500, held=100, new=200) <= 0.92


def bootstrap_coverage(draws: int, n: int, resamples: int) -> dict[str, float]:
    """How often 90 % intervals of each metric hold the figure of a very large sample."""
    rng = np.random.default_rng(1)
    truth = CLASSES.measure(*(lambda part: (part.answer, part.target))(world(200_000, rng)))
    held = dict.fromkeys(truth, 0)
    for draw in range(draws):
        part = world(n, rng)
        for name, figure in measure(
            CLASSES, part.answer, part.target, level=0.9, resamples=resamples, seed=draw
        ).items():
            held[name] += figure["low"] <= truth[name] <= figure["high"]
    return {name: count / draws for name, count in held.items()}


def test_ninety_percent_intervals_hold_the_truth_about_as_often():
    found = bootstrap_coverage(draws=50, n=150, resamples=150)
    assert all(0.78 <= share <= 0.98 for share in found.values()), found


@pytest.mark.thorough
def test_ninety_percent_intervals_hold_the_truth_in_nine_of_ten_over_500_draws():
    found = bootstrap_coverage(draws=500, n=400, resamples=600)
    assert all(0.88 <= share <= 0.92 for share in found.values()), found


def test_the_limit_is_the_smallest_that_promises_enough():
    part = world(99, np.random.default_rng(0))
    scores = np.sort(1 - part.answer[np.arange(99), part.target])
    assert fit_limit(CLASSES, 0.9, part) == scores[89], "the 90th of 99"
    few = world(8, np.random.default_rng(0))
    assert fit_limit(CLASSES, 0.9, few) is None, "of eight nothing can be excluded with 90 %"
    assert fit_limit(CLASSES, 0.8, few) is not None


def test_what_sets_give_is_told_with_intervals():
    rng = np.random.default_rng(2)
    limit = fit_limit(CLASSES, 0.9, world(300, rng))
    part = world(200, rng)
    decisions = Decisions(coverage=0.9, limit=limit)
    told = conformal(CLASSES, decisions, part)
    sets = decisions.sets(part.answer)
    alone = sets.sum(axis=1) == 1
    assert told["size"]["value"] == sets.sum(axis=1).mean() and told["abstained"]["value"] == 1 - alone.mean()
    right = part.answer.argmax(axis=1) == part.target
    assert told["accuracy"]["value"] == pytest.approx(right[alone].mean()) and right[alone].mean() > right.mean()
    for name in ("coverage", "size", "abstained", "accuracy"):
        assert told[name]["low"] <= told[name]["value"] <= told[name]["high"]
    number = conformal(NUMBER, Decisions(coverage=0.9, limit=1.5), numbers(50, rng))
    assert number["width"] == 3 and set(number) == {"asked", "limit", "coverage", "width"}


def test_sets_that_leave_nothing_answered_say_nothing_of_the_others():
    figure = {"value": 1.0, "low": 0.4, "high": 1.0, "n": 4}
    none = {"value": None, "low": None, "high": None, "n": 0}
    sets = {"asked": 0.9, "coverage": figure, "size": figure, "abstained": figure, "accuracy": none}
    line = told_lines({"test": {"accuracy": figure}, "conformal": {"test": sets}}, "accuracy")[-1]
    assert line.endswith("are abstained from.") and "undefined" not in line
    sets["accuracy"] = figure
    line = told_lines({"test": {"accuracy": figure}, "conformal": {"test": sets}}, "accuracy")[-1]
    assert line.endswith("of the others 1 (0.4 to 1) are right.")
