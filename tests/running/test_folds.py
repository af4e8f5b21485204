"""A run in folds: everything held out once, one model that averages, nothing half-written."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import finetune as ft
import finetune.running.folds
from finetune.cli import call
from finetune.errors import RunFolderError
from finetune.manifest import seal
from finetune.models.options import Backbone, LinearHead, MLPHead
from finetune.saved import as_one
from finetune.tasks.options import Classify, Regress, Tag
from tests.made import KINDS, QUICK, QUICK_WORDS, class_folders, contents, parts_of

FOLDS = 3


@pytest.fixture(scope="module")
def folded(textures, tmp_path_factory):
    """A model of three folds, with its run folder; nobody writes to it."""
    return ft.fit(textures, **QUICK, folds=FOLDS, out=tmp_path_factory.mktemp("runs") / "folded")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Twelve pictures of three kinds; nobody writes to them."""
    return class_folders(tmp_path_factory.mktemp("few"), count=4)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_picture_is_held_out_once_and_answered_by_the_fold_that_held_it_out(folded, textures):
    rows = rows_of(folded.folder / "out_of_fold.csv")
    assert list(rows[0]) == ["path", "label", *KINDS, "fold"]
    assert sorted(row["path"] for row in rows) == sorted(str(file) for file in textures.glob("*/*.png"))
    fold_of = {row["source"]: row["fold"] for row in rows_of(folded.folder / "splits.csv")}
    assert all(fold_of["/".join(row["path"].split("/")[-2:])] == row["fold"] for row in rows)
    for number in range(1, FOLDS + 1):
        held = [row for row in rows if row["fold"] == str(number)]
        own = ft.load(folded.folder / f"fold-{number}")
        answered = own.predict([row["path"] for row in held])
        expected = [[float(row[name]) for name in KINDS] for row in held]
        np.testing.assert_allclose(answered[list(KINDS)], expected, atol=1e-6)
        parts = {row["source"]: row["split"] for row in rows_of(own.folder / "splits.csv")}
        assert {name for name, part in parts.items() if part == "validation"} == {
            name for name, fold in fold_of.items() if fold == str(number)
        }


def test_metrics_are_those_of_all_held_out_answers_and_of_each_fold(folded):
    metrics = json.loads((folded.folder / "metrics.json").read_text())
    assert metrics == folded.metrics and parts_of(metrics) == ["validation"]
    rows = rows_of(folded.folder / "out_of_fold.csv")
    right = np.mean([row["label"] == row["path"].split("/")[-2] for row in rows])
    assert metrics["validation"]["accuracy"]["value"] == right and metrics["validation"]["accuracy"]["n"] == 36
    for name, figure in metrics["folds"].items():
        own = [ft.load(folded.folder / f"fold-{n}").metrics["validation"][name]["value"] for n in range(1, FOLDS + 1)]
        assert figure["values"] == own
        assert figure["mean"] == pytest.approx(np.mean(own)) and figure["spread"] == pytest.approx(np.std(own, ddof=1))
    assert "mean of the folds" in (folded.folder / "report.md").read_text()


def test_the_model_answers_with_the_mean_of_its_members_and_reads_each_picture_once(folded, textures):
    read = []
    answered = folded.predict(textures, progress=read.append)
    assert sum(read) == 36
    members = [ft.load(folded.folder / f"fold-{n}").predict(textures) for n in range(1, FOLDS + 1)]
    mean = np.mean([member[list(KINDS)].to_numpy() for member in members], axis=0)
    # Folds this small have no temperature of their own; all held-out answers together may have one.
    np.testing.assert_allclose(answered[list(KINDS)], folded.decisions.calibrated(folded.task, mean), atol=1e-6)


def test_it_comes_back_from_the_run_and_from_the_model_folder_wherever_that_is(folded, textures, tmp_path):
    moved = shutil.copytree(folded.folder / "model", tmp_path / "elsewhere")
    expected = folded.predict(textures)
    for folder in (folded.folder, folded.folder / "model", moved):
        pd.testing.assert_frame_equal(ft.load(folder).predict(textures), expected, check_exact=True)
    assert ft.load(folded.folder).metrics == folded.metrics
    assert ft.load(folded.folder).evaluate(textures)["test"]["accuracy"]["n"] == 36
    assert ft.load(moved).facts["ensemble"] == ["fold-1", "fold-2", "fold-3"]


