"""Files are whole or absent."""

from __future__ import annotations

import os
import stat

import pytest
import torch
from safetensors.torch import load_file

from finetune.errors import RunFolderError
from finetune.files import prove_writable, replacing, told_unwritable, whole_folder, write_tensors


def test_a_file_appears_whole_and_alone(tmp_path):
    with replacing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "new" / "a.txt").exists()
        assert temporary.parent == tmp_path / "new", "on the same disk, so that the move is one step"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt(), ValueError()])
def test_the_old_file_stays_when_writing_fails_and_the_temporary_one_goes(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(type(error)), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_old_file_stays_when_the_disk_refuses_the_bytes_at_the_end(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_reader_who_opened_the_old_file_reads_it_to_the_end(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with (tmp_path / "a.txt").open() as reader:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="permissions are Unix's")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_users_mask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask
    assert os.umask(before) == before, "the mask itself is as it was"


def test_tensors_come_back_as_they_went(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5)}
    write_tensors(tmp_path / "a.safetensors", tensors)
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files are Unix's")
def test_tensors_that_do_not_fit_on_the_disk_are_the_systems_own_error(tmp_path):
    import resource
    import signal

    (tmp_path / "a.safetensors").write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").read_bytes() == b"old"


def test_a_folder_takes_its_name_once_all_is_in_it_and_leaves_nothing_otherwise(tmp_path):
    place = tmp_path / "deep" / "out"
    with whole_folder(place) as folder:
        (folder / "a.txt").write_text("a")
        assert not place.exists()
    assert [path.name for path in place.iterdir()] == ["a.txt"] and [p.name for p in place.parent.iterdir()] == ["out"]
    other = tmp_path / "other"
    with pytest.raises(ValueError, match="half"), whole_folder(other) as folder:
        (folder / "a.txt").write_text("a")
        raise ValueError("half")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    other.mkdir()
    with whole_folder(other) as folder:
        (folder / "b.txt").write_text("b")
    assert (other / "b.txt").read_text() == "b"


@pytest.mark.parametrize("place", ["new.csv", "old.csv", "deep/er/new.csv"])
def test_where_a_file_can_be_written_is_known_without_a_trace(tmp_path, place):
    (tmp_path / "old.csv").write_text("mine")
    prove_writable(tmp_path / place)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("old.csv", "mine")]


@pytest.mark.parametrize("place, folder", [("old.csv/new.csv", False), ("old.csv", True), ("old.csv/a/b", True),
                                           (".", False)])  # fmt: skip
def test_where_nothing_can_be_written_is_known_before_the_work(tmp_path, place, folder):
    (tmp_path / "old.csv").write_text("mine")
    told = pytest.raises(RunFolderError, match=r"^The answers cannot be written: .*ectory\. Choose another --out")
    with told, told_unwritable("The answers"):
        prove_writable(tmp_path / place, folder=folder)
