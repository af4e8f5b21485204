import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.labels import Labels, natural_key
from finetune.errors import DataError


def test_names_are_sorted_as_a_person_would():
    assert Labels.from_targets("class", ["img10", "img2", "Img1"]).names == ("Img1", "img2", "img10")


@given(st.lists(st.text(max_size=8), max_size=20))
def test_any_texts_can_be_sorted_and_only_equal_ones_are_equal(texts):
    assert sorted(sorted(set(texts), reverse=True), key=natural_key) == sorted(set(texts), key=natural_key)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1))
def test_encoding_a_class_is_undone_by_its_name(targets):
    labels = Labels.from_targets("class", targets)
    codes = labels.encode(targets)
    assert codes.dtype == np.int64
    assert [labels.names[code] for code in codes] == targets


def test_labels_become_a_row_of_zeros_and_ones():
    labels = Labels.from_targets("labels", [("cat", "dog"), ()])
    assert labels.num_outputs == 2
    np.testing.assert_array_equal(labels.encode([("dog",), (), ("cat", "dog")]), [[0, 1], [0, 0], [1, 1]])


def test_numbers_stay_in_their_units_and_remember_their_spread():
    labels = Labels.from_targets("number", [1.0, 3.0])
    assert (labels.num_outputs, labels.center, labels.scale) == (1, 2.0, 1.0)
    np.testing.assert_array_equal(labels.encode([5.0]), np.array([5.0], np.float32))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_the_scale_of_a_constant_is_never_zero_nor_noise(value):
    assert Labels.from_targets("number", [value] * 7).scale == 1.0


def test_an_unknown_name_is_listed_with_its_nearest():
    with pytest.raises(DataError, match=r'doog.*Did you mean "dog"'):
        Labels.from_targets("class", ["cat", "dog"]).encode(["doog"])


@pytest.mark.parametrize("kind, targets", [("class", ["a", "b"]), ("labels", [("a",)]), ("number", [1.0, 2.5])])
def test_json_brings_the_same_labels_back(kind, targets):
    labels = Labels.from_targets(kind, targets)
    assert Labels.from_dict(json.loads(json.dumps(labels.to_dict()))) == labels


def test_unknown_names_are_counted_in_plain_words():
    labels = Labels(kind="class", names=("cat", "dog"))
    with pytest.raises(DataError, match="1 class is not known"):
        labels.encode(["cow", "dog"])
    with pytest.raises(DataError, match="2 classes are not known"):
        labels.encode(["cow", "hen"])
    with pytest.raises(DataError, match="2 labels are not known"):
        Labels(kind="labels", names=("cat", "dog")).encode([("cow", "hen"), ("cat",)])


@pytest.mark.parametrize(
    ("kind", "names", "words"),
    [
        ("class", ("cat", "dog"), "2 classes (cat, dog)"),
        ("labels", tuple("abcdefg"), "7 labels, several at once (a, b, c, d, e and 2 more)"),
        ("number", (), "a number"),
    ],
)
def test_a_target_is_said_in_words(kind, names, words):
    assert str(Labels(kind=kind, names=names)) == words
