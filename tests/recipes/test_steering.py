from __future__ import annotations

import json

import pandas as pd

from finetune import cli
from tests.data.drives import comma_drive
from tests.made import QUICK_WORDS


def test_a_drive_of_comma_is_learned_from_in_its_file_and_no_stretch_is_torn(tmp_path, capsys):
    comma_drive(tmp_path / "drive", frames=120)
    out = tmp_path / "run"
    assert cli.call(["run", "steering", str(tmp_path / "drive"), *QUICK_WORDS, "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    # A frame is as bright as its angle is large, so that a linear head on anything must beat the mean.
    assert metrics["test"]["rmse"]["high"] < metrics["baselines"]["test"]["mean"]["rmse"]["value"]
    splits = pd.read_csv(out / "splits.csv")
    assert splits[splits["split"].notna()].groupby("group")["split"].nunique().eq(1).all()
    capsys.readouterr()
    frame = f"{tmp_path / 'drive' / 'camera' / '2016-01-30.h5'}#frame=50"
    assert cli.call(["predict", str(out), frame, "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)[0]["error"]
