import numpy as np
import pytest

from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.errors import ConfigError, DataError

from .pictures import tree


def test_pairs_and_two_lists_read_alike(tmp_path):
    tree(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    paths, names = [tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg"], ["x", "y", "x"]
    pairs = read_examples(Data(source=list(zip(paths, names, strict=True))))
    lists = read_examples(Data(source=(paths, np.array(names))))
    assert pairs.table.equals(lists.table) and pairs.targets == names


def test_two_pairs_are_two_examples(tmp_path):
    tree(tmp_path, ["a.jpg", "b.jpg"])
    pairs = [(str(tmp_path / "a.jpg"), "x"), (str(tmp_path / "b.jpg"), "y")]
    assert read_examples(Data(source=pairs)).targets == ["x", "y"]


@pytest.mark.parametrize("pictures", [np.zeros((4, 8, 8), np.uint8), [np.zeros((8, 9, 3), np.uint8)] * 4])
def test_arrays_stay_in_memory_and_follow_their_rows(pictures):
    examples = read_examples(Data(source=(pictures, [3, 1, 2, 1])))
    assert list(examples.table["source"]) == ["array:0", "array:1", "array:2", "array:3"]
    assert list(examples.take([2, 0]).table["source"]) == ["array:2", "array:0"]
    assert examples.take([2, 0]).targets == ["2", "3"]
    assert len(examples.take([2, 0]).pictures()) == 2


def test_lists_of_names_are_labels():
    examples = read_examples(Data(source=(np.zeros((2, 8, 8), np.uint8), [["a", "b"], []])))
    assert examples.kind == "labels" and examples.targets == [("a", "b"), ()]


@pytest.mark.parametrize(
    "source, error, message",
    [
        (([np.zeros((4, 4))], [1, 2]), DataError, "1 pictures but 2 targets"),
        (([], []), DataError, "no examples"),
        (([np.zeros(4), np.zeros(4)], [1, 2]), DataError, r"Picture 0 .*shape \(4,\)"),
        (([object()], [1]), DataError, "Got object"),
        (42, ConfigError, "type int cannot be read"),
    ],
)
def test_other_values_are_refused_in_words(source, error, message):
    with pytest.raises(error, match=message):
        read_examples(Data(source=source))


def test_columns_cannot_be_named_where_there_are_none():
    with pytest.raises(ConfigError, match="group name columns"):
        read_examples(Data(source=(np.zeros((2, 8, 8)), [0, 1]), group="patient"))
