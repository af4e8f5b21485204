"""The main job from end to end, as a person does it."""

from __future__ import annotations

import csv
import gc
import json
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import finetune as ft
from finetune.cli import call
from finetune.model import own
from tests.made import KINDS, QUICK, QUICK_WORDS, class_folders, contents, parts_of, texture

METRICS = {"accuracy", "balanced_accuracy", "auroc", "f1", "log_loss"}
FURTHER = {"auprc", "brier"}
BESIDE = ["classes", "confusion", "undefined", "calibration", "baselines", "slices"]


@pytest.fixture(scope="module", params=["probed", "tuned"])
def model(request):
    return request.getfixturevalue(request.param)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_folder_holds_what_it_always_holds(model):
    assert {entry.name for entry in model.folder.iterdir()} - {"steps.csv", "errors"} == {
        *("recipe.json", "splits.csv", "metrics.csv", "metrics.json", "predictions.csv", "report.md", "report.html"),
        *("run.json", "progress.json", "model", "checkpoints"),
    }
    assert {entry.name for entry in (model.folder / "model").iterdir()} == {
        *("config.json", "model.safetensors", "finetune.json", "sha256.json", "README.md")
    }
    assert list((model.folder / "checkpoints").glob("*.safetensors"))


def test_metrics_json_gives_each_figure_with_its_interval_and_n(model):
    metrics = json.loads((model.folder / "metrics.json").read_text())
    assert metrics == model.metrics
    assert list(metrics)[:2] == ["validation", "test"] and set(BESIDE) <= set(metrics)
    parts = [row["split"] for row in rows_of(model.folder / "splits.csv")]
    for part in ("validation", "test"):
        figures = metrics[part]
        assert set(figures) == METRICS | FURTHER
        for name, figure in figures.items():
            assert list(figure) == ["value", "low", "high", "n"]
            assert figure["n"] == parts.count(part)
            assert figure["low"] <= figure["value"] <= figure["high"], name


def test_splits_csv_names_every_picture_once_and_every_class_in_each_part(model, textures):
    rows = rows_of(model.folder / "splits.csv")
    assert list(rows[0]) == ["source", "target", "group", "split"]
    assert sorted(row["source"] for row in rows) == sorted(f"{kind}/{n}.png" for kind in KINDS for n in range(12))
    assert all(row["source"].startswith(row["target"]) for row in rows)
    assert {(row["target"], row["split"]) for row in rows} == {
        (kind, part) for kind in KINDS for part in ("train", "validation", "test")
    }


