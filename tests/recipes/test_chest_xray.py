from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import finetune as ft
from finetune import cli
from tests.made import QUICK_WORDS


def chestmnist(path, *, counts=(60, 24, 24), labels=3):
    """A .npz as MedMNIST's: grey pictures of 28 x 28, a column of 0 and 1 a finding, each drawn as a bar of its own."""
    rng, arrays = np.random.default_rng(0), {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        found = rng.integers(0, 2, (count, labels))
        pictures = rng.integers(60, 120, (count, 28, 28))
        for label in range(labels):
            pictures[:, 4 + 8 * label : 8 + 8 * label] += 100 * found[:, label, None, None]
        arrays |= {f"{part}_images": pictures.astype(np.uint8), f"{part}_labels": found.astype(np.uint8)}
    np.savez(path, **arrays)
    return arrays


def test_medmnist_s_archive_runs_with_its_own_division_and_finds_its_bars(tmp_path, capsys):
    arrays = chestmnist(tmp_path / "chestmnist.npz", counts=(60, 24, 60))
    out = tmp_path / "run"
    words = [*QUICK_WORDS, "--copies", "exact", "--out", str(out)]
    assert cli.call(["run", "chest_xray", str(tmp_path / "chestmnist.npz"), *words]) == 0
    model = ft.load(out)
    assert model.task.labels.kind == "labels" and len(model.classes) == 3
    parts = pd.read_csv(out / "splits.csv")["split"].value_counts().to_dict()
    assert parts == {"train": 60, "validation": 24, "test": 60}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["auroc"]["low"] > 0.9
    rows = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    rows = rows[rows["part"] == "test"]
    true = [["|".join(np.array(model.classes)[row.astype(bool)])] for row in arrays["test_labels"]]
    assert list(rows["target"]) == [one for (one,) in true]
    capsys.readouterr()
    assert cli.call(["evaluate", str(out), str(tmp_path / "chestmnist.npz"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["test"]["auroc"]["value"] == pytest.approx(metrics["test"]["auroc"]["value"], abs=1e-6)


def test_a_finding_that_nobody_has_is_named_and_not_dropped_in_silence(tmp_path):
    file = tmp_path / "chestmnist.npz"
    arrays = chestmnist(file)
    for part in ("val", "test"):
        arrays[f"{part}_labels"][:, 1] = 0
    np.savez(file, **arrays)
    out = tmp_path / "run"
    assert cli.call(["run", "chest_xray", str(file), *QUICK_WORDS, "--copies", "exact", "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["undefined"]["test"] == [ft.load(out).classes[1]]
    assert metrics["classes"]["test"][ft.load(out).classes[1]]["auroc"]["value"] is None
