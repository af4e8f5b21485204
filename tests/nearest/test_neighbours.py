"""Nearest pictures: never the picture itself, by its address or by its pixels, and what a person is told."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import finetune as ft
from finetune import cli
from finetune.data.splits import read_splits
from finetune.errors import ConfigError, DataError, RunFolderError
from finetune.folder import check_out
from finetune.nearest.neighbours import find_neighbours
from finetune.run_examples import learned_from
from tests.made import class_folders, table, texture


def files_of(found, place=0):
    return [one.file for one in found.queries[place].neighbours]


def trained(model):
    split = read_splits(model.folder / "splits.csv")
    return set(split["source"][split["split"] == "train"])


def test_by_default_the_training_part_is_searched_and_nothing_else(probed, textures):
    found = probed.neighbours(textures / "rings" / "0.png", k=50)
    train = {str(textures / name) for name in trained(probed)}
    asked = str(textures / "rings" / "0.png")
    assert set(files_of(found)) == train - {asked} and found.pictures == len(train)
    cosines = [one.similarity for one in found.queries[0].neighbours]
    assert cosines == sorted(cosines, reverse=True)
    assert all(one.label == one.file.split("/")[-2] for one in found.queries[0].neighbours)


def test_a_picture_is_not_its_own_neighbour_and_neither_are_its_copies(probed, tmp_path):
    folder = class_folders(tmp_path / "pictures", count=4)
    first = folder / "rings" / "0.png"
    shutil.copy(first, folder / "stripes" / "copied.png")
    Image.open(first).save(folder / "checks" / "encoded again.bmp")  # the same pixels in other bytes
    found = probed.neighbours(first, among=folder, k=100)
    shown = files_of(found)
    for name in ("rings/0.png", "stripes/copied.png", "checks/encoded again.bmp"):
        assert str(folder / name) not in shown
    assert len(shown) == 11 and found.queries[0].left_out == 3
    assert any("left out" in note for note in found.notes)


def test_a_picture_that_is_there_three_times_is_shown_once_in_the_order_of_the_table(probed, tmp_path):
    folder = class_folders(tmp_path / "pictures", count=4)
    for number in range(2):
        shutil.copy(folder / "rings" / "0.png", folder / "rings" / f"z{number}.png")
    found = probed.neighbours(folder / "rings" / "1.png", among=folder, k=100)
    shown = files_of(found)
    assert str(folder / "rings" / "0.png") in shown and not [name for name in shown if "/z" in name]


class Blind(torch.nn.Module):
    """Has the same to say of all pictures."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(torch.ones(len(x), 2) + 0 * x.mean())


def test_pictures_that_differ_are_shown_though_the_network_finds_them_alike(tmp_path):
    folder = class_folders(tmp_path / "pictures", count=4)
    network = ft.Backbone.from_module(Blind(), head="fc", input_size=8).build(2)
    found = find_neighbours(network, folder / "rings" / "0.png", tmp_path, among=folder, k=100)
    assert len(files_of(found)) == 11 and str(folder / "rings" / "0.png") not in files_of(found)


def test_arrays_and_folders_without_labels_can_be_asked_about_and_searched(probed, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "flat").mkdir()
    for number in range(5):
        Image.fromarray(texture("rings", rng)).save(tmp_path / "flat" / f"{number}.png")
    asked = [np.asarray(Image.open(tmp_path / "flat" / "3.png")), texture("rings", rng)]
    found = probed.neighbours(asked, among=tmp_path / "flat", k=2)
    assert [len(query.neighbours) for query in found.queries] == [2, 2]
    assert found.queries[0].left_out == 1 and {one.label for one in found.queries[1].neighbours} == {""}
    assert list(found.table().columns) == ["query", "rank", "file", "label", "similarity"]
    assert list(found.table()["rank"]) == [1, 2, 1, 2]


def test_labels_and_numbers_are_told_in_words(probed, textures):
    rows = [(str(textures / "rings" / f"{n}.png"), "round|thin" if n % 2 else "round", n / 2) for n in range(6)]
    known = pd.DataFrame(rows, columns=["image", "what", "size"])
    asked = textures / "checks" / "0.png"
    words = {"image": "image", "k": 6}
    labels = probed.neighbours(asked, among=known, target="what", delimiter="|", **words).table()
    numbers = probed.neighbours(asked, among=known, target="size", **words).table()
    assert set(labels["label"]) == {"round|thin", "round"}
    assert set(numbers["label"]) == {"0", "0.5", "1", "1.5", "2", "2.5"}