def test_a_member_that_was_exchanged_is_refused(folded, tmp_path):
    moved = shutil.copytree(folded.folder / "model", tmp_path / "elsewhere")
    shutil.copy(moved / "fold-1" / "finetune.json", moved / "fold-2" / "finetune.json")
    with pytest.raises(ft.RunFolderError, match="damaged or was replaced"):
        ft.load(moved)
    shutil.rmtree(moved / "fold-2")
    with pytest.raises(ft.RunFolderError, match="is missing"):
        ft.load(moved)


ARCHITECTURES = {
    "linear": ("finetune/lenet5", LinearHead()), "mlp": ("finetune/lenet5", MLPHead(hidden=8)),
    "map": ("torchvision/squeezenet1_1", LinearHead()),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("options", [Classify(), Tag(), Regress()], ids=["classes", "labels", "numbers"])
def test_several_networks_as_one_answer_with_the_mean_answer(name, options):
    from finetune.data.labels import Labels

    torch.manual_seed(0)
    backbone, head = ARCHITECTURES[name]
    if isinstance(options, Regress):
        labels = [Labels(kind="number", names=(), center=c, scale=s) for c, s in ((1.0, 2.0), (-3.0, 0.5))]
    else:
        labels = [Labels(kind="class" if isinstance(options, Classify) else "labels", names=("a", "b"))] * 2
    tasks = [options.build(own, []) for own in labels]
    size = {} if backbone.startswith("finetune/") else {"input_size": 64}
    made = Backbone(backbone, weights="none", head=head, **size)
    networks = [made.build(labels[0].num_outputs).eval() for _ in tasks]
    for network in networks:
        for parameter in network.head.parameters():
            torch.nn.init.normal_(parameter, std=3)
    one, task = as_one(networks, tasks)
    inputs = torch.randint(0, 256, (5, networks[0].spec.in_chans, *networks[0].spec.size), dtype=torch.uint8)
    with torch.inference_mode():
        each = [own.answer(network(inputs)) for own, network in zip(tasks, networks, strict=True)]
        np.testing.assert_allclose(task.answer(one(inputs)), np.mean(each, axis=0), rtol=1e-5, atol=1e-6)
    assert np.ptp(each, axis=0).max() > 1e-3, "members that agree would show nothing"


@pytest.mark.thorough
def test_numbers_and_labels_are_folded_too(few, tmp_path):
    files = sorted(few.glob("*/*.png"))
    numbers = pd.DataFrame({"path": [str(f) for f in files], "y": [float(int(f.stem) % 4) / 2 for f in files]})
    model = ft.fit(numbers, **QUICK, task="regress", image="path", target="y", folds=2, out=tmp_path / "numbers")
    assert model.metrics["validation"]["rmse"]["n"] == 12
    members = [ft.load(tmp_path / "numbers" / f"fold-{n}").predict(files)["label"] for n in (1, 2)]
    np.testing.assert_allclose(
        ft.load(tmp_path / "numbers").predict(files)["label"], np.mean(members, axis=0), rtol=1e-4
    )

    labels = numbers.assign(y=[";".join([f.parent.name, *(["even"] if int(f.stem) % 2 == 0 else [])]) for f in files])
    model = ft.fit(labels, **QUICK, image="path", target="y", delimiter=";", folds=2, out=tmp_path / "labels")
    assert set(model.classes) == {*KINDS, "even"}
    loaded = ft.load(tmp_path / "labels")
    again = loaded.evaluate(labels, image="path", target="y")
    assert again == loaded.evaluate(labels, image="path", target="y", delimiter=";"), "the delimiter is remembered"


def test_a_given_test_part_is_looked_at_once_by_the_mean_of_all(tmp_path):
    for seed, part in enumerate(("train", "test")):
        class_folders(tmp_path / "data" / part, count=6, kinds=KINDS[:2], seed=seed)
    model = ft.fit(tmp_path / "data", **QUICK, folds=2, out=tmp_path / "run")
    assert parts_of(model.metrics) == ["validation", "test"]
    assert model.metrics["validation"]["accuracy"]["n"] == model.metrics["test"]["accuracy"]["n"] == 12
    again = model.evaluate(tmp_path / "data" / "test")["test"]["log_loss"]["value"]
    assert again == pytest.approx(model.metrics["test"]["log_loss"]["value"], rel=1e-5)
    for fold in ("fold-1", "fold-2"):
        parts = {row["source"]: row["split"] for row in rows_of(tmp_path / "run" / fold / "splits.csv")}
        assert all((part == "") == name.startswith("test/") for name, part in parts.items())
        assert parts_of(ft.load(tmp_path / "run" / fold).metrics) == ["validation"]


def test_groups_stay_together_and_what_cannot_be_read_is_left_out(tmp_path, capsys):
    data = class_folders(tmp_path / "data", count=6, kinds=KINDS[:2])
    (data / "rings" / "0.png").write_bytes(b"no picture")
    words = ["fit", str(data), *QUICK_WORDS, "--folds", "3", "--group-from", r"^(\d)", "--out", str(tmp_path / "run")]
    assert call(words) == 2
    assert "1 of 12 pictures cannot be read" in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert call([*words, "--on-corrupt", "skip"]) == 0
    rows = rows_of(tmp_path / "run" / "splits.csv")
    assert len(rows) == 11
    groups = pd.DataFrame(rows).groupby("group")["fold"].nunique()
    assert len(groups) == 6 and (groups == 1).all()


@pytest.mark.thorough
def test_folds_of_a_method_with_epochs_are_runs_of_it(few, tmp_path):
    words = {**QUICK, "method": "lp-ft", "epochs": 1, "batch_size": 4}
    model = ft.fit(few, **words, folds=2, out=tmp_path / "run")
    for number in (1, 2):
        assert [row["epoch"] for row in rows_of(tmp_path / "run" / f"fold-{number}" / "metrics.csv")] == ["0", "1"]
    assert [one["phase"] for one in model.facts["chosen"]] and len(model.facts["chosen"]) == 2


@pytest.fixture
def stopping(monkeypatch):
    """Lets a fold end otherwise than well."""

    def at(number, error):
        learn, called = finetune.running.folds.learn, []

        def instead(material, splits, folder, *others, **words):
            called.append(folder)
            (folder / "checkpoints").mkdir()
            if len(called) == number:
                raise error
            return learn(material, splits, folder, *others, **words)

        monkeypatch.setattr(finetune.running.folds, "learn", instead)

    return at


def test_ctrl_c_keeps_the_folds_that_ended(few, tmp_path, stopping, capsys):
    stopping(3, KeyboardInterrupt())
    assert call(["fit", str(few), *QUICK_WORDS, "--folds", "3", "--out", str(tmp_path / "run")]) == 130
    names = {entry.name for entry in (tmp_path / "run").iterdir()}
    assert {"fold-1", "fold-2", "model", "metrics.json"} <= names and "fold-3" not in names
    loaded = ft.load(tmp_path / "run")
    assert loaded.stopped and loaded.metrics["validation"]["accuracy"]["n"] == 8
    assert "2 of 3 folds were run" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ft.TrainingError("The loss became nan.")])
