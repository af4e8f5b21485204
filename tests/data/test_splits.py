import hashlib
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data.examples import Examples, read_examples
from finetune.data.folding import fold_examples
from finetune.data.options import Data
from finetune.data.splits import read_splits, split_examples, write_splits
from finetune.errors import ConfigError, DataError
from finetune.types import PARTS

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def make(targets, kind="class", groups=None, split=None):
    count = len(targets)
    table = pd.DataFrame(
        {
            "id": [f"f/{n}.jpg" for n in range(count)],
            "source": [f"/f/{n}.jpg" for n in range(count)],
            "target": pd.Series(targets, dtype="float64" if kind == "number" else "object"),
            "group": pd.Series(groups or [None] * count, dtype="object"),
            "split": pd.Series(split or [None] * count, dtype="object"),
        }
    )
    return Examples(table=table, kind=kind)


def by_class(sizes):
    return [f"c{n}" for n, size in enumerate(sizes) for _ in range(size)]


sizes = st.lists(st.integers(2, 40), min_size=2, max_size=8)
shares = st.sampled_from([(0.15, 0.15), (0.1, 0.3), (0.2, 0.0), (0.33, 0.33), (0.05, 0.05)])


@st.composite
def sources(draw):
    """Examples of any kind, with or without groups."""
    kind = draw(st.sampled_from(["class", "labels", "number"]))
    if kind == "class":
        targets = by_class(draw(sizes))
    elif kind == "labels":
        targets = draw(
            st.lists(st.sets(st.sampled_from("abcde")).map(lambda s: tuple(sorted(s))), min_size=4, max_size=60)
        )
    else:
        targets = draw(st.lists(st.integers(0, 5).map(float), min_size=4, max_size=60))
    group = st.one_of(st.none(), st.integers(0, 8).map(str))
    groups = draw(st.none() | st.lists(group, min_size=len(targets), max_size=len(targets)))
    return make(targets, kind, groups)


@quick
@given(sources(), shares, st.integers(0, 5))
def test_every_example_has_one_part_and_no_group_crosses(examples, wanted, seed):
    splits = split_examples(examples, validation=wanted[0], test=wanted[1], seed=seed)
    together = np.concatenate([splits.indices(part) for part in PARTS])
    assert sorted(together) == list(range(len(examples)))
    assert len(splits.indices("train")) > 0
    sides = pd.DataFrame({"group": examples.table["group"], "part": splits.part}).dropna()
    assert (sides.groupby("group")["part"].nunique() <= 1).all()


