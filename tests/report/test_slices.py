"""Slices are the same figures of fewer examples, and the worst is not called so for being small."""

import numpy as np
import pytest

from finetune.data.labels import Labels
from finetune.report.intervals import measure
from finetune.report.judged import Seen
from finetune.report.slices import FEWEST, banded, slices, worst
from finetune.tasks.options import Classify

TASK = Classify().build(Labels(kind="class", names=("a", "b")), [])


def seen(right: np.ndarray) -> Seen:
    """Answers of which those in `right` are right."""
    target = np.arange(len(right)) // 2 % 2
    given = np.where(right, target, 1 - target)
    return Seen(answer=np.where(given[:, None] == np.arange(2), 0.8, 0.2), target=target)


def test_a_slice_has_the_figures_of_its_examples_alone_with_groups_drawn_whole():
    part = seen(np.random.default_rng(0).random(60) < 0.8)
    groups = [f"g{n // 3}" for n in range(60)]
    part = Seen(answer=part.answer, target=part.target, groups=groups)
    sites = ["north"] * 40 + ["south"] * 20
    found = slices(TASK, part, {"site": sites})
    assert [(one["value"], one["n"], one["units"]) for one in found] == [("north", 40, 14), ("south", 20, 7)]
    assert found[1]["metrics"] == measure(TASK, part.answer[40:], part.target[40:], groups=groups[40:])


def test_a_column_of_one_value_divides_nothing():
    assert slices(TASK, seen(np.ones(20, bool)), {"site": ["x"] * 20}) == []


def test_the_worst_slice_is_large_and_bad_and_not_small_and_unlucky():
    right = np.r_[np.zeros(3, bool), np.tile([True, False], 30), np.tile([True] * 9 + [False], 6)]
    sites = ["tiny"] * 3 + ["bad"] * 60 + ["good"] * 60
    found = slices(TASK, seen(right), {"site": sites})
    told = worst(found, "accuracy")
    assert (told["value"], told["n"], told["figure"]["value"]) == ("bad", 60, 0.5)
    assert {one["value"]: one["metrics"]["accuracy"]["value"] for one in found}["tiny"] == 0
    loss = worst(found, "log_loss")
    assert loss["value"] == "bad", "of a loss the low end is the good one"
    assert worst([one for one in found if one["n"] < FEWEST], "accuracy") is None
    assert worst(found, "accuracy", 0.5) is None, "no slice is worse than the whole"
    assert worst(found, "accuracy", 0.7)["value"] == "bad"


def test_of_equal_slices_the_one_that_is_surely_worse_is_named():
    right = np.r_[np.tile([True, True, False], 4), np.tile([True, True, False], 40)]
    found = slices(TASK, seen(right), {"site": ["few"] * 12 + ["many"] * 120})
    assert worst(found, "accuracy")["value"] == "many"


def test_numbers_fall_into_bands_at_their_quartiles_and_gaps_into_a_slice_of_their_own():
    ages = [*range(1, 101), None, float("nan")]
    found = banded(ages)
    assert found[-2:] == ["(none)", "(none)"] and len(found) == 102
    assert sorted(set(found[:100])) == ["1 to 25", "26 to 50", "51 to 75", "76 to 100"]
    assert [found[:100].count(band) for band in sorted(set(found[:100]))] == [25] * 4
    assert banded([1, 2, 1, 2]) == ["1", "2", "1", "2"], "few numbers are names"
    assert len(set(banded(["7"] * 90 + [str(n) for n in range(10)]))) == 2, "quartiles that fall together are one"


def test_rare_values_are_one_slice_together():
    names = [name for n in range(30) for name in [f"site {n}"] * (30 - n)]
    found = banded(names)
    assert len(set(found)) == 21 and found.count("(others)") == sum(range(1, 11))


@pytest.mark.parametrize("values", [[None] * 5, [""] * 5])
def test_a_column_without_values_is_one_slice(values):
    assert set(banded(values)) == {"(none)"}
