"""A recorded split holds for the examples it was recorded of, and new ones join it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.folding import fold_examples
from finetune.data.recorded import keep_recorded, recorded_beside
from finetune.data.splits import read_splits, split_examples, write_splits
from tests.data.test_splits import by_class, given_parts, make


def written(tmp_path, examples, splits):
    write_splits(tmp_path / "splits.csv", examples, splits)
    return read_splits(tmp_path / "splits.csv")


@settings(deadline=None, max_examples=40)
@given(st.integers(8, 40), st.integers(0, 10), st.integers(0, 3), st.booleans(), st.data())
def test_known_examples_keep_their_place_and_new_ones_follow_their_group(
    tmp_path_factory, known, new, seed, folds, data
):
    group = st.none() | st.sampled_from("pqrs")
    groups = data.draw(st.lists(group, min_size=known + new, max_size=known + new))
    examples = make([float(n % 5) for n in range(known + new)], "number", groups)
    before = examples.take(range(known))

    def divide(some, seed):
        return fold_examples(some, 2, seed=seed) if folds else split_examples(some, seed=seed)

    first = divide(before, seed)
    recorded = written(tmp_path_factory.mktemp("run"), before, first)
    splits = keep_recorded(examples, divide(examples, seed + 1), recorded)
    old, now = (first.fold, splits.fold) if folds else (first.part, splits.part)
    assert list(now[:known]) == list(old)
    for row in range(known, known + new):
        same = {now[other] for other in range(known) if groups[other] is not None and groups[other] == groups[row]}
        assert not same or same == {now[row]}
    if new and list(divide(examples, seed + 1).part) != list(splits.part):
        assert f"{new} examples are new" in splits.notes[0]


def test_a_record_of_something_else_changes_nothing(tmp_path):
    examples = make(by_class([10, 10]))
    fresh, folds = split_examples(examples), fold_examples(examples, 3)
    of_splits = written(tmp_path, examples, split_examples(examples, seed=1))
    of_folds = written(tmp_path, examples, fold_examples(examples, 4, seed=1))
    others = of_splits.assign(source=[f"other/{n}" for n in range(20)])
    for mine, recorded in ((fresh, of_folds), (folds, of_splits), (folds, of_folds), (fresh, others)):
        assert keep_recorded(examples, mine, recorded) is mine
    assert list(keep_recorded(examples, fresh, of_splits).part) == list(of_splits["split"]) != list(fresh.part)


def test_parts_that_the_source_gives_go_before_a_record(tmp_path):
    recorded = written(tmp_path, make(["a", "b"] * 10), split_examples(make(["a", "b"] * 10)))
    given_now = make(["a", "b"] * 10, split=given_parts({"test": 10, "train": 10}))
    fresh = split_examples(given_now)
    assert keep_recorded(given_now, fresh, recorded) is fresh


def test_what_was_carved_from_train_is_the_same_again(tmp_path):
    examples = make(["a", "b"] * 20, split=given_parts({"train": 30, "test": 10}))
    recorded = written(tmp_path, examples, split_examples(examples, seed=3))
    splits = keep_recorded(examples, split_examples(examples, seed=4), recorded)
    assert list(splits.part) == list(recorded["split"]) and splits.refit


def test_a_fold_of_a_run_leaves_the_test_part_out_again_and_fits_once(tmp_path):
    examples = make(["a", "b"] * 20, split=given_parts({"train": 30, "test": 10}))
    fold = fold_examples(examples, 3, seed=3).holding_out(2)
    splits = keep_recorded(examples, split_examples(examples), written(tmp_path, examples, fold))
    assert list(splits.part) == list(fold.part) and not splits.refit


@pytest.mark.parametrize("given_as", ["folder", "file"])
def test_a_record_lies_beside_the_recipe_or_there_is_none(tmp_path, given_as):
    recipe = tmp_path / "recipe.json" if given_as == "file" else tmp_path
    (tmp_path / "recipe.json").write_text("{}")
    assert recorded_beside(recipe) is None
    examples = make(["a", "b"] * 10)
    splits = split_examples(examples)
    write_splits(tmp_path / "splits.csv", examples, splits)
    found = recorded_beside(recipe)
    assert isinstance(found, pd.DataFrame) and np.array_equal(found["split"], splits.part)
