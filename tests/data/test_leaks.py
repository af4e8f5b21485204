"""What leaks from one part to another is found, listed and refused, or said first."""

import csv
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.leaks import find_leaks, refuse
from finetune.errors import DataError
from tests.data.test_splits import make


@dataclass(frozen=True)
class Pair:
    first: int
    second: int
    kind: str = "exact"
    how: str = ""
    correlation: float = 1.0


def parts(letters):
    return np.array([{"t": "train", "v": "validation", "e": "test", "-": ""}[letter] for letter in letters])


def test_pairs_and_torn_groups_across_parts_are_leaks_and_others_are_not():
    examples = make(["a"] * 6, groups=["p", "p", None, None, "q", "q"])
    pairs = [Pair(0, 2), Pair(3, 2, "near", "mirrored", 0.984), Pair(4, 5), Pair(2, 5, "near")]
    leaks = find_leaks(examples, parts("tvvett"), pairs)
    assert [(leak.rows, leak.why) for leak in leaks] == [
        ((0, 1), "same group p"),
        ((0, 2), "exact copy"),
        ((2, 3), "copy: mirrored, 0.98"),
        ((2, 5), "copy: the same picture, 1.00"),
    ]
    assert str(leaks[0]) == "f/0.jpg (train) and f/1.jpg (validation): same group p"


def test_what_is_in_no_part_tells_nobody_anything():
    examples = make(["a"] * 3, groups=["p", "p", "p"])
    assert not find_leaks(examples, parts("t-t"), [Pair(0, 1), Pair(1, 2)])


def test_groups_that_are_meant_to_be_cut_are_no_leak():
    assert not find_leaks(make(["a"] * 2, groups=["p", "p"]), parts("te"), [], groups=False)


@given(st.lists(st.tuples(st.sampled_from("tve-"), st.sampled_from(["p", "q", None])), min_size=1, max_size=20))
def test_there_is_a_leak_exactly_where_a_group_is_in_two_parts(rows):
    part, groups = parts([letter for letter, _ in rows]), [group for _, group in rows]
    leaks = find_leaks(make(["a"] * len(rows), groups=groups), part, [])
    torn = {g for g in "pq" if len({p for p, own in zip(part, groups, strict=True) if own == g and p}) > 1}
    assert {groups[leak.rows[0]] for leak in leaks} == torn
    assert all(leak.parts[0] != leak.parts[1] for leak in leaks)


def torn(count):
    examples = make(["a"] * (2 * count), groups=[f"g{n // 2}" for n in range(2 * count)])
    return find_leaks(examples, parts("te" * count), [])


def test_a_refusal_names_the_first_hundred_a_line_each_and_a_file_with_all(tmp_path):
    with pytest.raises(DataError) as error:
        refuse(torn(130), allow=False, folder=tmp_path / "run")
    lines = str(error.value).splitlines()
    assert "130 pairs" in lines[0]
    assert lines[1:101] == [
        f"  f/{2 * n}.jpg (train) and f/{2 * n + 1}.jpg (test): same group g{n}" for n in range(100)
    ]
    assert lines[101] == "  and 30 more"
    assert lines[102] == f"All of them are in {tmp_path / 'run.leaks.csv'}."
    with (tmp_path / "run.leaks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 130
    assert rows[0] == {"first": "f/0.jpg", "first_part": "train", "second": "f/1.jpg", "second_part": "test",
                       "why": "same group g0"}  # fmt: skip


def test_a_file_that_cannot_be_written_takes_nothing_from_the_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="same group g0") as error:
        refuse(torn(2), allow=False, folder=tmp_path / "file" / "run")
    assert "leaks.csv" not in str(error.value)


def test_allowed_leaks_are_counted_in_the_first_note_and_listed_in_the_run(tmp_path):
    notes = refuse(torn(7), allow=True, folder=tmp_path)
    assert notes[0].startswith("7 pairs") and "allow_leaks" in notes[0]
    assert len((tmp_path / "leaks.csv").read_text().splitlines()) == 8
    assert refuse([], allow=True, folder=tmp_path) == refuse([], allow=False, folder=tmp_path) == ()
