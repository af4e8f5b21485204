"""Facts beside the content that give the answer away are told; those that do not are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from finetune.data.examples import Examples
from finetune.data.facts import Fact, facts_of
from finetune.data.headers import Header
from finetune.data.shortcuts import find_shortcuts

NAMES = ("cat", "dog")


def examples(ids, targets, kind="class"):
    nothing = pd.Series([None] * len(ids), dtype="object")
    table = pd.DataFrame({"id": ids, "source": ids, "target": pd.Series(targets, dtype="object"), "group": nothing,
                          "split": nothing})  # fmt: skip
    return Examples(table=table, kind=kind)


def one(name, values, **words):
    return [Fact(name=name, columns={"value": np.asarray(values, float)}, **words)]


def test_a_fact_that_gives_the_class_away_is_strong_and_says_where():
    given = np.repeat([0, 1], 50)
    (found,) = find_shortcuts(one("picture size", 640 + 200 * given + np.arange(100) % 7), "class", NAMES, given)
    assert found.suspicious and found.strong and found.low > 0.9 and found.chance == 0.5
    assert "in cat" in found.example and "in dog" in found.example


SEEDS = [range(2), pytest.param(range(40), marks=pytest.mark.thorough)]


@pytest.mark.parametrize("seeds", SEEDS, ids=["few", "many"])
@pytest.mark.parametrize("kind", ["class", "labels", "number"])
def test_noise_is_seldom_taken_for_a_shortcut(kind, seeds):
    told = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        given = {"class": rng.integers(0, 2, 80), "number": rng.normal(size=80),
                 "labels": rng.integers(0, 2, (80, 2)).astype(np.float32)}[kind]  # fmt: skip
        told += any(s.suspicious for s in find_shortcuts(one("noise", rng.normal(size=80)), kind, NAMES, given))
    assert told <= 0.05 * len(seeds)


def test_a_number_and_labels_have_shortcuts_too():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=120)
    (number,) = find_shortcuts(one("light", hidden), "number", (), 3 * hidden + 0.1 * rng.normal(size=120))
    marks = np.stack([hidden > 0, hidden > 0.5], axis=1).astype(np.float32)
    (labels,) = find_shortcuts(one("light", hidden), "labels", NAMES, marks)
    assert number.strong and number.chance == 0 and labels.strong and labels.chance == 0.5


def test_a_fact_of_a_group_does_not_answer_for_its_own_members():
    """Each patient has one class and one brightness: without groups the trees would learn the patients by heart."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 10)
    given, light = rng.integers(0, 2, 20)[patients], rng.normal(size=20)[patients]
    (apart,) = find_shortcuts(one("light", light), "class", NAMES, given, groups=[f"p{p}" for p in patients])
    (alone,) = find_shortcuts(one("light", light), "class", NAMES, given)
    assert alone.suspicious and not apart.suspicious


def test_too_few_examples_give_no_answer():
    assert find_shortcuts(one("light", np.arange(12)), "class", NAMES, np.repeat([0, 1], 6)) == []


def test_what_a_network_cannot_see_is_never_strong():
    given = np.repeat([0, 1], 50)
    (found,) = find_shortcuts(one("file name", given, seen=False), "class", NAMES, given)
    assert found.suspicious and not found.strong


def columns(table, label_from=None, headers=None):
    facts = facts_of(table, headers or [Header()] * len(table), label_from=label_from)
    return {fact.name: set(fact.columns) for fact in facts}


def test_the_label_in_a_name_or_a_folder_is_no_fact():
    ids = [f"train/{name}/{name}_{number}.jpg" for name in NAMES for number in range(10)]
    found = columns(examples(ids, [name for name in NAMES for _ in range(10)]))
    assert not any("cat" in column or "dog" in column for names in found.values() for column in names)
    assert "folder" not in found


def test_what_label_from_takes_is_no_fact():
    ids = [f"{word}.{number}.jpg" for word in ("c", "d") for number in range(10)]
    assert "prefix" not in str(columns(examples(ids, ["c"] * 10 + ["d"] * 10), label_from="^(c|d)"))
    assert 'prefix "c"' in str(columns(examples(ids, ["x"] * 10 + ["y"] * 10)))


def test_other_folders_prefixes_and_cameras_are_facts():
    ids = [f"siteA/IM-{n}.jpg" for n in range(10)] + [f"siteB/person{n}.jpg" for n in range(10)]
    headers = [Header(camera="Canon", bytes=1)] * 10 + [Header(camera="Nikon", bytes=1)] * 10
    found = columns(examples(ids, ["a"] * 10 + ["b"] * 10), headers=headers)
    assert {'folder "siteA"', 'folder "siteB"'} <= found["folder"]
    assert 'prefix "person"' in found["file name"] and 'camera "Canon"' in found["camera"]


def test_what_is_the_same_for_all_is_no_fact():
    found = columns(examples([f"{n}.jpg" for n in range(10, 30)], ["a", "b"] * 10))
    assert set(found) == {"file name"}  # its number