def test_metrics_csv_has_a_row_for_each_phase_and_epoch(tuned):
    rows = rows_of(tuned.folder / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(float(row["train_loss"]) >= 0 and 0 <= float(row["validation_accuracy"]) <= 1 for row in rows)
    assert {f"validation_{name}" for name in METRICS} <= set(rows[0])


def test_finetune_json_says_what_the_weights_cannot(model):
    facts = json.loads((model.folder / "model" / "finetune.json").read_text())
    assert facts["labels"]["names"] == list(KINDS)
    assert facts["task"]["kind"] == "classify"
    assert facts["preprocessing"]["size"] == [32, 32]
    assert {"python", "finetune", "torch", "timm"} <= set(facts["versions"])
    assert facts["data"]["examples"] == 36
    assert len(facts["data"]["fingerprint"]) == len(facts["splits"]) == 64
    manifest = json.loads((model.folder / "model" / "sha256.json").read_text())
    assert set(manifest["files"]) == {"model.safetensors", "config.json", "finetune.json"}


def test_textures_are_learned(probed):
    assert probed.metrics["test"]["accuracy"]["value"] > 0.5


def test_a_loaded_model_answers_exactly_as_the_one_that_fit_gave(model, textures):
    expected = model.predict(textures)
    for folder in (model.folder, model.folder / "model"):
        loaded = ft.load(folder)
        pd.testing.assert_frame_equal(loaded.predict(textures), expected, check_exact=True)
        assert loaded.classes == model.classes == KINDS
        assert loaded.metrics == model.metrics


def test_predict_answers_in_the_order_asked_for_files_folders_and_globs(probed, textures):
    asked = [str(textures / "stripes/3.png"), textures / "checks", str(textures / "rings" / "1*.png")]
    answered = probed.predict(asked)
    assert list(answered.columns) == ["path", "label", *KINDS, "error"]
    names = ["stripes/3", *(f"checks/{n}" for n in range(12)), "rings/1", "rings/10", "rings/11"]
    assert list(answered["path"]) == [str(textures / f"{name}.png") for name in names]
    probabilities = answered[list(KINDS)].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert [KINDS[k] for k in probabilities.argmax(axis=1)] == list(answered["label"])
    assert (answered["error"] == "").all()


def test_one_picture_may_be_asked_for_by_itself_and_as_an_array(probed, textures):
    path = textures / "rings/0.png"
    by_path, by_array = probed.predict(path), probed.predict([np.asarray(Image.open(path))])
    np.testing.assert_allclose(by_path[list(KINDS)], by_array[list(KINDS)], rtol=1e-6)


def test_a_lone_array_is_one_picture_and_anything_that_can_be_gone_through_is_many(probed, textures):
    paths = sorted((textures / "rings").glob("*.png"))[:3]
    expected = probed.predict(paths)[list(KINDS)].to_numpy()
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    many = [
        *(
            pd.Series(paths, index=[7, 8, 9]),
            iter(paths),
            tuple(map(str, paths)),
            np.array([str(path) for path in paths]),
        ),
        *(np.stack(arrays), arrays, iter(arrays), pictures, [picture.convert("P") for picture in pictures]),
    ]
    for asked in many:
        got = probed.predict(asked)[list(KINDS)].to_numpy()
        assert got.shape == expected.shape
    np.testing.assert_allclose(probed.predict(pictures)[list(KINDS)], expected, rtol=1e-6)
    for asked in (arrays[0], pictures[0], arrays[0][..., 0], arrays[0][..., :1]):
        assert len(probed.predict(asked)) == 1
    np.testing.assert_allclose(probed.predict(arrays[0])[list(KINDS)], expected[:1], rtol=1e-4)


def test_an_array_that_may_be_one_picture_or_many_is_refused(probed):
    for shape in ((5, 32, 32), (3, 32, 32), (7,)):
        with pytest.raises(ft.FinetuneError, match="ambiguous"):
            probed.predict(np.zeros(shape, np.uint8))


def test_predict_writes_the_csv_that_it_prints(probed, textures, tmp_path, capsys):
    words = ["predict", str(probed.folder), str(textures / "rings"), str(textures / "checks/1.png")]
    assert call(words) == 0
    printed = capsys.readouterr().out
    assert call([*words, "--out", str(tmp_path / "new" / "answers.csv")]) == 0
    assert (tmp_path / "new" / "answers.csv").read_text() == printed
    table = pd.read_csv(tmp_path / "new" / "answers.csv", keep_default_na=False)
    assert list(table.columns) == ["path", "label", *KINDS, "error"]
    assert len(table) == 13


def test_evaluating_an_unsplit_source_answers_under_test(probed, textures):
    metrics = ft.evaluate(probed.folder, textures)
    assert list(metrics)[:4] == ["test", "classes", "confusion", "undefined"]
    assert metrics["test"]["accuracy"]["n"] == 36
    right = [path.split("/")[-2] == label for path, label in probed.predict(textures)[["path", "label"]].to_numpy()]
    assert metrics["test"]["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert metrics == probed.evaluate(textures)


def test_evaluating_the_test_part_again_gives_the_figures_of_the_run(probed, textures):
    rows = [row for row in rows_of(probed.folder / "splits.csv") if row["split"] == "test"]
    again = probed.evaluate([(str(textures / row["source"]), row["target"]) for row in rows])
    for name, figure in probed.metrics["test"].items():
        assert again["test"][name]["value"] == pytest.approx(figure["value"], rel=1e-5), name


def test_evaluate_tells_of_held_out_pictures_what_fit_told(probed, textures, tmp_path):
    """The naive answers, the slices by what pictures look like: in a place and under names that fit never saw."""
    rows = [row for row in rows_of(probed.folder / "splits.csv") if row["split"] == "test"]
    for row in rows:
        (tmp_path / row["target"]).mkdir(exist_ok=True)
        shutil.copy(textures / row["source"], tmp_path / row["source"])
    found, told = probed.evaluate(tmp_path), probed.metrics
    for key in ("baselines", "over_baselines"):
        assert set(found[key]["test"]) == {"majority", "nearest-pixels"}
        for name, figures in found[key]["test"].items():
            for metric, figure in figures.items():
                expected = told[key]["test"][name][metric]
                assert [figure["value"], figure["n"]] == pytest.approx([expected["value"], expected["n"]]), metric
    assert {one["by"] for one in found["slices"]["test"]} == {"brightness"}, "they are all of one size"
    # Pictures that were learned from would find themselves.
    assert set(probed.evaluate(textures)["baselines"]["test"]) == {"majority"}


@pytest.mark.parametrize("words", [{}, {"method": "lp-ft", "epochs": 1, "batch_size": 8}], ids=["probe", "lp-ft"])
def test_two_runs_with_one_seed_give_identical_metrics(textures, tmp_path, monkeypatch, words):
    for name in ("a", "b"):
        monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / f"cache-{name}"))
        ft.fit(textures, **{**QUICK, **words}, out=tmp_path / name)
    assert (tmp_path / "a" / "metrics.json").read_bytes() == (tmp_path / "b" / "metrics.json").read_bytes()
    assert (tmp_path / "a" / "metrics.csv").read_bytes() == (tmp_path / "b" / "metrics.csv").read_bytes()


