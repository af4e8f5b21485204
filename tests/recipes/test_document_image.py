from __future__ import annotations

import json

import pandas as pd

import finetune as ft
from finetune import cli
from tests.made import QUICK_WORDS


def test_pages_that_are_not_sure_enough_are_left_to_a_person(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["--sample", "--least-precision", "0.9", *QUICK_WORDS, "--copies", "exact", "--out", str(out)]
    assert cli.call(["run", "document_image", *words]) == 0
    assert "any:precision>=0.9, answered from" in capsys.readouterr().out
    told = json.loads((out / "metrics.json").read_text())["answered"]["test"]
    rows = pd.read_csv(out / "predictions.csv")
    rows = rows[rows["part"] == "test"]
    kept = rows[["invoice", "letter", "table"]].max(axis=1) >= told["threshold"]
    assert told["coverage"]["value"] == kept.mean()
    assert told["precision"]["value"] == (rows["label"] == rows["target"])[kept].mean()
    pages = tmp_path / "run-sample" / "letter"
    table = ft.load(out).predict(str(pages))
    sure = table[["invoice", "letter", "table"]].max(axis=1)
    assert list(table["abstained"]) == list(sure < told["threshold"])
    assert "answered" in (out / "report.html").read_text(encoding="utf-8")


def test_what_few_pages_cannot_show_is_said(tmp_path, capsys):
    words = ["--sample", *QUICK_WORDS, "--copies", "exact", "--out", str(tmp_path / "run")]
    assert cli.call(["run", "document_image", *words]) == 0
    shown = capsys.readouterr().out
    assert "A precision of 0.99 is not to be shown by the surest of 18 held-out answers" in shown
