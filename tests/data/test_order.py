"""What came first trains, what came later is measured; neighbours are cut and not drawn."""

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.examples import Examples
from finetune.data.leaks import find_leaks
from finetune.data.options import Data
from finetune.data.order import LEFT_OUT, beyond_gap, by_time, leave_gap, moments, stretches_of
from finetune.data.splits import split_examples
from finetune.errors import ConfigError, DataError
from finetune.types import PARTS

quick = settings(max_examples=60, deadline=None)


def make(targets, *, groups=None, split=None, kind="class", **columns):
    count = len(targets)
    table = pd.DataFrame(
        {
            "id": [f"{n}.jpg" for n in range(count)],
            "source": [f"/{n}.jpg" for n in range(count)],
            "target": pd.Series(targets, dtype="float64" if kind == "number" else "object"),
            "group": pd.Series(groups or [None] * count, dtype="object"),
            "split": pd.Series(split or [None] * count, dtype="object"),
            **columns,
        }
    )
    return Examples(table=table, kind=kind)


@dataclass(frozen=True)
class Alike:
    first: int
    second: int
    kind: str = "copy"
    how: str = ""
    correlation: float = 1.0


def frames(count, **more):
    return make([float(n % 7) for n in range(count)], kind="number", **more)


@pytest.mark.parametrize(
    "values",
    [
        ["3", "10", "-2.5", "3.0"],
        [3, 10, -2.5, 3.0],
        ["2024-01-31", "2024-02-01", "2023-12-31", "2024-01-31T00:00:00"],
        ["2024-01-31 21:59:37.712", "2024-01-31 21:59:37.819", "2024-01-31", "2024-01-31 21:59:37.712"],
        ["2024-01-31T12:00:00+02:00", "2024-01-31T12:00:00+00:00", "2024-01-31", "2024-01-31T10:00:00Z"],
        ["31.01.2024", "01.02.2024", "30.01.2024", "31.01.2024"],
        ["31/1/2024", "1/2/2024", "30/1/2024", "31/1/2024"],
        ["Jan 31, 2024", "Feb 1, 2024", "Jan 30, 2024", "Jan 31, 2024"],
        [date(2024, 1, 31), date(2024, 2, 1), date(2024, 1, 30), date(2024, 1, 31)],
        list(pd.to_datetime(["2024-01-31", "2024-02-01", "2024-01-30", "2024-01-31"])),
        ["1706738377712000001", "1706738377712000002", "1706738377712000000", "1706738377712000001"],
    ],
)
def test_numbers_and_dates_in_any_usual_form_are_ordered(values):
    assert list(moments(frames(4, when=values), "when")) == [1, 2, 0, 1]


@given(st.lists(st.datetimes() | st.dates(), min_size=1, max_size=30))
def test_iso_dates_are_ordered_as_python_orders_them(values):
    def key(value):
        return value.isoformat() if "T" in value.isoformat() else f"{value.isoformat()}T00:00:00"

    possible = [value for value in values if 1700 < value.year < 2200] or [date(2024, 1, 1)]
    texts = [value.isoformat() for value in possible]
    places = moments(frames(len(texts), when=texts), "when")
    full = [np.datetime64(key(value)) for value in possible]
    assert [[a < b for b in full] for a in full] == [[a < b for b in places] for a in places]


@pytest.mark.parametrize("bad", ["soon", "", "2024-13-45", "nan"])
@pytest.mark.parametrize("good", [["1", "2", "3"], ["2024-01-01", "2024-01-02", "2024-01-03"]])
@pytest.mark.parametrize("place", [0, 3])
def test_a_value_that_cannot_be_ordered_is_named_with_its_picture(bad, good, place):
    values = [*good[:place], bad, *good[place:]]
    with pytest.raises(DataError, match=rf"1 of 4 values of the column 'when' cannot be ordered: {place}.jpg: '{bad}'"):
        moments(frames(4, when=values), "when")


def test_dates_whose_day_could_be_the_month_are_refused_where_it_matters():
    with pytest.raises(DataError, match="day or with the month first"):
        moments(frames(2, when=["1/2/2024", "2/1/2024"]), "when")
    assert list(moments(frames(2, when=["1/1/2024", "2/2/2024"]), "when")) == [0, 1]