def test_a_run_that_comes_to_nothing_leaves_nothing(few, tmp_path, stopping, error):
    stopping(1 if isinstance(error, KeyboardInterrupt) else 2, error)
    code = call(["fit", str(few), *QUICK_WORDS, "--folds", "3", "--out", str(tmp_path / "runs" / "x")])
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_run_in_folds_is_replaced_only_when_asked_and_is_back_after_a_failure(
    folded, few, tmp_path, stopping
):
    out = shutil.copytree(folded.folder, tmp_path / "run")
    before = contents(out)
    words = ["fit", str(few), *QUICK_WORDS, "--folds", "2", "--out", str(out)]
    assert call(words) == 2 and contents(out) == before
    assert call([*words, "--overwrite"]) == 0 and not (out / "fold-3").exists()
    before = contents(out)
    stopping(2, ft.TrainingError("The loss became nan."))
    assert call([*words, "--overwrite"]) == 2 and contents(out) == before


@pytest.mark.parametrize(
    "what", [pytest.param("", marks=pytest.mark.thorough, id="all folds"), pytest.param("fold-2", id="one fold")]
)
def test_a_run_in_folds_and_each_of_its_folds_repeat_from_their_recipes(folded, textures, tmp_path, what):
    out = tmp_path / "again"
    assert call(["fit", "--recipe", str(folded.folder / what), "--seed", "7", "--out", str(out)]) == 0
    assert (out / "splits.csv").read_bytes() == (folded.folder / what / "splits.csv").read_bytes()
    if what:
        assert call(["fit", "--recipe", str(folded.folder / what), "--out", str(out), "--overwrite"]) == 0
        for name in ("metrics.json", "metrics.csv"):
            assert (out / name).read_bytes() == (folded.folder / what / name).read_bytes()


# What leaks