@quick
@given(sources(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_and_the_seed_decides(examples, seed, random):
    order = list(range(len(examples)))
    random.shuffle(order)
    first, again = split_examples(examples, seed=seed), split_examples(examples, seed=seed)
    shuffled = split_examples(examples.take(order), seed=seed)
    assert list(first.part) == list(again.part)
    assert dict(zip(first.ids, first.part, strict=True)) == dict(zip(shuffled.ids, shuffled.part, strict=True))
    assert first.fingerprint == shuffled.fingerprint


@quick
@given(sizes, shares, st.integers(0, 5))
def test_a_class_of_three_is_in_every_part_and_one_of_two_in_train_and_test(sizes, wanted, seed):
    examples = make(by_class(sizes))
    splits = split_examples(examples, validation=wanted[0], test=wanted[1], seed=seed)
    asked = {"train", "validation", "test"} if wanted[1] else {"train", "validation"}
    for name, size in enumerate(sizes):
        found = set(splits.part[np.array(examples.targets) == f"c{name}"])
        assert found == (asked if size >= len(asked) else {"train", "test"})


@quick
@given(st.lists(st.integers(20, 60), min_size=2, max_size=8), shares, st.integers(0, 5))
def test_shares_are_near_what_was_asked_in_all_and_in_each_class(sizes, wanted, seed):
    examples = make(by_class(sizes))
    part = split_examples(examples, validation=wanted[0], test=wanted[1], seed=seed).part
    total = Counter(part)
    for name, share in (("validation", wanted[0]), ("test", wanted[1])):
        assert abs(total[name] - share * len(part)) <= 2
        for number, size in enumerate(sizes):
            count = Counter(part[np.array(examples.targets) == f"c{number}"])[name]
            assert abs(count - share * size) <= 2


def test_groups_and_classes_are_respected_at_once():
    rng = np.random.default_rng(0)
    groups = [str(g) for g in rng.integers(0, 80, 600)]
    targets = [("rare" if int(g) % 8 == 0 else "common") for g in groups]
    part = split_examples(make(targets, groups=groups)).part
    rare = np.array(targets) == "rare"
    for name, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert abs((part == name).mean() - share) < 0.03
        assert abs((part[rare] == name).mean() - share) < 0.1


def test_a_class_of_three_groups_is_in_every_part_however_uneven_they_are():
    groups = ["a"] * 10 + ["b"] * 10 + ["c"] + [None] * 60
    targets = ["x"] * 21 + ["y"] * 60
    splits = split_examples(make(targets, groups=groups))
    assert set(splits.part[:21]) == set(PARTS)


def test_labels_that_come_together_are_spread_each():
    rng = np.random.default_rng(1)
    targets = [
        tuple(name for name, p in zip("abc", (0.5, 0.2, 0.03), strict=True) if rng.random() < p) for _ in range(800)
    ]
    part = split_examples(make(targets, "labels")).part
    for label in "abc":
        has = np.array([label in names for names in targets])
        assert abs((part[has] == "test").mean() - 0.15) < 0.06


def test_numbers_are_spread_by_quantile_even_when_most_are_equal():
    values = [0.0] * 200 + list(np.linspace(-1, 1, 100))
    part = split_examples(make(values, "number")).part
    spread = np.array(values)
    assert abs(spread[part == "test"].std() - spread.std()) < 0.08


def test_a_class_with_one_picture_is_refused_by_name():
    with pytest.raises(DataError, match="1 class has a single picture: c1"):
        split_examples(make(by_class([5, 1])))


def test_a_class_missing_in_a_part_is_noted_with_its_size():
    notes = split_examples(make(by_class([9, 2]))).notes
    assert any("validation part has no example of c1 (2)" in note for note in notes)


def given_parts(counts):
    return [part for part, count in counts.items() for _ in range(count)]


def test_given_parts_are_kept():
    split = given_parts({"train": 6, "validation": 2, "test": 2})
    splits = split_examples(make(["a", "b"] * 5, split=split))
    assert list(splits.part) == split and not splits.refit and not splits.notes


def test_no_test_part_is_noted_with_what_it_costs():
    splits = split_examples(make(["a", "b"] * 5, split=given_parts({"train": 6, "validation": 4})))
    assert not splits.refit and "There is no test part" in splits.notes[0]


def test_validation_is_carved_from_train_and_test_stays():
    examples = make(["a", "b"] * 20, split=given_parts({"train": 30, "test": 10}))
    splits = split_examples(examples, validation=0.2)
    assert splits.refit and Counter(splits.part) == {"train": 24, "validation": 6, "test": 10}
    assert set(splits.part[30:]) == {"test"}
    whole = split_examples(examples, carve=False)
    assert not whole.refit and Counter(whole.part) == {"train": 30, "test": 10}


def test_a_lone_train_part_is_divided_like_an_unsplit_source():
    splits = split_examples(make(["a", "b"] * 10, split=["train"] * 20))
    assert set(splits.part) == set(PARTS) and "Only a train part" in splits.notes[0]


def in_clusters(examples):
    """Cluster numbers for examples: some of them share one."""
    return st.lists(st.integers(0, 12), min_size=len(examples), max_size=len(examples)).map(
        lambda drawn: np.array([n if n < 4 else 100 + row for row, n in enumerate(drawn)])
    )


def crossed(examples, clusters, part):
    """The groups and clusters that lie on two sides."""
    sides = pd.DataFrame({"group": examples.table["group"], "cluster": clusters, "part": part})
    return [
        name
        for column in ("group", "cluster")
        for name, own in sides.dropna(subset=[column]).groupby(column)["part"]
        if own.nunique() > 1
    ]


@quick
@given(sources(), st.integers(0, 3), st.data())
def test_no_cluster_crosses_and_its_numbers_and_the_order_of_rows_do_not_matter(examples, seed, data):
    clusters = data.draw(in_clusters(examples))
    splits = split_examples(examples, seed=seed, clusters=clusters)
    assert not crossed(examples, clusters, splits.part)
    order = data.draw(st.permutations(range(len(examples))))
    again = split_examples(examples.take(order), seed=seed, clusters=1000 - clusters[order])
    assert list(again.part) == list(splits.part[order])


def test_clusters_of_one_each_change_nothing():
    examples = make(by_class([20, 9]), groups=["p", "p", "q", None] + [None] * 25)
    splits = split_examples(examples, clusters=np.arange(29))
    assert list(splits.part) == list(split_examples(examples).part)


@quick
@given(sources(), st.integers(2, 6), st.integers(0, 3), st.data())
def test_every_example_is_held_out_once_and_no_group_or_cluster_is_on_two_sides(examples, folds, seed, data):
    clusters = data.draw(in_clusters(examples))
    try:
        splits = fold_examples(examples, folds, seed=seed, clusters=clusters)
    except DataError as error:
        assert "folds" in str(error) or "in one group" in str(error)
        return
    held = [splits.holding_out(fold).indices("validation") for fold in range(1, folds + 1)]
    assert sorted(np.concatenate(held)) == list(range(len(examples))) and all(len(rows) for rows in held)
    assert not crossed(examples, clusters, splits.fold)
    for fold in range(1, folds + 1):
        part = splits.holding_out(fold).part
        assert set(part) == {"train", "validation"}
        if examples.kind == "class":
            assert set(np.array(examples.targets)[part == "train"]) == set(examples.targets)
    order = data.draw(st.permutations(range(len(examples))))
    again = fold_examples(examples.take(order), folds, seed=seed, clusters=clusters[order])
    assert list(again.fold) == list(splits.fold[order])


@quick
@given(st.lists(st.integers(2, 30), min_size=2, max_size=8), st.integers(2, 6), st.integers(0, 3))
def test_folds_are_even_within_one_example_in_all_and_in_each_class(sizes, folds, seed):
    if sum(sizes) < folds:
        return
    examples = make(by_class(sizes))
    fold = fold_examples(examples, folds, seed=seed).fold
    for rows in ([True] * len(fold), *(np.array(examples.targets) == f"c{n}" for n in range(len(sizes)))):
        counts = [int((fold[rows] == number).sum()) for number in range(1, folds + 1)]
        assert max(counts) - min(counts) <= 1


def test_folds_of_groups_have_the_mix_of_the_whole_as_far_as_groups_allow():
    rng = np.random.default_rng(0)
    groups = [str(g) for g in rng.integers(0, 80, 600)]
    targets = [("rare" if int(g) % 8 == 0 else "common") for g in groups]
    fold = fold_examples(make(targets, groups=groups), 4).fold
    rare = np.array(targets) == "rare"
    for number in range(1, 5):
        assert abs((fold == number).mean() - 0.25) < 0.03
        assert abs((fold[rare] == number).mean() - 0.25) < 0.08


def test_a_given_test_part_is_in_no_fold_and_a_given_validation_part_is_refused():
    split = given_parts({"train": 12, "test": 4})
    splits = fold_examples(make(["a", "b"] * 8, split=split), 3)
    assert list(splits.part) == split and list(splits.fold[12:]) == [0] * 4
    assert set(splits.holding_out(1).part[12:]) == {""}
    with pytest.raises(ConfigError, match="folds and a validation part"):
        fold_examples(make(["a", "b"] * 8, split=given_parts({"train": 12, "validation": 4})), 3)


def test_folds_that_cannot_be_filled_or_learned_from_are_refused():
    with pytest.raises(DataError, match="3 examples or groups to hold out for 4 folds"):
        fold_examples(make(["a", "b"] * 6, groups=["p", "q", "r"] * 4), 4)
    with pytest.raises(DataError, match="All examples of b are in one group"):
        fold_examples(make(["a"] * 8 + ["b"] * 4, groups=[None] * 8 + ["p"] * 4), 3)


def test_splits_are_written_as_promised_and_read_back(tmp_path):
    examples = make([("a", "b"), ("a",), (), ("b",)] * 5, "labels", groups=["g", None, None, "h"] * 5)
    splits = split_examples(examples)
    write_splits(tmp_path / "splits.csv", examples, splits)
    table = read_splits(tmp_path / "splits.csv")
    assert list(table.columns) == ["source", "target", "group", "split"]
    assert list(table["source"]) == list(splits.ids) and list(table["split"]) == list(splits.part)
    assert list(table["target"][:3]) == ["a|b", "a", ""] and list(table["group"][:2]) == ["g", ""]
    assert [path.name for path in tmp_path.iterdir()] == ["splits.csv"]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "source,target,group,split\nx,y,,nowhere\n"])
