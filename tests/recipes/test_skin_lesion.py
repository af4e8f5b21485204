from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import finetune as ft
from finetune import cli
from finetune.shipped import find
from finetune.tasks.taxonomy import labels_for
from finetune.training.rates import course
from tests.made import QUICK, QUICK_WORDS


def test_esteva_s_rates_fall_by_16_after_30_and_60_epochs():
    plan = ft.load_recipe("skin_lesion", source="ham", training="esteva").plan
    (phase,) = plan.build(pretrained=True)
    share = course(phase, plan, steps=90 * 10)
    rates = [phase.lr * share(epoch * 10) for epoch in (0, 29, 30, 60)]
    assert rates == pytest.approx([1e-3, 1e-3, 6.25e-5, 3.90625e-6])
    assert (phase.learns, phase.optimizer, phase.layer_decay, phase.augment) == ("all", "rmsprop", 1.0, "any-angle")


def test_no_lesion_is_in_two_parts(tmp_path):
    find("skin_lesion").load().sample(tmp_path, 0)
    recipe = ft.load_recipe("skin_lesion", source=str(tmp_path))
    words = {name: value for name, value in QUICK.items() if name != "verbose"}
    model = ft.fit(recipe, **words, out=tmp_path / "run", verbose=False)
    splits = pd.read_csv(model.folder / "splits.csv")
    assert splits.groupby("group")["part" if "part" in splits else "split"].nunique().eq(1).all()
    assert splits["group"].nunique() * 2 == len(splits)


HAM10000 = {"nv": 6705, "mel": 1113, "bkl": 1099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115}


def test_esteva_s_partition_of_ham10000_puts_its_small_carcinomas_together():
    options = ft.load_recipe("skin_lesion", source="ham", training="esteva").task
    labels = labels_for(options, "class", [name for name, count in HAM10000.items() for _ in range(count)])
    assert labels.names == ("bkl", "df", "keratinocytic", "mel", "nv", "vasc")
    assert {name for name, whole in labels.merged.items() if whole == "keratinocytic"} == {"akiec", "ak", "bcc", "scc"}
    assert ft.load_recipe("skin_lesion", source="ham").task.taxonomy is None


def test_diagnoses_are_answered_at_each_level_of_the_tree_and_lesions_stay_together(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["--sample", "--taxonomy", "lesions", "--max-class-size", "14", *QUICK_WORDS, "--out", str(out)]
    assert cli.call(["run", "skin_lesion", *words]) == 0
    model = ft.load(out)
    assert model.classes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")  # 24 carcinomas are enough to divide
    splits = pd.read_csv(out / "splits.csv")
    assert splits.groupby("group")["split"].nunique().eq(1).all()
    told = json.loads((out / "metrics.json").read_text())["levels"]["test"]
    assert [(one["level"], len(one["nodes"])) for one in told] == [(1, 2), (2, 6), (3, 7)]
    # The sums by hand, from the recorded answers.
    rows = pd.read_csv(out / "predictions.csv")
    rows = rows[rows["part"] == "test"]
    malignant = ["mel", "bcc", "akiec"]
    right = (rows[malignant].sum(axis=1) > 0.5) == rows["target"].isin(malignant)
    assert told[0]["metrics"]["accuracy"]["value"] == pytest.approx(right.mean())
    capsys.readouterr()
    picture = next((tmp_path / "run-sample").rglob("*.jpg"))
    assert cli.call(["predict", str(out), str(picture), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)[0]
    assert cli.call(["predict", str(out), str(picture), "--level", "1", "--json"]) == 0
    coarse = json.loads(capsys.readouterr().out)[0]
    assert set(coarse) == {"path", "label", "benign", "malignant", "error"}
    np.testing.assert_allclose(whole["malignant"], sum(whole[name] for name in malignant))
    np.testing.assert_allclose([coarse["malignant"], coarse["benign"]], [whole["malignant"], whole["benign"]])


def test_the_two_words_of_the_archive_are_nodes_of_the_tree():
    options = ft.load_recipe("skin_lesion", source="isic", taxonomy="lesions").task
    assert labels_for(options, "class", ["benign", "malignant"]).names == ("benign", "malignant")
