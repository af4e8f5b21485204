"""predictions.csv holds the answers to the last digit, and so the figures can be made again without a picture."""

import json

import numpy as np
import pandas as pd
import pytest

import finetune as ft
from finetune.cli import call
from finetune.predictions import read_predictions
from finetune.report.judged import Seen, judge
from tests.made import QUICK, table


def again(model):
    parts = read_predictions(model.folder, model.task)
    return judge(model.task, {
        name: Seen(answer=part.answer, target=part.target, groups=part.groups if any(part.groups) else None)
        for name, part in parts.items()
    })  # fmt: skip


def test_the_figures_of_a_run_follow_from_its_predictions(probed):
    told = again(probed)
    assert {key: probed.metrics[key] for key in told} == told


@pytest.mark.parametrize("kind", ["labels", "number"])
def test_labels_numbers_groups_and_other_columns_come_back(textures, tmp_path, kind):
    rng = np.random.default_rng(0)
    files = sorted(textures.glob("*/*.png"))
    targets = [file.parent.name if kind == "labels" else 3 + rng.normal() for file in files]
    if kind == "labels":
        targets = [f"{name}|odd" if i % 2 else name for i, name in enumerate(targets)]
    rows = [(str(file), target, i // 2, "xy"[i % 2]) for i, (file, target) in enumerate(zip(files, targets))]  # noqa: B905
    source = table(tmp_path / "t.csv", ("file", "y", "patient", "label"), rows)
    words = {"delimiter": "|"} if kind == "labels" else {}
    model = ft.fit(source, **QUICK, image="file", target="y", group="patient", **words, out=tmp_path / "run")
    told = again(model)
    assert {key: model.metrics[key] for key in told} == told
    written = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert written.columns[-1] == "label (column)" and set(written["label (column)"]) <= {"x", "y"}
    assert written["group"].notna().all()


def test_evaluate_writes_figures_and_predictions_into_a_folder_of_their_own(probed, textures, tmp_path, capsys):
    words = ["evaluate", str(probed.folder), str(textures), "--out", str(tmp_path / "found")]
    assert call(words) == 0
    shown = capsys.readouterr().out
    assert "Each class against the rest" in shown and "auprc" in shown
    assert json.loads((tmp_path / "found" / "metrics.json").read_text()) == ft.evaluate(probed.folder, textures)
    assert len(pd.read_csv(tmp_path / "found" / "predictions.csv")) == 36
    assert call(words) == 2
    assert call([*words[:-1], str(probed.folder)]) == 2
    assert "choose another --out" in capsys.readouterr().err.lower()