def test_another_file_is_no_table_of_splits(tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match="splits"):
        read_splits(tmp_path / "s.csv")


def test_patients_of_the_chest_x_rays_stay_on_one_side(shared_data):
    examples = read_examples(Data(source=str(shared_data / "chest_xray"), group_from=r"person(\d+)_"))
    splits = split_examples(examples)
    sides = pd.DataFrame({"group": examples.table["group"], "part": splits.part}).dropna()
    assert (sides.groupby("group")["part"].nunique() == 1).all()
    assert Counter(splits.part) == {"train": 140, "validation": 30, "test": 30}


def test_a_real_drive_is_cut_into_stretches_with_free_borders(shared_data):
    data = Data(source=str(shared_data / "driving" / "driving_log.csv"), no_header=True, image="0", target="3")
    examples = read_examples(data)
    splits = split_examples(examples, order="row", stretches=20, gap=3)
    borders = sum(one != other for one, other in pairwise(p for p in splits.part if p))
    runs = sum(one != other for one, other in pairwise(splits.part))
    assert set(splits.part) == {*PARTS, ""} and runs == 2 * borders, "between two parts lies what is in none"
    assert Counter(splits.part)[""] == 6 * borders


def whole_classes(targets, splits):
    return {name: {part for target, part in zip(targets, splits.part, strict=True) if target == name}
            for name in set(targets)}  # fmt: skip