def test_a_column_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r'no column "taken".*Did you mean "taken_on"'):
        moments(frames(3, taken_on=["1", "2", "3"]), "taken")
    assert list(moments(frames(3), "row")) == [0, 1, 2]
    assert list(moments(frames(3, row=["2", "1", "0"]), "row")) == [2, 1, 0], "a column of that name comes first"
    assert list(moments(frames(3, id_=["2", "1", "0"]), "id")) == [2, 1, 0], "the source's own column of the name id"


@pytest.mark.parametrize("words", [
    {"stretches": 4}, {"gap": 2}, {"order": "row", "stretches": 1}, {"order": "row", "gap": -1}, {"folds": 1},
    {"folds": 3, "order": "row"}, {"folds": 3, "test": 0.3}, {"folds": 3, "validation": 0.3},
])  # fmt: skip
def test_options_that_contradict_each_other_are_refused_before_anything_is_read(words):
    with pytest.raises(ConfigError):
        Data(source="nowhere", **words)


timed = st.lists(st.integers(0, 30), min_size=6, max_size=60).filter(lambda values: len(set(values)) >= 3)


@quick
@given(timed, st.sampled_from([(0.15, 0.15), (0.3, 0.3), (0.2, 0.0)]), st.data())
def test_later_parts_are_later_moments_stay_whole_and_every_part_has_some(values, wanted, data):
    order = data.draw(st.permutations(range(len(values))))
    examples = frames(len(values), when=values)
    part = split_examples(examples, validation=wanted[0], test=wanted[1], order="when").part
    asked = [name for name, share in zip(PARTS, (1, *wanted), strict=True) if share]
    assert set(part) == set(asked)
    for before, after in pairwise(asked):
        assert max(np.array(values)[part == before]) < min(np.array(values)[part == after])
    again = split_examples(examples.take(order), validation=wanted[0], test=wanted[1], order="when", seed=1)
    assert list(again.part) == list(part[order]), "neither the order of rows nor the seed matters"


def test_shares_by_time_are_those_asked_for():
    part = split_examples(frames(200), validation=0.1, test=0.3, order="row").part
    assert list(part) == ["train"] * 120 + ["validation"] * 20 + ["test"] * 60


@quick
@given(timed, st.data())
def test_a_group_counts_at_its_latest_moment_and_stays_together(values, data):
    groups = data.draw(st.lists(st.sampled_from(["a", "b", None, None]), min_size=len(values), max_size=len(values)))
    latest = [max(v for v, g in zip(values, groups, strict=True) if g == own) if own else at
              for at, own in zip(values, groups, strict=True)]  # fmt: skip
    if len(set(latest)) < 3:
        return
    examples = frames(len(values), groups=groups, when=values)
    part = split_examples(examples, order="when").part
    for before, after in pairwise(PARTS):
        assert max(np.array(latest)[part == before]) < min(np.array(latest)[part == after])


def test_too_few_moments_for_the_parts_are_refused():
    with pytest.raises(DataError, match="2 distinct moments for 3 parts"):
        split_examples(frames(6, when=[1, 1, 1, 2, 2, 2]), order="when")


def test_a_given_test_part_stays_and_validation_is_the_latest_of_train():
    split = ["test"] * 10 + ["train"] * 40
    splits = split_examples(frames(50, split=split), order="row", validation=0.25, carve=False)
    assert list(splits.part) == ["test"] * 10 + ["train"] * 30 + ["validation"] * 10 and splits.refit
    with pytest.raises(ConfigError, match="nothing to divide by order"):
        split_examples(frames(50, split=["train"] * 40 + ["validation"] * 10), order="row")


@quick
@given(st.integers(30, 90), st.integers(3, 9), st.integers(0, 2), st.integers(0, 3), st.data())
def test_stretches_are_neighbours_on_one_side_and_the_gap_is_free(count, stretches, gap, seed, data):
    cut = data.draw(st.integers(0, count))
    groups = data.draw(st.sampled_from([None, ["a"] * cut + ["b"] * (count - cut)]))
    examples = frames(count, groups=groups)
    try:
        splits = split_examples(examples, order="row", stretches=stretches, seed=seed)
    except DataError as error:
        assert "too few stretches" in str(error) and stretches < 6
        return
    names = np.array(splits.units)
    assert set(splits.part) == set(PARTS)
    for name in set(names):
        rows = np.flatnonzero(names == name)
        assert len(set(splits.part[rows])) == 1 and list(rows) == list(range(rows[0], rows[-1] + 1))
        assert groups is None or len({groups[row] for row in rows}) == 1
    try:
        kept = leave_gap(np.searchsorted(sorted(PARTS), splits.part), [np.arange(count)], gap)
    except DataError as error:
        assert "leaves nothing" in str(error) and gap
        return
    for row in range(count - 1):
        near = {part for part in kept[row : row + 2 * gap + 1] if part != LEFT_OUT}
        assert len(near) <= 1 or gap == 0