@pytest.fixture
def copied(probed, textures, tmp_path):
    """A copy of the run and of its pictures, to be changed."""
    shutil.copytree(textures, tmp_path / "pictures")
    shutil.copytree(probed.folder, tmp_path / "run", ignore=shutil.ignore_patterns("neighbours"))
    said = json.loads((tmp_path / "run" / "recipe.json").read_text())
    said["recipe"]["data"]["source"] = str(tmp_path / "pictures")
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(said))
    return ft.load(tmp_path / "run")


def test_of_a_run_in_folds_all_that_its_folds_learned_from_is_searched(copied, tmp_path):
    rows = [(*line, "train" if n % 3 else "test", n % 3 or "") for n, line in enumerate(
        read_splits(tmp_path / "run" / "splits.csv")[["source", "target", "group"]].to_numpy())]  # fmt: skip
    table(tmp_path / "run" / "splits.csv", ("source", "target", "group", "split", "fold"), rows)
    found = copied.neighbours(tmp_path / "pictures" / "checks" / "0.png", k=100)  # the first row, of the test part
    assert set(files_of(found)) == {str(tmp_path / "pictures" / name) for n, (name, *_) in enumerate(rows) if n % 3}


def test_what_cannot_be_searched_is_said(probed, textures, copied, tmp_path):
    asked = textures / "rings" / "0.png"
    with pytest.raises(ConfigError, match=r"1 or more\. Got 0"):
        probed.neighbours(asked, k=0)
    with pytest.raises(ConfigError, match="target say how to read pictures that are searched among"):
        probed.neighbours(asked, target="kind")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="There is nothing to search: none of 1 pictures can be read"):
        probed.neighbours(asked, among=tmp_path / "broken")
    shutil.copytree(probed.folder / "model", tmp_path / "model")
    with pytest.raises(RunFolderError, match="does not say what the model learned from"):
        ft.load(tmp_path / "model").neighbours(asked)
    said = json.loads((copied.folder / "recipe.json").read_text())
    said["recipe"]["data"]["source"] = {"in_memory": "list"}
    (copied.folder / "recipe.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"in memory \(a list\)"):
        copied.neighbours(asked)


def test_training_pictures_that_are_gone_are_counted_and_where_all_are_it_is_an_error(copied, tmp_path):
    gone = sorted(trained(copied))
    (tmp_path / "pictures" / gone[0]).unlink()
    found = copied.neighbours(tmp_path / "pictures" / gone[1], k=100)
    assert f"1 of {len(gone)} training pictures are not there any more." in found.notes
    for name in gone[1:]:
        (tmp_path / "pictures" / name).unlink()
    with pytest.raises(DataError, match=f"None of the {len(gone)} training pictures"):
        copied.neighbours(next((tmp_path / "pictures").rglob("*.png")))


def test_the_command_prints_writes_and_says_what_it_could_not_read(probed, textures, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    asked = [str(textures / "rings" / "0.png"), str(tmp_path / "broken.png")]
    command = ["neighbours", str(probed.folder), *asked, "--k", "4", "--accelerator", "cpu"]
    assert cli.call([*command, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "similarity" in printed.out and "Searched" in printed.out and "broken.png could not be read" in printed.err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        f"neighbours.{ending}" for ending in ("csv", "json", "png")
    ]
    with Image.open(tmp_path / "out" / "neighbours.png") as sheet:
        assert sheet.width == 1200
    assert cli.call([*command, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "neighbours.json").read_text())
    assert [len(query["neighbours"]) for query in told["queries"]] == [4, 0] and told["queries"][1]["error"]
    assert (tmp_path / "out" / "neighbours.csv").read_text().count("\n") == 5
    assert cli.call(["neighbours", str(probed.folder), asked[0], "--target", "x"]) == 2


def test_a_run_with_an_index_is_still_nothing_but_a_run(copied, textures):
    copied.neighbours(textures / "rings" / "0.png")
    assert (copied.folder / "neighbours" / "train.safetensors").exists()
    check_out(copied.folder, overwrite=True)


def test_what_a_model_learned_from_is_not_fetched_from_elsewhere_to_tell(probed, textures, tmp_path, monkeypatch):
    known, note = learned_from(probed.folder)
    assert len(known) > 0 and note is None
    run = shutil.copytree(probed.folder, tmp_path / "run")
    recipe = json.loads((run / "recipe.json").read_text())
    monkeypatch.setattr(
        sys.modules["finetune.nearest.neighbours"], "read_examples", None
    )  # whoever lists a source now fails
    for source in ("hf://someone/pets", "https://example.org/pets.csv"):
        recipe["recipe"]["data"]["source"] = source
        (run / "recipe.json").write_text(json.dumps(recipe))
        assert learned_from(run) == (None, None)
