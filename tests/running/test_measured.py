"""What a run fits on validation is kept, told, and applied by predict and evaluate alike."""

import json

import numpy as np
import pandas as pd
import pytest

import finetune as ft
from finetune.cli import call
from finetune.data.labels import Labels
from finetune.report.decided import decide
from finetune.report.judged import Seen
from finetune.tasks.decisions import Decisions
from tests.made import KINDS, QUICK, table, texture


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Two kinds of pictures, 60 of each, too noisy to be told apart for sure."""
    from PIL import Image

    root, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    for kind in KINDS[:2]:
        (root / kind).mkdir()
        for number in range(60):
            noise = rng.normal(0, 70, (32, 32, 3))
            picture = np.clip(texture(kind, rng) * 0.5 + 64 + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / kind / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def decided(many, tmp_path_factory):
    words = {"operate": "checks:sensitivity>=0.9", "coverage": 0.8, "validation": 0.4, "test": 0.3}
    return ft.fit(many, **QUICK, **words, out=tmp_path_factory.mktemp("runs") / "decided")


def test_decisions_are_kept_with_the_model_and_measured_on_each_part(decided):
    facts = json.loads((decided.folder / "model" / "finetune.json").read_text())["decisions"]
    assert set(facts["thresholds"]) == {"checks"} and facts["coverage"] == 0.8 and 0 < facts["limit"] < 1
    assert facts["priors"] == {"checks": 0.5, "rings": 0.5}
    for part in ("validation", "test"):
        at = decided.metrics["operating"][part]["checks"]
        assert at["threshold"] == facts["thresholds"]["checks"] and at["asked"] == "checks:sensitivity>=0.9"
        assert decided.metrics["conformal"][part]["coverage"]["n"] == decided.metrics[part]["accuracy"]["n"]
        assert decided.metrics["calibration"][part]["temperature"] == facts["temperature"]
    assert decided.metrics["conformal"]["validation"]["coverage"]["value"] >= 0.75


def test_predict_and_evaluate_apply_what_was_fitted(decided, many):
    loaded = ft.load(decided.folder)
    answered = loaded.predict(many)
    assert list(answered.columns) == ["path", "label", *KINDS[:2], "set", "abstained", "error"]
    limit = decided.decisions.thresholds["checks"]
    assert list(answered["label"] == "checks") == list(answered["checks"] >= limit)
    held = [name for name in KINDS[:2]]
    expected = ["|".join(n for n in held if 1 - row[n] <= decided.decisions.limit) for _, row in answered.iterrows()]
    assert list(answered["set"]) == expected
    assert list(answered["abstained"]) == [len(list(filter(None, one.split("|")))) != 1 for one in expected]
    written = pd.read_csv(decided.folder / "predictions.csv")
    test = written[written["part"] == "test"].set_index("path")
    again = answered.set_index("path").loc[test.index]
    np.testing.assert_allclose(again["checks"], test["checks"], atol=1e-5)
    assert list(again["label"]) == list(test["label"])
    rows = [(path, target) for path, target in zip(test.index, test["target"], strict=True)]
    told = loaded.evaluate(rows)
    for key in ("operating", "conformal", "calibration"):
        assert told[key]["test"].keys() == decided.metrics[key]["test"].keys()
    assert told["test"]["log_loss"]["value"] == pytest.approx(decided.metrics["test"]["log_loss"]["value"], rel=1e-4)


def test_a_prior_moves_probabilities_and_takes_the_sets_away(decided, many, capsys):
    files = [str(many / "rings" / "0.png"), str(many / "checks" / "0.png")]
    assert call(["predict", str(decided.folder), *files, "--prior", "checks=0.02"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "path,label,checks,rings,error"
    plain = decided.predict(files)
    moved = decided.predict(files, prior={"checks": 0.02})
    odds = plain["checks"] / plain["rings"] * (0.02 / 0.98)
    np.testing.assert_allclose(moved["checks"], odds / (1 + odds))
    assert list(moved["label"]) == list(plain["label"]), "the threshold moves along"
    assert call(["predict", str(decided.folder), *files, "--prior", "checkers=0.02"]) == 2
    assert 'Did you mean "checks"' in capsys.readouterr().err


def test_a_number_is_answered_with_an_interval(many, tmp_path):
    rng = np.random.default_rng(0)
    rows = [(str(path), float(KINDS.index(path.parent.name) + rng.normal(0, 0.1))) for path in many.glob("*/*.png")]
    model = ft.fit(rows, **QUICK, coverage=0.8, validation=0.4, out=tmp_path / "run")
    answered = model.predict([rows[0][0]])
    assert list(answered.columns) == ["path", "label", "low", "high", "error"]
    assert answered["high"][0] - answered["low"][0] == pytest.approx(model.metrics["conformal"]["test"]["width"])
    assert answered["low"][0] < answered["label"][0] < answered["high"][0]
    assert "calibration" not in model.metrics


def test_where_nothing_was_held_out_a_line_says_that_nothing_was_fitted():
    task = ft.Classify().build(Labels(kind="class", names=KINDS[:2]), [])
    seen = Seen(answer=np.full((5, 2), 0.5), target=np.arange(5) % 2)
    found = decide(task, {"test": seen}, operate="sensitivity>=0.9", coverage=0.9, priors={})
    assert "no held-out examples to fit operate and coverage on" in found.notes[0]
    assert found.decisions == Decisions() and found.parts["test"] is seen
    assert decide(task, {"test": seen}, operate=None, coverage=None, priors={}).notes == ()


def test_figures_are_told_by_size_brightness_and_any_column(many, tmp_path, capsys):
    files = sorted(many.glob("*/*.png"))
    rows = [(str(file), file.parent.name, "AB"[n % 2], n) for n, file in enumerate(files)]
    source = table(tmp_path / "t.csv", ("file", "kind", "site", "age"), rows)
    words = {"image": "file", "target": "kind"}
    model = ft.fit(source, **QUICK, **words, by=("site", "age"), test=0.4, out=tmp_path / "run")
    test = model.metrics["slices"]["test"]
    assert {one["by"] for one in test} == {"brightness", "site", "age"}, "all pictures are of one size"
    for by in ("brightness", "site", "age"):
        assert sum(one["n"] for one in test if one["by"] == by) == model.metrics["test"]["accuracy"]["n"]
    assert len([one for one in test if one["by"] == "age"]) == 4
    worst = model.metrics["worst_slice"]
    assert worst["part"] == "test" and worst["metric"] == "accuracy" and worst["n"] >= 10
    written = pd.read_csv(tmp_path / "run" / "predictions.csv")
    site = written[(written["part"] == "test") & (written["site"] == "A")]
    (told,) = [one for one in test if one["value"] == "A"]
    assert told["metrics"]["accuracy"]["value"] == pytest.approx((site["label"] == site["target"]).mean())

    assert call(["evaluate", str(tmp_path / "run"), str(source), "--image", "file", "--target", "kind",
                 "--by", "site,brightness", "--json"]) == 0  # fmt: skip
    again = json.loads(capsys.readouterr().out)["slices"]["test"]
    assert [one["by"] for one in again] == ["brightness"] * 4 + ["site"] * 2
    assert call(["evaluate", str(tmp_path / "run"), str(source), "--image", "file", "--target", "kind",
                 "--by", "sites"]) == 2  # fmt: skip
    assert 'Did you mean "site"' in capsys.readouterr().err


def test_wishes_that_do_not_fit_the_task_are_refused_before_any_picture_is_read(many, tmp_path, capsys):
    words = ["fit", str(many), "--out", str(tmp_path / "run")]
    assert call([*words, "--coverage", "1.5", "--operate", "sensitivty>=0.9"]) == 2
    told = capsys.readouterr().err
    assert "coverage must be" in told and "operate takes" in told
    assert call([*words, "--task", "regress", "--operate", "sensitivity>=0.9"]) == 2
    assert "Regress takes no operate" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