def test_neighbours_across_a_border_are_left_out_and_counted():
    splits = split_examples(frames(300), order="row", stretches=20, gap=3)
    borders = [row for row in range(1, 300) if (splits.units[row] != splits.units[row - 1])]
    whole = split_examples(frames(300), order="row", stretches=20)
    assert sizes_of_units(whole) == {15}
    crossing = [row for row in borders if whole.part[row] != whole.part[row - 1]]
    out = {row for border in crossing for row in range(border - 3, border + 3)}
    assert set(np.flatnonzero(splits.part == "")) == out and out
    assert any(note.startswith(f"{len(out)} examples within 3 of a border") for note in splits.notes)
    for part, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert abs((whole.part == part).mean() - share) <= 15 / 300 + 1e-9


def sizes_of_units(splits):
    return set(pd.Series(splits.units).value_counts())


def test_stretches_are_stratified_as_far_as_they_allow():
    targets = [("turn" if (n // 15) % 4 == 0 else "straight") for n in range(600)]
    splits = split_examples(make(targets), order="row", stretches=40, validation=0.2, test=0.2)
    turns = np.array(targets) == "turn"
    for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert abs((splits.part[turns] == part).mean() - share) <= 0.1


def test_cameras_of_one_moment_stay_in_one_stretch():
    moment = np.repeat(np.arange(20), 3)
    names, _ = stretches_of(moment, [None] * 60, [str(n) for n in range(60)], 7)
    assert all(len({names[row] for row in np.flatnonzero(moment == at)}) == 1 for at in range(20))


def test_a_gap_that_leaves_nothing_of_a_part_is_refused():
    with pytest.raises(DataError, match="leaves nothing of a part"):
        split_examples(frames(60), order="row", stretches=20, gap=3)
    with pytest.raises(DataError, match="leaves nothing of a part"):
        by_time(np.arange(20), [None] * 20, [str(n) for n in range(20)], [0.7, 0.15, 0.15], gap=3)


def test_copies_in_two_stretches_join_them():
    clusters = np.arange(100)
    clusters[95] = 5
    splits = split_examples(frames(100), order="row", stretches=10, clusters=clusters)
    assert splits.units[5] == splits.units[95] and splits.part[5] == splits.part[95]


@quick
@given(st.integers(60, 120), st.integers(1, 3), st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=2))
def test_frames_that_look_like_the_next_do_not_join_the_stretches_and_do_not_leak(count, gap, far):
    pairs = [Alike(n, n + 1) for n in range(count - 1)] + [Alike(*sorted(two)) for two in far if two[0] != two[1]]
    examples = frames(count)
    left = beyond_gap(examples, pairs, order="row", gap=gap)
    assert left == [pair for pair in pairs if pair.second - pair.first > gap]
    clusters = np.arange(count)
    for pair in left:
        clusters[clusters == clusters[pair.second]] = clusters[pair.first]
    splits = split_examples(examples, order="row", stretches=6, gap=gap, clusters=clusters, test=0.0, validation=0.3)
    assert not find_leaks(examples, splits.part, pairs)
    assert set(splits.part) == {"train", "validation", ""}


def test_alike_frames_of_two_drives_are_never_neighbours():
    pairs = [Alike(4, 5), Alike(3, 4)]
    examples = frames(10, groups=["a"] * 5 + ["b"] * 5)
    assert beyond_gap(examples, pairs, order="row", gap=2) == [Alike(4, 5)]


@quick
@given(st.integers(20, 40), st.integers(0, 5), st.sampled_from([(0.15, 0.15), (0.3, 0.1), (0.2, 0.0)]))
def test_stretches_keep_the_shares_within_one_of_them(stretches, seed, wanted):
    examples = frames(stretches * 10)
    part = split_examples(
        examples, order="row", stretches=stretches, seed=seed, validation=wanted[0], test=wanted[1]
    ).part
    for name, share in zip(PARTS, (1 - sum(wanted), *wanted), strict=True):
        assert abs((part == name).sum() - share * len(part)) <= 10 + 1e-9
