"""A run leaves its page and its card, and both are made anew from its folder alone."""

import json
import shutil

import pytest

import finetune as ft
from finetune.cli import call
from finetune.errors import RunFolderError
from finetune.run_report import read_facts, write_pages
from tests.made import contents


def test_a_run_has_a_page_and_a_card_and_its_folder_makes_the_same_again(probed, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(probed.folder, run)
    before = contents(run)
    assert {"report.html", "run.json", "model/README.md"} <= set(before) and len(before["report.html"]) < 5e6
    (run / "report.html").unlink()
    (run / "model/README.md").unlink()
    assert call(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert contents(run) == before
    ft.load(run)  # the card is no part of what is sealed


def test_the_page_quotes_the_figures_of_metrics_json(tuned):
    page = (tuned.folder / "report.html").read_text()
    for found in read_facts(tuned.folder).parts.values():
        for figure in found.values():
            value, low, high = (f"{figure[end]:.4g}" for end in ("value", "low", "high"))
            assert f"<td>{value} ({low}\u00a0to\u00a0{high})</td>" in page
    assert "<svg" in page and "Plan" in page


def test_a_damaged_folder_is_told_in_words(probed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(probed.folder, run)
    story = json.loads((run / "run.json").read_text())
    del story["primary"]
    (run / "run.json").write_text(json.dumps(story))
    with pytest.raises(RunFolderError, match="primary"):
        write_pages(run)
    (run / "run.json").unlink()
    with pytest.raises(RunFolderError, match="missing"):
        write_pages(run)
    assert call(["report", str(run)]) == 2
