"""The nearest training pictures beside answers, in predictions and beside the worst errors."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from finetune import cli
from finetune.data.examples import read_examples
from finetune.data.labels import Labels
from finetune.data.options import Data
from finetune.errors import ConfigError
from finetune.features import features, run_over
from finetune.nearest.answers import MOST_KNOWN, Overheard, TaughtBy, near_rows, with_neighbours
from finetune.running.worst import NEAR, write_worst


def test_answers_are_the_same_with_neighbours_beside(probed, textures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    asked = [textures / "rings" / "0.png", tmp_path / "broken.png", textures / "checks" / "1.png"]
    plain, beside = probed.predict(asked), probed.predict(asked, neighbours=4)
    assert list(beside.columns) == [*plain.columns[:-1], "neighbours", "neighbour_labels", "agreeing", "error"]
    pd.testing.assert_frame_equal(beside[list(plain.columns)], plain, check_exact=True)
    found = probed.neighbours(asked, k=4)
    for row, query in enumerate(found.queries):
        if query.error:
            assert pd.isna(beside["neighbours"][row]) and pd.isna(beside["agreeing"][row])
            continue
        labels = [one.label for one in query.neighbours]
        assert beside["neighbours"][row] == "; ".join(one.file for one in query.neighbours)
        assert beside["neighbour_labels"][row] == "; ".join(labels)
        assert beside["agreeing"][row] == np.mean([label == plain["label"][row] for label in labels])


@pytest.mark.parametrize(
    ("kind", "answered", "share"),
    [("class", "rings", 1.0), ("class", "checks", 0.0), ("labels", "thin|rings", 0.0), ("labels", "rings", 1.0)],
)
def test_labels_agree_where_all_of_them_do(probed, textures, kind, answered, share):
    asked = read_examples(Data(source=str(textures))).take([12])
    assert asked.targets == ["rings"]
    heard = Overheard()
    table = pd.DataFrame({"path": ["x"], "label": [answered], "error": [""]})
    run_over(probed.network, asked, between=heard)
    found = with_neighbours(
        table,
        probed.network,
        asked,
        heard,
        probed.folder,
        k=1,
        labels=Labels(kind=kind, names=("checks", "rings", "thin")),
    )
    assert found["neighbour_labels"][0] == "rings" and found["agreeing"][0] == share


def test_a_number_has_neighbours_and_nothing_that_agrees(probed, textures):
    heard = Overheard()
    table = pd.DataFrame({"path": ["x"], "label": [0.5], "error": ["no file"]})
    asked = read_examples(Data(source=str(textures))).take([0])
    found = with_neighbours(
        table, probed.network, asked, heard, probed.folder, k=1, labels=Labels(kind="number", names=())
    )
    assert list(found.columns) == ["path", "label", "neighbours", "neighbour_labels", "error"]


def test_the_command_tells_them(probed, textures, capsys):
    command = ["predict", str(probed.folder), str(textures / "rings" / "0.png"), "--accelerator", "cpu"]
    assert cli.call([*command, "--neighbours", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)[0]
    assert len(answer["neighbours"].split("; ")) == 2 and 0 <= answer["agreeing"] <= 1
    with pytest.raises(ConfigError, match=r"0 or more\. Got -1"):
        probed.predict(textures / "rings" / "0.png", neighbours=-1)


def test_near_rows_are_those_of_the_training_part_whether_features_are_known_or_not(probed, textures):
    examples = read_examples(Data(source=str(textures)))
    train, asked = np.arange(0, 36, 2), np.array([1, 17, 35])
    known = near_rows(probed.network, examples, asked, TaughtBy(
        rows=train, features=features(probed.network, examples)), k=NEAR)  # fmt: skip
    fresh = near_rows(probed.network, examples, asked, TaughtBy(rows=train), k=NEAR)
    assert list(known) == asked.tolist()
    for row in asked.tolist():
        assert [at for at, _ in known[row]] == [at for at, _ in fresh[row]]
        assert {at for at, _ in known[row]} <= set(train.tolist()) and len(known[row]) == NEAR


def test_the_worst_errors_have_them_and_where_they_would_cost_much_nobody_looks(probed, textures, tmp_path):
    examples = read_examples(Data(source=str(textures)))
    answer = np.tile([[0.5, 0.3, 0.2]], (36, 1))
    told = {"test": (np.arange(36), answer)}
    taught = TaughtBy(rows=np.arange(36), features=features(probed.network, examples))
    write_worst(tmp_path, probed.network, probed.task, examples, told, taught=taught)
    for one in json.loads((tmp_path / "errors" / "errors.json").read_text()):
        assert len(one["near"]) == NEAR and one["name"] not in [near["name"] for near in one["near"]]
        assert all((tmp_path / "errors" / near["picture"]).exists() for near in one["near"])
        assert all(near["lines"][0] == near["name"].split("/")[0] for near in one["near"])
    assert not TaughtBy(rows=np.arange(MOST_KNOWN + 1)).affordable
    for much in (TaughtBy(rows=np.arange(MOST_KNOWN + 1)), None):
        write_worst(tmp_path, probed.network, probed.task, examples, told, taught=much)
        assert not any(one["near"] for one in json.loads((tmp_path / "errors" / "errors.json").read_text()))


def test_the_page_of_a_run_shows_them_with_names_for_those_who_do_not_see(probed, textures, tmp_path):
    import shutil

    from finetune.run_report import write_pages

    shutil.copytree(probed.folder, tmp_path / "run")
    examples = read_examples(Data(source=str(textures)))
    told = {"test": (np.arange(36), np.tile([[0.5, 0.3, 0.2]], (36, 1)))}
    taught = TaughtBy(rows=np.arange(36), features=features(probed.network, examples))
    write_worst(tmp_path / "run", probed.network, probed.task, examples, told, taught=taught)
    text = write_pages(tmp_path / "run").read_text()
    assert text.count("Nearest in training") == 12 and text.count('alt="The training picture ') == 36
    assert len(text) < 5_000_000


def test_neighbours_of_finer_names_agree_with_the_class_that_they_belong_to(probed, textures):
    asked = read_examples(Data(source=str(textures))).take([12])
    heard = Overheard()
    run_over(probed.network, asked, between=heard)
    table = pd.DataFrame({"path": ["x"], "label": ["round"], "error": [""]})
    labels = Labels(kind="class", names=("checks", "round"), merged={"rings": "round", "dots": "round"})
    found = with_neighbours(table, probed.network, asked, heard, probed.folder, k=1, labels=labels)
    assert found["neighbour_labels"][0] == "round" and found["agreeing"][0] == 1.0


def test_a_level_and_neighbours_are_not_asked_for_together(probed, textures):
    with pytest.raises(ConfigError, match="knows no taxonomy"):
        probed.predict(textures / "rings" / "0.png", level=1, neighbours=2)
