"""`finetune check`: from a folder to findings, a page, JSON and a table that fits."""

from __future__ import annotations

import json
import shutil
import socket
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import finetune as ft
from finetune import cli
from finetune.checkup import FACTS, PAGE
from finetune.errors import ConfigError, DataError, RunFolderError, WeightsError
from finetune.features import Values
from tests.made import KINDS, QUICK_WORDS, class_folders, contents, texture
from tests.report.test_page import Reader

ODD = "<b>'\"&, ü.bmp"


def blots(root, count=24, kinds=KINDS[:2], seed=1):
    """Pictures of which none is like another, in files of one size: nothing tells the classes apart."""
    rng = np.random.default_rng(seed)
    for kind in kinds:
        (root / kind).mkdir(parents=True)
        for number in range(count):
            blot = np.kron(rng.integers(0, 256, (10, 10, 3)), np.ones((4, 4, 1))) + rng.normal(0, 3, (40, 40, 3))
            Image.fromarray(np.clip(blot, 0, 255).astype(np.uint8)).save(root / kind / f"{number}.bmp")
    return root


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = blots(tmp_path_factory.mktemp("clean") / "pictures")
    return folder, ft.check(folder)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Parts with one of everything that is wrong."""
    folder = tmp_path_factory.mktemp("dirty") / "pictures"
    blots(folder / "train")
    blots(folder / "val", count=4, seed=2)
    train, first, second = folder / "train", *KINDS[:2]
    shutil.copy(train / first / "0.bmp", train / first / ODD)  # an exact copy with an odd name
    shutil.copy(train / first / "1.bmp", train / second / "conflict.bmp")
    shutil.copy(train / first / "2.bmp", folder / "val" / first / "leak.bmp")
    (train / first / "empty.png").touch()
    return folder, ft.check(folder)


def severities(checkup):
    return {finding.what: finding.severity for finding in checkup.findings}


def test_a_clean_folder_has_nothing_to_decide(clean):
    _, checkup = clean
    assert checkup.to_decide == ()
    assert severities(checkup) == dict.fromkeys(severities(checkup), "fine") | {"label suspects": "not checked"}


def test_everything_planted_is_found(dirty):
    folder, checkup = dirty
    ids = list(checkup.examples.table["id"])
    rows = {f.what: {ids[row] for row in f.rows} for f in checkup.findings}
    first, second = KINDS[:2]
    assert {f.what for f in checkup.to_decide} >= {"unreadable", "conflicts", "leaks"}
    assert rows["unreadable"] == {f"train/{first}/empty.png"}
    assert rows["conflicts"] == {f"train/{first}/1.bmp", f"train/{second}/conflict.bmp"}
    assert rows["leaks"] >= {f"train/{first}/2.bmp", f"val/{first}/leak.bmp"}
    assert {f"train/{first}/0.bmp", f"train/{first}/{ODD}"} <= rows["copies"]
    assert folder.name in checkup.source


def test_nothing_is_changed_where_it_lies(textures, tmp_path):
    before = contents(textures)
    checkup = ft.check(textures)
    checkup.write(tmp_path / "out")
    checkup.write_clean(tmp_path / "clean.csv")
    assert contents(textures) == before


def test_the_page_and_the_json_are_written_and_say_the_same(dirty, tmp_path):
    _, checkup = dirty
    page = checkup.write(tmp_path / "out")
    assert page == tmp_path / "out" / PAGE and page.stat().st_size < 5_000_000
    values = json.loads((tmp_path / "out" / FACTS).read_text(encoding="utf-8"))
    assert values == json.loads(json.dumps(checkup.to_dict(), default=list))
    found = [
        ft.Finding.from_dict(f | {"items": [{"rows": i["rows"], "text": i["text"]} for i in f["items"]]})
        for f in values["findings"]
    ]
    assert tuple(found) == checkup.findings
    reader = Reader(page.read_text(encoding="utf-8"))
    assert any(ODD in text for text in reader.texts) and reader.all("b") == []
    assert reader.all("img") and checkup.verdict in reader.texts


def test_an_earlier_check_is_kept_unless_told_and_nothing_else_is_touched(clean, tmp_path):
    _, checkup = clean
    (tmp_path / "mine.txt").write_text("mine")
    checkup.write(tmp_path)
    with pytest.raises(RunFolderError, match="--overwrite"):
        checkup.write(tmp_path)
    checkup.write(tmp_path, overwrite=True)
    assert set(contents(tmp_path)) == {"mine.txt", PAGE, FACTS}


def test_a_cleaned_table_drops_what_is_sure_and_marks_what_is_not(dirty):
    _, checkup = dirty
    table = checkup.clean_table().set_index(checkup.examples.table["id"])
    first, second = KINDS[:2]
    dropped = set(table.index[table["drop"]])
    assert dropped >= {f"train/{first}/empty.png", f"train/{first}/2.bmp"}  # the copy in validation stays
    assert len(dropped & {f"train/{first}/0.bmp", f"train/{first}/{ODD}"}) == 1
    conflict = table.loc[f"train/{second}/conflict.bmp"]
    assert not conflict["drop"] and f"{first}/1.bmp" in conflict["reason"]
    assert list(table.columns) == ["source", "target", "group", "split", "drop", "reason", "suggested_target"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_cleaned_table_is_never_written_over_somebody_elses(clean, tmp_path, overwrite):
    _, checkup = clean
    (tmp_path / "mine.csv").write_text("image,target\na.png,cat\n")
    with pytest.raises(RunFolderError):
        checkup.write_clean(tmp_path / "mine.csv", overwrite=overwrite)
    assert (tmp_path / "mine.csv").read_text() == "image,target\na.png,cat\n"


def test_a_cleaned_table_fits_as_it_is(textures, tmp_path, capsys):
    folder = tmp_path / "pictures"
    shutil.copytree(textures, folder)
    shutil.copy(folder / KINDS[0] / "0.png", folder / KINDS[0] / "copy, of.png")
    (folder / KINDS[1] / "empty.png").touch()
    table = tmp_path / "clean.csv"
    words = ["check", str(folder), "--out", str(tmp_path / "out"), "--write-clean", str(table)]
    assert cli.call(words) == 1
    command = next(line for line in capsys.readouterr().out.splitlines() if "finetune fit" in line)
    fit = ["fit", str(table), "--image", "source", "--target", "target", "--split", "split"]
    assert " ".join(fit) in command
    assert cli.call([*fit, *QUICK_WORDS, "--out", str(tmp_path / "run")]) == 0
    kept, dropped = pd.read_csv(table), pd.read_csv(tmp_path / "clean.dropped.csv")
    assert len(kept) == 36 and sorted(dropped["reason"].str.split(" ").str[0]) == ["exact", "unreadable:"]
    assert set(kept["split"]) == {"train", "validation", "test"}


def test_exit_codes_say_whether_something_must_be_decided_and_json_stands_alone(clean, dirty, tmp_path, capsys):
    assert cli.call(["check", str(clean[0]), "--out", str(tmp_path / "a"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 48
    assert cli.call(["check", str(dirty[0]), "--out", str(tmp_path / "b")]) == 1
    assert "To be decided: unreadable" in capsys.readouterr().out
    assert cli.call(["check", str(clean[0]), "--out", str(tmp_path / "d")]) == 0
    assert "2 classes: " in (shown := capsys.readouterr().out) and " 24" in shown
    assert cli.call(["check", str(tmp_path / "nowhere"), "--out", str(tmp_path / "c")]) == 2
    assert cli.call(["check", str(clean[0]), "--out", str(tmp_path / "a")]) == 2  # holds the first check
    assert cli.call(["check", str(clean[0]), "--epochs", "3"]) == 2
    assert not (tmp_path / "c").exists()


def test_pictures_without_answers_are_checked_as_files(clean, tmp_path):
    flat = tmp_path / "flat"
    shutil.copytree(clean[0] / KINDS[0], flat)
    (flat / "empty.png").touch()
    for checkup in (ft.check(flat), ft.check(flat, labelled=False)):
        found = severities(checkup)
        assert found["unreadable"] == "must decide" and found["usable"] == "not checked"
        assert not {"balance", "leaks", "label suspects", "shortcuts"} & set(found)
        assert checkup.to_dict()["kind"] is None


def test_what_a_fit_would_refuse_is_a_finding_and_no_error(tmp_path):
    folder = class_folders(tmp_path / "one", count=3, kinds=KINDS[:1])
    checkup = ft.check(folder)
    assert severities(checkup)["usable"] == "must decide" and "one class" in checkup.findings[0].sentence


def test_a_sheet_of_variations_is_drawn_where_asked(textures, tmp_path):
    checkup = ft.check(textures, labelled=False, augment="light")
    without = page_of(ft.check(textures, labelled=False), tmp_path / "a")
    drawn = page_of(checkup, tmp_path / "b")
    assert [img["alt"] for img in drawn.all("img") if "augmentation" in img["alt"]] == ["Sheet: augmentation"]
    assert not any("augmentation" in img["alt"] for img in without.all("img"))
    with pytest.raises(ConfigError, match="light"):
        ft.check(textures, augment="lihgt")


def page_of(checkup, folder):
    return Reader(checkup.write(folder).read_text(encoding="utf-8"))


def test_a_source_that_is_none_is_an_error(tmp_path):
    with pytest.raises(DataError):
        ft.check(tmp_path)
    with pytest.raises(ConfigError, match="epochs"):
        ft.check(tmp_path, epochs=3)
    with pytest.raises(ConfigError, match="folder"):
        ft.check([("a.png", "a")], labelled=False)


def test_numbers_and_pictures_in_memory_are_checked_too(tmp_path):
    rng = np.random.default_rng(0)
    arrays = np.stack([texture("rings", rng) for _ in range(30)])
    checkup = ft.check((arrays, [float(n) / 3 for n in range(30)]), task="regress")
    assert checkup.examples.kind == "number" and severities(checkup)["balance"] == "fine"
    checkup.write(tmp_path)
    with pytest.raises(ConfigError, match="in memory"):
        checkup.write_clean(tmp_path / "clean.csv")


def test_a_backbone_judges_labels_without_a_network_connection(tmp_path, monkeypatch):
    # Features that tell the classes apart: a network of random numbers does that now and then.
    def seen(network, examples, **words):
        rng = np.random.default_rng(0)
        true = [KINDS.index(KINDS[0] if "wrong" in name else target) for name, target in
                zip(examples.table["id"], examples.targets, strict=True)]  # fmt: skip
        values = np.eye(3, 8, dtype=np.float32)[true] * 4 + rng.normal(size=(len(true), 8)).astype(np.float32) / 2
        return Values(values, np.arange(len(examples)), {})

    monkeypatch.setattr(sys.modules["finetune.check"], "features", seen)
    folder = blots(tmp_path / "pictures", kinds=KINDS, count=14)
    (folder / KINDS[0] / "0.bmp").rename(folder / KINDS[1] / "wrong.bmp")

    def refuse(*arguments, **words):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    checkup = ft.check(folder, backbone="finetune/lenet5", weights="none")
    found = {checkup.examples.table["id"].iloc[suspect.row]: suspect for suspect in checkup.suspects}
    assert found[f"{KINDS[1]}/wrong.bmp"].suggested == KINDS[0]
    table = checkup.clean_table().set_index(checkup.examples.table["id"])
    assert table.loc[f"{KINDS[1]}/wrong.bmp", "suggested_target"] == KINDS[0]


def test_weights_that_cannot_be_downloaded_leave_the_other_checks(clean, monkeypatch):
    from finetune.models.options import Backbone

    def gone(self, outputs):
        raise WeightsError("The weights cannot be downloaded.")

    monkeypatch.setattr(Backbone, "build", gone)
    checkup = ft.check(clean[0], backbone="finetune/lenet5")
    (finding,) = [f for f in checkup.findings if f.what == "label suspects"]
    assert finding.severity == "not checked" and "cannot be downloaded" in finding.sentence
    with pytest.raises(WeightsError):
        ft.check(clean[0], backbone="finetune/lenet5", weights="mine.pth")
