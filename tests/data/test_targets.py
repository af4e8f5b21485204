import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.targets import parse_targets
from finetune.errors import ConfigError, DataError


def test_two_values_are_a_class_even_if_they_are_numbers():
    assert parse_targets(["0", "1", "0"])[:2] == ("class", ["0", "1", "0"])
    assert parse_targets(["0.5", "1.5"]).kind == "class"


def test_fractions_and_many_whole_numbers_are_a_number_and_that_is_said():
    for cells in (["0.5", "1", "2"], [str(n) for n in range(30)]):
        found = parse_targets(cells)
        assert found.kind == "number" and "Say --task classify if" in found.notes[0]


def test_few_whole_numbers_are_a_class_whose_names_have_no_point():
    assert parse_targets(["3.0", "1.0", "2.0"]).values == ["3", "1", "2"]


def test_leading_zeros_of_a_class_stay():
    assert parse_targets(["007", "008", "009"], kind="class").values == ["007", "008", "009"]


def test_a_bar_separates_labels_and_that_is_said():
    found = parse_targets(["cat|dog", "", "dog"])
    assert (found.kind, found.delimiter, found.values) == ("labels", "|", [("cat", "dog"), (), ("dog",)])
    assert "separates" in found.notes[0]


def test_a_comma_separates_labels_only_when_labels_were_asked_for():
    assert parse_targets(["a, b", "c"]).kind == "class"
    assert parse_targets(["a, b", "c"], kind="labels").values == [("a", "b"), ("c",)]


def test_folder_names_are_names_whatever_they_look_like():
    found = parse_targets([str(n) for n in range(40)] + ["a|b"], folders=True)
    assert found.kind == "class" and "a|b" in found.values


@pytest.mark.parametrize("kind", ["auto", "number", "class"])
def test_empty_targets_are_named_by_row(kind):
    with pytest.raises(DataError, match=r"2 of 4 .* row 2, 4"):
        parse_targets(["1", "", "2", " "], kind=kind)


def test_a_number_where_a_class_was_asked_is_refused():
    with pytest.raises(DataError, match="use --task regress"):
        parse_targets([f"{n}.5" for n in range(30)], kind="class")


def test_a_name_where_a_number_was_asked_is_refused():
    with pytest.raises(DataError, match="1 of 2 targets are no numbers: 'cat'"):
        parse_targets(["cat", "2"], kind="number")


def test_one_answer_and_a_delimiter_contradict_each_other():
    with pytest.raises(ConfigError, match="one answer"):
        parse_targets(["a|b"], kind="class", delimiter="|")


@given(st.lists(st.text(max_size=6), min_size=1), st.sampled_from(["auto", "class", "labels", "number"]))
def test_any_cells_are_understood_or_refused_in_words(cells, kind):
    try:
        assert len(parse_targets(cells, kind=kind).values) == len(cells)
    except DataError as error:
        assert "Expected" in str(error)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_survive_their_text(numbers):
    assert parse_targets([repr(n) for n in numbers], kind="number").values == numbers