@pytest.fixture
def torn(tmp_path):
    for seed, part in enumerate(("train", "test")):
        class_folders(tmp_path / "data" / part, count=6, kinds=KINDS[:2], seed=seed)
    words = ["fit", str(tmp_path / "data"), *QUICK_WORDS, "--group-from", r"^(\d)", "--out", str(tmp_path / "run")]
    return [*words, "--folds", "2"], words


@pytest.mark.parametrize(
    "number", [pytest.param(0, marks=pytest.mark.thorough, id="folds"), pytest.param(1, id="one run")]
)
def test_leaks_are_refused_a_line_each_or_said_first_of_all(torn, number, tmp_path, capsys):
    words = torn[number]
    assert call(words) == 2
    message = capsys.readouterr().err
    side = "(fold " if number == 0 else "(train)"
    lines = [line for line in message.splitlines() if side in line]
    assert len(lines) == 12 and all("(test)" in line and "same group" in line for line in lines), message
    assert str(tmp_path / "run.leaks.csv") in message and len(rows_of(tmp_path / "run.leaks.csv")) == 12
    assert not (tmp_path / "run").exists()
    assert call([*words, "--allow-leaks"]) == 0
    first = (tmp_path / "run" / "report.md").read_text().splitlines()[0]
    assert "12 pairs of pictures" in first
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["leaks"] == 12
    assert json.loads((tmp_path / "run" / "model" / "finetune.json").read_text())["leaks"] == 12
    assert len(rows_of(tmp_path / "run" / "leaks.csv")) == 12
    assert call([*words, "--allow-leaks", "--overwrite"]) == 0


# In order


def test_frames_of_a_drive_are_cut_into_stretches_on_the_command_line(few, tmp_path, capsys):
    files = sorted(few.glob("*/*.png"), key=lambda file: (file.stem, file.parent.name))
    table = "".join(f"{file},{number % 5 / 4}\n" for number, file in enumerate(files))
    (tmp_path / "log.csv").write_text(table)
    words = ["fit", str(tmp_path / "log.csv"), *QUICK_WORDS, "--no-header", "--image", "0", "--target", "1"]
    words += ["--task", "regress", "--order", "row", "--stretches", "6", "--validation", "0.3", "--test", "0"]
    assert call([*words, "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    parts = [row["split"] for row in rows_of(tmp_path / "run" / "splits.csv")]
    assert all(parts[row] == parts[row + 1] for row in range(0, 12, 2)) and set(parts) == {"train", "validation"}
    assert "6 stretches of neighbours" in (tmp_path / "run" / "report.md").read_text()


def test_an_order_that_is_not_there_is_refused_before_any_picture_is_read(few, tmp_path, capsys, monkeypatch):
    import finetune.running.gather

    monkeypatch.setattr(finetune.running.gather, "_read_all", None)
    words = ["fit", str(few), *QUICK_WORDS, "--order", "taken", "--out", str(tmp_path / "run")]
    assert call(words) == 2 and 'no column "taken" (order)' in capsys.readouterr().err


def test_a_class_that_begins_after_training_is_refused_with_its_name(few, tmp_path, capsys):
    words = ["fit", str(few), *QUICK_WORDS, "--order", "row", "--out", str(tmp_path / "run")]
    assert call(words) == 2
    assert "no training picture of stripes: its examples are all on the other side" in capsys.readouterr().err


@pytest.mark.parametrize("names", [[], [".."], ["."], ["a/b"], ["fold-9"], [""]])
def test_members_that_are_no_folders_of_the_model_are_refused(folded, tmp_path, names):
    shutil.copytree(folded.folder / "model", tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "finetune.json").read_text())
    (tmp_path / "model" / "finetune.json").write_text(json.dumps(facts | {"ensemble": names}))
    seal(tmp_path / "model")
    with pytest.raises(RunFolderError, match="no folders beside it"):
        ft.load(tmp_path)


def test_ctrl_c_while_a_fold_is_measured_leaves_that_fold_out(few, tmp_path, monkeypatch):
    import finetune.running.run as room

    calls = []

    def answers(*values, **words):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*values, **words)

    real = room.answers
    monkeypatch.setattr(room, "answers", answers)
    model = ft.fit(few, **QUICK | {"method": "full", "epochs": 1}, folds=3, out=tmp_path / "run")
    assert len(calls) == 2 and model.stopped
    assert model.metrics["validation"]["accuracy"]["n"] == 4
    assert "1 of 3 folds were run" in (tmp_path / "run" / "report.md").read_text()
