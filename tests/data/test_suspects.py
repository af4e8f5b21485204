"""The label audit finds answers that the others contradict, and leaves hard ones alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.labels import Labels
from finetune.data.suspects import FEWEST, contradicted, find_suspects, unlikely
from finetune.tasks.options import Classify
from finetune.training.audit import held_out_answers

NAMES = ("ant", "bee", "cat")


def sure(labels, count=3, own=0.9):
    """Probabilities of a good model for these true labels."""
    out = np.full((len(labels), count), (1 - own) / (count - 1))
    out[np.arange(len(labels)), labels] = own
    return out


def test_planted_wrong_labels_are_found_and_named_with_the_right_one():
    true = np.repeat([0, 1, 2], 20)
    given_labels = true.copy()
    given_labels[[3, 25]] = [2, 0]
    found = find_suspects("class", NAMES, sure(true), given_labels)
    assert {(s.row, s.given, s.suggested) for s in found} == {(3, "cat", "ant"), (25, "ant", "bee")}
    assert all(s.probability < 0.1 for s in found)


def test_right_labels_are_not_suspected():
    true = np.repeat([0, 1, 2], 20)
    assert find_suspects("class", NAMES, sure(true), true) == []


def test_the_surest_suspect_comes_first():
    true = np.repeat([0, 1], 20)
    probability = sure(true, 2)
    given_labels = true.copy()
    given_labels[[1, 2]] = 1
    probability[2] = [0.999, 0.001]
    assert [s.row for s in find_suspects("class", NAMES[:2], probability, given_labels)] == [2, 1]


def test_a_class_that_is_hard_to_tell_is_not_suspected_as_a_whole():
    true = np.repeat([0, 1], 30)
    probability = sure(true, 2, own=0.95)
    probability[30:] = [0.55, 0.45]  # the model leans the wrong way for each of them, and never with confidence
    assert (contradicted(probability, true) == -1).all()


def test_nothing_is_said_of_classes_with_next_to_no_examples():
    given_labels = np.array([0] * 20 + [1] * (FEWEST - 1))
    assert find_suspects("class", NAMES[:2], sure(np.zeros(len(given_labels), int), 2), given_labels) == []


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 60))
def test_a_suggestion_is_another_class_and_likelier_than_the_given_one(seed, count, size):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(count), size)
    given_labels = rng.integers(0, count, size)
    found = contradicted(probability, given_labels)
    rows = np.flatnonzero(found >= 0)
    assert (found[rows] != given_labels[rows]).all()
    assert (probability[rows, found[rows]] > probability[rows, given_labels[rows]]).all()


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_label_too_many_or_too_few_is_found_among_several(wrong):
    marks = np.zeros((40, 2), np.float32)
    marks[:20, 0] = 1
    marks[10:30, 1] = 1
    answer = np.where(marks == 1, 0.95, 0.05)
    row = 5 if wrong == 0 else 35
    marks[row, 0] = wrong
    (found,) = find_suspects("labels", ("rain", "snow"), answer, marks)
    words = ("not rain", "rain")
    assert (found.row, found.given, found.suggested) == (row, words[wrong], words[1 - wrong])


def test_a_number_far_from_what_is_predicted_is_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=(200, 1)) * 3
    numbers = predicted[:, 0] + rng.normal(size=200)
    numbers[7] += 30
    assert [s.row for s in find_suspects("number", (), predicted, numbers)] == [7]


def test_numbers_that_are_mostly_the_same_are_not_all_suspects():
    rng = np.random.default_rng(0)
    numbers = np.where(rng.random(300) < 0.7, 0.0, rng.normal(size=300))
    found = find_suspects("number", (), np.zeros((300, 1)), numbers)
    assert len(found) < 15


def test_numbers_that_are_met_exactly_raise_nothing():
    numbers = np.arange(50.0)
    assert find_suspects("number", (), numbers[:, None], numbers) == []


@pytest.mark.parametrize("seed", range(2))
def test_the_two_rounds_find_most_planted_labels_of_classes_that_can_be_told(seed):
    rng = np.random.default_rng(seed)
    true = np.repeat([0, 1], 60)
    features = (rng.normal(size=(120, 16)) + 1.2 * true[:, None]).astype(np.float32)
    given_labels = true.copy()
    planted = rng.choice(120, 6, replace=False)
    given_labels[planted] = 1 - given_labels[planted]
    task = Classify().build(Labels(kind="class", names=NAMES[:2]), [])
    answer = held_out_answers(
        features, given_labels, task, unlikely=lambda answer: unlikely("class", answer, given_labels)
    )
    found = {suspect.row for suspect in find_suspects("class", NAMES[:2], answer, given_labels)}
    assert len(found & set(planted.tolist())) >= 4
    assert len(found - set(planted.tolist())) <= 3


def test_an_audit_says_so_where_no_example_can_be_held_out():
    task = Classify().build(Labels(kind="class", names=NAMES[:2]), [])
    features = np.eye(3, 4, dtype=np.float32)
    never = lambda answer: np.zeros(3, bool)  # noqa: E731
    assert held_out_answers(features, np.array([0, 0, 1]), task, unlikely=never) is None
