"""Two runs beside each other: paired, on the same examples, and refused where they are not."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import finetune as ft
from finetune.cli import call
from finetune.predictions import read_predictions
from finetune.report.compared import compared_table
from finetune.report.intervals import difference, measure
from tests.made import KINDS, QUICK


@pytest.fixture(scope="module")
def other(textures, tmp_path_factory):
    """Another head on the same split as `probed`."""
    return ft.fit(textures, **QUICK, head="mlp", hidden=4, out=tmp_path_factory.mktemp("runs") / "other")


def test_a_comparison_is_the_paired_difference_of_the_recorded_answers(probed, other):
    found = ft.compare(probed.folder, other.folder)
    one, two = (read_predictions(model.folder, model.task)["test"] for model in (probed, other))
    assert one.paths == two.paths and found.n == len(one.paths)
    # Copies that were kept together on one side of the split are drawn together.
    groups = one.groups if any(one.groups) else None
    assert found.difference == difference(probed.task, two.answer, one.answer, one.target, groups=groups, whole=True)
    assert found.first == probed.metrics["test"] and found.second == other.metrics["test"]
    assert measure(probed.task, one.answer, one.target, groups=groups, whole=True) == found.first


def test_a_run_compared_with_itself_differs_by_nothing(probed):
    found = ft.compare(probed.folder, probed.folder)
    for name, figure in found.difference.items():
        assert (figure["value"], figure["low"], figure["high"]) == (0, 0, 0), name
        assert found.verdict(name) == "unclear"


def test_a_source_measures_both(probed, other, textures):
    found = ft.compare(probed.folder, other.folder, textures)
    assert found.n == 36
    assert found.second["accuracy"] == other.evaluate(textures)["test"]["accuracy"]


def test_which_is_better_follows_from_the_interval_and_from_which_way_is_up(probed):
    table = pd.read_csv(probed.folder / "predictions.csv")
    assert list(table.columns) == ["part", "path", "label", "target", *KINDS, "group"]
    found = ft.compare(probed.folder, probed.folder)
    moved = {"value": 0.2, "low": 0.1, "high": 0.3, "n": 9}
    found.difference.update(accuracy=moved, log_loss=moved)
    assert found.verdict("accuracy") == "second" and found.verdict("log_loss") == "first"


def test_the_command_prints_every_metric_and_json_the_same(probed, other, capsys):
    words = ["compare", str(probed.folder), str(other.folder)]
    assert call(words) == 0
    printed = capsys.readouterr().out
    assert "log_loss" in printed and f"{len(read_predictions(probed.folder, probed.task)['test'].paths)} ex" in printed
    assert call([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ft.compare(probed.folder, other.folder).to_dict()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_figure_is_cut_however_narrow_the_terminal(width):
    figures = {
        "balanced_accuracy": {"first": {"value": 0.9722}, "second": {"value": 0.94444},
                              "difference": {"value": -0.02778, "low": -0.0306, "high": 0.0860}, "verdict": "unclear"},
        "log_loss": {"first": {"value": 0.034281}, "second": {"value": None},
                     "difference": {"value": None, "low": None, "high": None}, "verdict": "unclear"},
    }  # fmt: skip
    console = Console(width=width, file=io.StringIO())
    console.print(compared_table(figures, "runs/a", "runs/b"))
    shown = console.file.getvalue()
    assert "…" not in shown
    for told in ("difference", "0.9722", "0.9444", "-0.0278", "-0.0306", "+0.0860", "0.03428", "undefined", "unclear"):
        assert told in shown


def test_runs_of_other_examples_are_refused_with_both_counts(probed, textures, tmp_path, capsys):
    ft.fit(textures, **QUICK, seed=3, test=0.3, out=tmp_path / "run")
    assert call(["compare", str(probed.folder), str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    sizes = [read_predictions(folder, probed.task)["test"] for folder in (probed.folder, tmp_path / "run")]
    assert all(f"has {len(part.paths)}," in told for part in sizes) and "same examples" in told


def test_runs_of_other_classes_are_refused_and_so_is_what_is_no_run(probed, textures, tmp_path, capsys):
    rows = [(str(path), path.parent.name[0]) for path in sorted(textures.glob("*/*.png"))]
    ft.fit(rows, **QUICK, out=tmp_path / "run")
    assert call(["compare", str(probed.folder), str(tmp_path / "run")]) == 2
    assert "different questions" in capsys.readouterr().err
    assert call(["compare", str(probed.folder), str(tmp_path / "nothing")]) == 2
    assert "There is no run folder" in capsys.readouterr().err


def test_examples_with_another_target_are_refused(probed, tmp_path):
    import shutil

    folder = shutil.copytree(probed.folder, tmp_path / "run")
    table = pd.read_csv(folder / "predictions.csv")
    table.loc[table["part"] == "test", "target"] = KINDS[0]
    table.to_csv(folder / "predictions.csv", index=False)
    with pytest.raises(ft.DataError, match="another target"):
        ft.compare(probed.folder, folder)
    assert np.isfinite(read_predictions(folder, probed.task)["test"].answer).all()
