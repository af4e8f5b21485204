"""The examples that backbones are compared on."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from finetune.data.options import Data
from finetune.data.splits import read_splits
from finetune.errors import DataError
from finetune.ranking.training_part import training_part
from finetune.recipe import Recipe
from finetune.report.printed import Talk
from finetune.training.plan import Plan
from tests.made import KINDS, class_folders


def part_of(source, *, most=2000, seed=0, **data):
    recipe = Recipe(data=Data(source=source, **data), plan=Plan(seed=seed))
    return training_part(recipe, most=most, in_chans=3, talk=Talk(None))


def ids(part):
    return set(part.examples.table["id"])


def test_of_given_parts_nothing_but_training_pictures_is_opened(tmp_path):
    class_folders(tmp_path / "train", count=4)
    for part in ("val", "test"):
        for kind in KINDS:
            (tmp_path / part / kind).mkdir(parents=True)
            (tmp_path / part / kind / "broken.png").write_bytes(b"no picture")
    part = part_of(tmp_path)
    assert len(part.examples) == 12 and all(name.startswith("train/") for name in ids(part))
    assert any("6 other examples were not opened" in note for note in part.notes)


def test_parts_without_one_for_training_are_refused(textures):
    rows = [(str(path), path.parent.name, "test") for path in sorted(textures.rglob("*.png"))]
    table = pd.DataFrame(rows, columns=["path", "kind", "part"])
    with pytest.raises(DataError, match="for training"):
        part_of(table, image="path", target="kind", split="part")


def test_without_parts_the_test_part_of_a_fit_is_left_out(probed, textures):
    splits = read_splits(probed.folder / "splits.csv")
    part = part_of(str(textures))
    assert ids(part) == set(splits["source"][splits["split"] != "test"])
    left = 36 - len(part.examples)
    assert left > 0 and any(f"was left out: {left} of 36" in note for note in part.notes)
    assert ids(part_of(str(textures), seed=1)) != ids(part)


def test_without_a_test_part_nothing_is_left_out_and_that_is_said(textures):
    part = part_of(str(textures), test=0.0)
    assert len(part.examples) == 36 and any("flatter" in note for note in part.notes)


def test_copies_and_groups_are_units_whichever_way_the_parts_come(tmp_path):
    class_folders(tmp_path / "train", count=4)
    kind = KINDS[0]
    shutil.copy(tmp_path / "train" / kind / "0.png", tmp_path / "train" / kind / "copy.png")
    (tmp_path / "test").mkdir()
    shutil.copytree(tmp_path / "train" / kind, tmp_path / "test" / kind)
    for words in ({}, {"group_from": r"(\d)\.png"}):
        part = part_of(tmp_path, copies="exact", **words)
        unit = dict(zip(part.examples.table["id"], part.units, strict=True))
        assert unit[f"train/{kind}/copy.png"] == unit[f"train/{kind}/0.png"] is not None
        if words:  # and with the copy the group that its picture is in
            assert len({unit[f"train/{other}/0.png"] for other in KINDS} | {unit[f"train/{kind}/copy.png"]}) == 1
    assert part_of(tmp_path, copies="ignore").units is None


def test_of_very_many_a_share_of_each_class_is_drawn_with_groups_whole(tmp_path):
    class_folders(tmp_path, count=40)
    part = part_of(tmp_path, test=0.0, most=60, copies="ignore", group_from=r"(\d)\.png")
    assert 45 <= len(part.examples) <= 75
    assert min(Counter(part.examples.targets).values()) >= 10
    sizes = Counter(part.units)
    everything = Counter(part_of(tmp_path, test=0.0, copies="ignore", group_from=r"(\d)\.png").units)
    assert all(sizes[unit] == everything[unit] for unit in sizes)
    assert any("--most" in note for note in part.notes)
    again = part_of(tmp_path, test=0.0, most=60, copies="ignore", group_from=r"(\d)\.png")
    assert list(again.examples.table["id"]) == list(part.examples.table["id"])


@pytest.mark.parametrize("copies", ["exact", "ignore"])
def test_pictures_that_cannot_be_read_stop_it_or_are_left_out(tmp_path, copies):
    class_folders(tmp_path, count=6)
    (tmp_path / KINDS[0] / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        part_of(tmp_path, test=0.0, copies=copies)
    part = part_of(tmp_path, test=0.0, copies=copies, on_corrupt="skip")
    assert len(part.examples) == 18 and any("left out" in note and "broken.png" in note for note in part.notes)


def test_a_class_of_one_is_left_out_and_counted(textures):
    rows = [(str(path), path.parent.name) for path in sorted(textures.rglob("*.png"))]
    table = pd.DataFrame([*rows[:24], rows[24]], columns=["path", "kind"])
    table["part"] = np.where(np.arange(25) < 25, "train", "")
    table.loc[0, "part"] = "test"
    part = part_of(table, image="path", target="kind", split="part", copies="exact")
    assert set(part.examples.targets) == set(KINDS[:2]) == set(part.task.labels.names)
    assert any(KINDS[2] in note and "one example" in note for note in part.notes)