@given(st.lists(st.integers(1, 5), min_size=6, max_size=40), st.integers(0, 99))
def test_held_out_classes_are_in_one_part_alone_and_each_part_has_two_or_its_share(sizes, seed):
    targets = by_class(sizes)
    splits = split_examples(make(targets), hold_out="classes", seed=seed)
    where = whole_classes(targets, splits)
    assert all(len(parts) == 1 for parts in where.values())
    held = Counter(next(iter(parts)) for parts in where.values())
    for part in ("validation", "test"):
        assert held[part] >= 2 and abs(held[part] - max(2, 0.15 * len(sizes))) < 1
    assert held["train"] >= 2 and any("never trained" in note for note in splits.notes)


def test_classes_that_share_a_group_or_a_copy_are_held_out_together():
    targets = [name for name in "abcdefgh" for _ in range(3)]
    groups = ["one" if n in (0, 3) else None for n in range(24)]
    clusters = np.arange(24)
    clusters[8] = clusters[11]  # a picture of c is a copy of one of d
    for seed in range(5):
        splits = split_examples(make(targets, groups=groups), hold_out="classes", seed=seed, clusters=clusters)
        where = whole_classes(targets, splits)
        assert where["a"] == where["b"] and where["c"] == where["d"]
        # What is drawn together for intervals are still the groups and copies, and not the classes.
        assert sum(unit is not None for unit in splits.units) == 4


def test_too_few_classes_are_refused_or_shared_and_that_is_told():
    targets = [name for name in "abcde" for _ in range(20)]
    with pytest.raises(DataError, match="There are 5 classes that can be held out whole, and 3 parts"):
        split_examples(make(targets), hold_out="classes")
    shared = split_examples(make(targets), hold_out="classes if enough")
    assert any("the parts share them" in note for note in shared.notes)
    assert all(len(parts) == 3 for parts in whole_classes(targets, shared).values())
    assert set(split_examples(make(targets), hold_out="classes", test=0).part) == {"train", "validation"}


def test_validation_classes_are_carved_from_train_where_the_test_part_has_its_own():
    targets = [name for name in "abcdefgh" for _ in range(3)]
    split = ["test" if name in "gh" else "train" for name in targets]
    splits = split_examples(make(targets, split=split), hold_out="classes if enough")
    assert splits.refit and all(len(parts) == 1 for parts in whole_classes(targets, splits).values())
    assert {t for t, part in zip(targets, splits.part, strict=True) if part == "test"} == {"g", "h"}
    assert len({t for t, part in zip(targets, splits.part, strict=True) if part == "validation"}) == 2


@pytest.mark.parametrize(("kind", "parts", "folds", "units"), [
    ("class", ["ab9ae87cf9ff", "451ec85a97fd", "9c89c5247047"], "2ea49a5de5d6", "b7f95b4dbc88"),
    ("labels", ["3837d8172041", "451ec85a97fd", "1dff07570fce"], "507b5d73e979", "a0ef2588c207"),
    ("number", ["2d6e94fc7229", "451ec85a97fd", "5cafe24632cc"], "5bb13d7cc489", "733dc9aea752"),
])  # fmt: skip
def test_one_seed_divides_as_it_did_before_a_million_rows_fitted(kind, parts, folds, units):
    """Figures of earlier runs are compared by their splits: what these digests are of was divided by other code."""
    rng = random.Random(7)
    draw = {
        "class": lambda: rng.choice("aaabbc"), "labels": lambda: tuple(rng.sample("wxyz", rng.randrange(4))),
        "number": lambda: rng.choice([0.0, rng.random()]),
    }[kind]  # fmt: skip
    targets, groups = [], []
    for _ in range(400):
        targets.append(draw())
        groups.append(rng.choice([None, *(f"g{k}" for k in range(40))]))
    grouped, alone = make(targets, kind, groups), make(targets, kind)
    for one in (grouped, alone):
        one.table["id"] = [f"é{n % 7}/{n}.jpg" for n in range(400)]
    copied = split_examples(grouped, seed=3, clusters=np.arange(400) // 3)
    found = (split_examples(grouped, seed=3), copied, split_examples(alone, seed=3))
    assert [splits.fingerprint[:12] for splits in found] == parts
    assert digest(fold_examples(grouped, 5, seed=3).fold.tolist()) == folds and digest(copied.units) == units


def digest(values):
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]
