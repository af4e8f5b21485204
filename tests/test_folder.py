"""The run folder: made for a run, and given back as it was when the run comes to nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finetune.errors import DataError, RunFolderError
from finetune.folder import RECIPE, check_out, read_json, run_folder, write_json
from tests.made import contents


def earlier_run(folder: Path) -> dict[str, bytes]:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    (folder / RECIPE).write_text("{}")
    return contents(folder)


def test_a_folder_and_its_parents_are_made_and_stay(tmp_path):
    with run_folder(tmp_path / "a" / "b") as folder:
        (folder / RECIPE).write_text("{}")
    assert contents(tmp_path) == {f"a/b/{RECIPE}": b"{}"}


def test_without_a_name_it_is_a_temporary_one():
    with run_folder(None) as folder:
        assert folder.is_dir()
    folder.rmdir()
    with pytest.raises(DataError), run_folder(None) as folder:
        raise DataError("no")
    assert not folder.exists()


@pytest.mark.parametrize("error", [DataError("no"), KeyboardInterrupt(), OSError(28, "full"), ZeroDivisionError()])
@pytest.mark.parametrize("depth", ["x", "a/b/x"])
def test_a_run_that_fails_leaves_nothing(tmp_path, error, depth):
    with pytest.raises(BaseException), run_folder(tmp_path / depth) as folder:  # noqa: B017
        (folder / RECIPE).write_text("{}")
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "0-probe.safetensors").write_bytes(b"a fitted head")
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [DataError("no"), KeyboardInterrupt(), OSError(28, "full"), ZeroDivisionError()])
def test_a_run_that_fails_gives_the_earlier_one_back(tmp_path, error):
    before = earlier_run(tmp_path / "x")
    with pytest.raises(BaseException), run_folder(tmp_path / "x", overwrite=True) as folder:  # noqa: B017
        assert list(folder.iterdir()) == [], "the new run begins with an empty folder"
        (folder / "metrics.csv").write_text("new")
        raise error
    assert contents(tmp_path / "x") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_run_that_ends_well_replaces_the_earlier_one(tmp_path):
    earlier_run(tmp_path / "x")
    with run_folder(tmp_path / "x", overwrite=True) as folder:
        (folder / RECIPE).write_text("new")
    assert contents(tmp_path) == {f"x/{RECIPE}": b"new"}


def test_weights_of_an_epoch_are_kept_and_the_earlier_run_too(tmp_path):
    before = earlier_run(tmp_path / "x")
    with pytest.raises(KeyboardInterrupt) as stopped, run_folder(tmp_path / "x", overwrite=True) as folder:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "1-train.safetensors").write_bytes(b"weights")
        (folder / "checkpoints" / "1-train.json").write_text("{}")
        raise KeyboardInterrupt
    assert (tmp_path / "x" / "checkpoints" / "1-train.safetensors").exists()
    aside = next(entry for entry in tmp_path.iterdir() if entry.name != "x")
    assert contents(aside) == before
    told = " ".join(stopped.value.__notes__)
    assert str(tmp_path / "x" / "checkpoints") in told
    assert str(aside) in told


def test_a_full_disk_is_told_in_words(tmp_path):
    with pytest.raises(RunFolderError, match=r"No space left on device\. Make room"), run_folder(tmp_path / "x"):
        raise OSError(28, os.strerror(28))


def test_what_a_user_put_into_the_folder_survives_a_failed_run(tmp_path):
    with pytest.raises(DataError), run_folder(tmp_path / "x") as folder:
        (folder / "notes.txt").write_text("mine")
        (folder / RECIPE).write_text("{}")
        raise DataError("no")
    assert contents(tmp_path) == {"x/notes.txt": b"mine"}


@pytest.mark.parametrize("found", ["notes.txt", "model/notes.txt", "splits.csv", ".git/config"])
def test_what_is_not_a_run_is_never_overwritten(tmp_path, found):
    (tmp_path / "x" / found).parent.mkdir(parents=True)
    (tmp_path / "x" / found).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunFolderError), run_folder(tmp_path / "x", overwrite=overwrite):
            pytest.fail("the run began")
    assert contents(tmp_path / "x") == {found: b"mine"}


def test_a_run_with_a_stranger_in_it_is_not_overwritten_but_one_with_a_loggers_files_is(tmp_path):
    earlier_run(tmp_path / "x")
    (tmp_path / "x" / "lightning_logs").mkdir()
    check_out(tmp_path / "x", overwrite=True)
    (tmp_path / "x" / ".git").mkdir()
    with pytest.raises(RunFolderError, match=r"it holds \.git"):
        check_out(tmp_path / "x", overwrite=True)


def test_an_empty_or_missing_folder_needs_no_overwrite(tmp_path):
    (tmp_path / "empty").mkdir()
    check_out(tmp_path / "empty", overwrite=False)
    check_out(tmp_path / "missing", overwrite=False)


def test_a_parent_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunFolderError, match="cannot be written"), run_folder(tmp_path / "file" / "x"):
        pytest.fail("the run began")


def test_json_goes_there_and_back_with_any_letters(tmp_path):
    values = {"klasse": "Bär 🐻", "numbers": (1, 2.5, None)}
    write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json") == {"klasse": "Bär 🐻", "numbers": [1, 2.5, None]}
    assert "Bär" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe\x00"])
def test_json_that_cannot_be_read_says_which_file(tmp_path, raw):
    with pytest.raises(RunFolderError, match=r"b\.json is missing"):
        read_json(tmp_path / "b.json")
    (tmp_path / "a.json").write_bytes(raw)
    with pytest.raises(RunFolderError, match=r"a\.json cannot be read"):
        read_json(tmp_path / "a.json")


def test_what_a_logger_left_does_not_keep_the_earlier_run_away(tmp_path):
    before = earlier_run(tmp_path / "x")
    with pytest.raises(DataError), run_folder(tmp_path / "x", overwrite=True) as folder:
        (folder / "lightning_logs").mkdir()
        (folder / "lightning_logs" / "events").write_text("new")
        raise DataError("no")
    assert contents(tmp_path / "x") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_file_elsewhere_that_cannot_be_read_is_not_told_as_one_that_could_not_be_written(tmp_path):
    with pytest.raises(PermissionError) as denied, run_folder(tmp_path / "x"):
        raise PermissionError(13, "Permission denied", str(tmp_path / "data" / "cats"))
    assert denied.value.filename == str(tmp_path / "data" / "cats")
    with pytest.raises(RunFolderError, match="could not be written"), run_folder(tmp_path / "x") as folder:
        raise PermissionError(13, "Permission denied", str(folder / "splits.csv"))
    assert list(tmp_path.iterdir()) == []