def test_another_seed_divides_otherwise(textures, probed):
    other = ft.fit(textures, **QUICK, seed=1)
    try:
        assert other.facts["splits"] != probed.facts["splits"]
    finally:
        shutil.rmtree(other.folder)


def test_a_run_repeats_from_its_recipe(tuned, tmp_path, capsys):
    words = ["fit", "--recipe", str(tuned.folder / "recipe.json"), "--out", str(tmp_path / "again")]
    assert call(words) == 0, capsys.readouterr().err
    for name in ("metrics.json", "metrics.csv", "splits.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tuned.folder / name).read_bytes(), name
    assert (
        json.loads((tmp_path / "again" / "recipe.json").read_text())["recipe"]
        == (json.loads((tuned.folder / "recipe.json").read_text())["recipe"])
    )


def test_another_method_on_a_recipe_decides_anew_what_nobody_said(tuned, tmp_path):
    again = ft.fit(recipe=tuned.folder, method="probe", out=tmp_path / "again", verbose=False)
    assert again.facts["chosen"]["phase"] == "probe"


def test_the_report_names_a_command_that_repeats_the_run(probed):
    assert f"finetune fit --recipe {probed.folder / 'recipe.json'}" in (probed.folder / "report.md").read_text()


def test_without_out_the_model_owns_a_temporary_folder_and_can_be_kept(textures, tmp_path):
    model = ft.fit(textures, **QUICK)
    try:
        assert (model.folder / "metrics.json").exists()
        kept = model.save(tmp_path / "kept")
        pd.testing.assert_frame_equal(ft.load(kept).predict(textures / "rings"), model.predict(textures / "rings"))
    finally:
        shutil.rmtree(model.folder, ignore_errors=True)


def test_a_temporary_folder_goes_when_its_model_does(probed, tmp_path):
    folder = shutil.copytree(probed.folder, tmp_path / "temporary")
    model = ft.load(folder)
    own(model)
    kept = model.save(tmp_path / "kept")
    gc.collect()
    assert folder.exists()
    del model
    gc.collect()
    assert not folder.exists()
    assert contents(kept) == contents(probed.folder)


@pytest.fixture
def parts(tmp_path):
    def make(*names):
        for seed, name in enumerate(names):
            class_folders(tmp_path / "data" / name, count=8, kinds=("rings", "stripes"), seed=seed)
        return tmp_path / "data"

    return make


@pytest.mark.parametrize("method", ["probe", "full"])
def test_train_and_test_without_validation_leave_test_untouched_and_learn_from_all_of_train(parts, tmp_path, method):
    model = ft.fit(parts("training", "testing"), **{**QUICK, "method": method, "epochs": 2}, out=tmp_path / "run")
    assert parts_of(model.metrics) == ["validation", "test"]
    assert model.metrics["test"]["accuracy"]["n"] == 16
    rows = rows_of(tmp_path / "run" / "splits.csv")
    given_to_test = {row["source"] for row in rows if row["split"] == "test"}
    assert given_to_test == {row["source"] for row in rows if row["source"].startswith("testing/")}
    # A probe measures by cross-fitting all of train; epochs are chosen on a part carved from it, and then all is used.
    carved = [row for row in rows if row["split"] == "validation"]
    assert model.metrics["validation"]["accuracy"]["n"] == (16 if method == "probe" else len(carved))
    finals = list((tmp_path / "run" / "checkpoints").glob("final-*.safetensors"))
    assert len(finals) == (0 if method == "probe" else 1)


def test_train_and_val_without_test_says_what_that_costs(parts, tmp_path):
    model = ft.fit(parts("train", "val"), **QUICK, out=tmp_path / "run")
    assert parts_of(model.metrics) == ["validation"]
    assert model.metrics["validation"]["accuracy"]["n"] == 16
    assert "no test part" in (tmp_path / "run" / "report.md").read_text()


def test_evaluating_a_source_with_parts_answers_under_their_names(parts, probed, tmp_path):
    metrics = probed.evaluate(parts("train", "valid", "test"))
    assert parts_of(metrics) == ["validation", "test"]


def test_unreadable_pictures_are_skipped_when_asked_and_counted(textures, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(textures, root)
    (root / "rings" / "0.png").write_bytes(b"no picture")
    words = ["fit", str(root), *QUICK_WORDS, "--on-corrupt", "skip", "--out", str(tmp_path / "run")]
    assert call(words) == 0
    assert "1 of 36 pictures cannot be read and were left out" in capsys.readouterr().out
    assert len(rows_of(tmp_path / "run" / "splits.csv")) == 35


def test_flat_folders_learn_from_file_names(textures, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in textures.glob("*/*.png"):
        shutil.copy(file, flat / f"{file.parent.name}.{file.name}")
    words = {**QUICK, "label_from": "^([a-z]+)", "group_from": r"(\d)\.png$"}
    model = ft.fit(flat, **words, out=tmp_path / "run")
    assert model.classes == KINDS
    parts_of = {}
    for row in rows_of(tmp_path / "run" / "splits.csv"):
        parts_of.setdefault(row["group"], set()).add(row["split"])
    assert len(parts_of) == 10
    assert all(len(parts) == 1 for parts in parts_of.values())


@pytest.fixture
def interrupting():
    """Gives a callback for Lightning that presses Ctrl-C after the second step."""
    lightning = pytest.importorskip("lightning")

    class Interrupts(lightning.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if trainer.global_step == 2:
                signal.raise_signal(signal.SIGINT)

    return Interrupts()


def test_ctrl_c_leaves_a_run_that_can_be_used(textures, tmp_path, interrupting):
    words = {**QUICK, "method": "lp-ft", "epochs": 50, "batch_size": 4}
    before = signal.getsignal(signal.SIGINT)
    model = ft.fit(textures, **words, callbacks=[interrupting], out=tmp_path / "run")
    assert model.stopped
    assert signal.getsignal(signal.SIGINT) is before
    loaded = ft.load(tmp_path / "run")
    assert loaded.stopped
    assert loaded.metrics["test"]["accuracy"]["n"] == model.metrics["test"]["accuracy"]["n"] > 0
    pd.testing.assert_frame_equal(loaded.predict(textures / "rings"), model.predict(textures / "rings"))
    assert "stopped by its user" in (tmp_path / "run" / "report.md").read_text()
    assert len(rows_of(tmp_path / "run" / "metrics.csv")) <= 3


def test_ctrl_c_while_the_final_fit_begins_keeps_what_validation_chose(parts, tmp_path, monkeypatch):
    import finetune.training.transfer as room

    made = []

    def fitting(*values, **words):
        made.append(1)
        if len(made) > 1:
            raise KeyboardInterrupt
        return real(*values, **words)

    real = room.fit_on_features
    monkeypatch.setattr(room, "fit_on_features", fitting)
    model = ft.fit(parts("train", "test"), **QUICK | {"method": "lp-ft", "epochs": 1, "views": 1}, out=tmp_path / "run")
    assert len(made) == 2 and model.stopped and "test" in model.metrics
    assert ft.load(tmp_path / "run").folder


@pytest.mark.parametrize(("during", "left"), [(1, set()), (2, {"validation"})], ids=["validation", "test"])
def test_ctrl_c_while_the_chosen_weights_are_measured_keeps_them(textures, tmp_path, monkeypatch, during, left):
    import finetune.running.run as room

    calls = []

    def answers(*values, **words):
        calls.append(1)
        if len(calls) == during:
            raise KeyboardInterrupt
        return real(*values, **words)

    real = room.answers
    monkeypatch.setattr(room, "answers", answers)
    words = {**QUICK, "method": "full", "epochs": 1}
    model = ft.fit(textures, **words, out=tmp_path / "run")
    assert len(calls) == during and model.stopped
    assert set(parts_of(model.metrics)) == left
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == model.metrics
    report = (tmp_path / "run" / "report.md").read_text()
    assert "stopped before all its parts were measured" in report
    assert "There was no test part" not in report
    loaded = ft.load(tmp_path / "run")
    assert loaded.stopped and parts_of(loaded.evaluate(textures)) == ["test"]


def test_ctrl_c_before_there_is_anything_to_keep_leaves_nothing(textures, tmp_path, monkeypatch, capsys):
    import finetune.running.gather

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune.running.gather, "read_examples", interrupted)
    assert call(["fit", str(textures), *QUICK_WORDS, "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err.strip() == "finetune: stopped. Nothing was kept: there were no weights yet."
    assert list(tmp_path.iterdir()) == []


def test_lightnings_own_people_have_their_door(textures, tmp_path):
    import lightning

    class Counts(lightning.Callback):
        steps = 0

        def on_train_batch_end(self, *_):
            self.steps += 1

    counts = Counts()
    words = {**QUICK, "method": "full", "epochs": 2, "batch_size": 4, "trainer": {"limit_train_batches": 3}}
    ft.fit(textures, **words, callbacks=[counts], out=tmp_path / "run")
    assert counts.steps == 6


def test_a_failed_prediction_changes_nothing_on_disk(probed, textures, tmp_path):
    before = contents(probed.folder)
    probed.predict([textures / "rings/0.png", tmp_path / "nothing.png"])
    probed.evaluate(textures)
    assert contents(probed.folder) == before


def test_grey_backbones_take_colour_pictures_and_colour_backbones_take_grey_ones(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [texture(kind, rng)[..., 0] for kind in ("rings", "stripes") for _ in range(6)]
    model = ft.fit((arrays, ["r"] * 6 + ["s"] * 6), **QUICK, in_chans=3, out=tmp_path / "run")
    assert model.network.spec.in_chans == 3
    assert ft.load(tmp_path / "run").network.spec == model.network.spec


def test_a_class_of_which_no_picture_can_be_read_is_not_forgotten_in_silence(tmp_path):
    import finetune as ft

    source = class_folders(tmp_path / "source", kinds=("checks", "rings"))
    for file in (source / "rings").iterdir():
        file.write_bytes(b"torn")
    with pytest.raises(ft.DataError, match="no training picture of rings"):
        ft.fit(source, **QUICK, on_corrupt="skip", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
