"""What a ranking found, and the files made of it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import ConfigError, RunFolderError
from finetune.models.options import Backbone
from finetune.ranking.ranking import Ranked, Ranking, check_out, ordered

figures = st.none() | st.sampled_from([0.5, 0.75, 1.0])


def figure(value, low=None, high=None):
    return {"value": value, "low": low, "high": high, "n": 9}


def row(name, value=0.9, *, metric="accuracy", behind=None, error=None, logme=0.0, rate=1.0):
    if error is not None:
        return Ranked(name=name, backbone=Backbone(name), license=None, error=error)
    return Ranked(
        name=name, backbone=Backbone(name), license="mit", metrics={metric: figure(value, 0.8, 1.0)}, logme=logme,
        behind=behind, rate=rate, timed_on=9, parameters=10, width=2, penalty=0.1, seconds=1.5,
    )  # fmt: skip


@pytest.fixture
def ranking():
    rows = (row("best", rate=2.0), row("near", behind=figure(-0.01, -0.1, 0.02), rate=5.0),
            row("far", behind=figure(-0.2, -0.3, -0.1), rate=50.0), row("gone", error="no such file"))  # fmt: skip
    return Ranking(source="pets", metric="accuracy", examples=9, folds=3, rows=rows, notes=("Of nine.",))


@given(st.lists(st.tuples(figures, st.floats(-1, 1)), min_size=1), st.sampled_from(["accuracy", "log_loss"]))
def test_the_metric_orders_then_logme_and_what_is_undefined_or_missing_comes_last(values, metric):
    rows = [row(f"r{n}", value, metric=metric, logme=logme) for n, (value, logme) in enumerate(values)]
    rows.insert(0, row("gone", error="no"))
    found = ordered(rows, metric)
    assert found[-1].name == "gone" and len(found) == len(rows)
    up = 1 if metric == "accuracy" else -1
    keys = [(one.metrics[metric]["value"] is not None, up * (one.metrics[metric]["value"] or 0), one.logme)
            for one in found[:-1]]  # fmt: skip
    assert keys == sorted(keys, reverse=True)


def test_what_the_examples_leave_open_is_tied_and_the_fastest_of_it_is_named(ranking):
    assert [one.name for one in ranking.tied] == ["best", "near"] and ranking.fastest.name == "near"
    first, second, third = ranking.verdict
    assert "Best: best, accuracy 0.900" in first and "tell it from near" in second and "near: 5" in third
    assert not ranking.rows[3].tied
    alone = Ranking(source="pets", metric="accuracy", examples=9, folds=3, rows=ranking.rows[:1])
    assert len(alone.verdict) == 1


def test_json_and_csv_hold_the_same(ranking, tmp_path):
    values = json.loads(ranking.write(tmp_path / "a" / "rank.json").read_text(encoding="utf-8"))
    assert values == json.loads(json.dumps(ranking.to_dict())) and values["fastest_tied"] == "near"
    table = pd.read_csv(ranking.write(tmp_path / "rank.csv"))
    assert list(table["name"]) == [one["name"] for one in values["backbones"]]
    assert list(table["place"])[:3] == [1, 2, 3] and table["error"][3] == "no such file"
    assert table["accuracy_low"][0] == 0.8 and table["behind_high"][2] == -0.1
    assert list(table["tied_with_best"]) == [True, True, False, False]


def test_only_files_that_can_be_written_are_accepted(ranking, tmp_path):
    assert check_out("rank.JSON") is None
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").write_text("")
    for name in ("rank.txt", "rank", "folder.json"):
        with pytest.raises(ConfigError, match=r"\.json or \.csv"):
            ranking.write(tmp_path / name)
    with pytest.raises(RunFolderError, match="--out"):
        ranking.write(tmp_path / "file" / "rank.csv")
