import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import finetune.shelf as room
from finetune.shelf import Shelf, Volume

ROW = np.zeros((1, 8), np.float32)


def bytes_for(rows: int) -> int:
    return 128 + rows * ROW.nbytes


def used(shelf: Shelf) -> int:
    return sum(file.stat().st_size for file in shelf.folder.iterdir())


def age(shelf: Shelf, name: str, when: int) -> None:
    os.utime(shelf.path(name), (when, when))


def test_what_is_put_comes_back_mapped(tmp_path):
    shelf = Shelf(tmp_path / "new", 10_000)
    values = np.arange(24, dtype=np.float16).reshape(4, 3, 2)
    shelf.put("a", values)
    found = shelf.get("a", 4)
    assert isinstance(found, np.memmap) and found.dtype == np.float16 and np.array_equal(found, values)
    assert shelf.get("a", 5) is None and shelf.get("b", 4) is None and shelf.get(None, 4) is None


def test_a_torn_file_is_none(tmp_path):
    shelf = Shelf(tmp_path, 10_000)
    shelf.put("a", np.ones((4, 8)))
    whole = shelf.path("a").read_bytes()
    for content in (b"", whole[:100], whole[:200]):
        shelf.path("a").write_bytes(content)
        assert shelf.get("a", 4) is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 40)), max_size=12))
def test_all_files_together_never_exceed_the_bound(tmp_path_factory, puts):
    shelf = Shelf(tmp_path_factory.mktemp("shelf"), bytes_for(20))
    for name, rows in puts:
        try:
            shelf.put(name, np.repeat(ROW, rows, axis=0))
        except OSError as error:
            assert error.errno == errno.ENOSPC and rows > 20
        assert used(shelf) <= shelf.most


def test_the_file_unused_for_longest_makes_room(tmp_path):
    shelf = Shelf(tmp_path, 3 * bytes_for(10))
    for when, name in enumerate("abc"):
        shelf.put(name, np.repeat(ROW, 10, axis=0))
        age(shelf, name, when)
    shelf.get("a", 10)
    shelf.put("d", np.repeat(ROW, 10, axis=0))
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["a", "c", "d"]


def test_the_room_is_taken_before_the_first_row_is_written(tmp_path):
    shelf = Shelf(tmp_path, 10_000)
    with Volume.written(shelf, "a", shape=(50, 8), dtype=np.float32) as volume:
        assert shelf.size() == bytes_for(50)
        with pytest.raises(OSError, match="bound"):
            Volume.written(shelf, "b", shape=(300, 8), dtype=np.float32)
        volume.append(np.repeat(ROW, 50, axis=0))
        volume.finish()
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_rows_are_appended_in_order(tmp_path):
    shelf = Shelf(tmp_path, 10_000)
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    with Volume.written(shelf, "a", shape=values.shape, dtype=values.dtype) as volume:
        for start in range(0, 10, 4):
            volume.append(np.asfortranarray(values[start : start + 4]))
        volume.finish()
    assert np.array_equal(np.load(shelf.path("a")), values)


def test_what_was_not_finished_is_gone(tmp_path):
    shelf = Shelf(tmp_path, 10_000)
    with pytest.raises(ZeroDivisionError), Volume.written(shelf, "a", shape=(4, 8), dtype=np.float32) as volume:
        volume.append(ROW)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_has_no_name_lasts_as_long_as_it_is_open(tmp_path):
    shelf = Shelf(tmp_path, 10_000)
    with Volume.written(shelf, None, shape=(1, 8), dtype=np.float32) as volume:
        volume.append(ROW)
        volume.finish()
        assert np.array_equal(np.load(volume.path), ROW)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="locks of files")
def test_what_somebody_has_open_stays(tmp_path):
    shelf = Shelf(tmp_path, 2 * bytes_for(10))
    rows = np.repeat(ROW, 10, axis=0)
    for when, name in enumerate("ab"):
        shelf.put(name, rows)
        age(shelf, name, when)
    with Volume.known(shelf, "a", 10), Volume.known(shelf, "a", 10):
        shelf.put("c", rows)
        assert sorted(file.stem for file in tmp_path.iterdir()) == ["a", "c"]
        with Volume.known(shelf, "c", 10), pytest.raises(OSError, match="bound"):
            shelf.put("d", rows)
    shelf.put("d", rows)
    assert shelf.path("d").exists() and not shelf.path("a").exists()


@pytest.mark.skipif(os.name != "posix", reason="locks of files")
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    code = (
        "import os, sys, pathlib; from finetune.shelf import Shelf, Volume;"
        "Volume.written(Shelf(pathlib.Path(sys.argv[1]), 10_000), 'a', shape=(50, 8), dtype='float32'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    assert [file.suffix for file in tmp_path.iterdir()] == [".partial"]
    shelf = Shelf(tmp_path, 10_000)
    with Volume.written(shelf, "b", shape=(1, 8), dtype=np.float32):
        assert len(list(tmp_path.iterdir())) == 1  # that of "b", which is at work


def test_somebody_who_takes_the_room_at_the_same_time_is_noticed(tmp_path, monkeypatch):
    shelf = Shelf(tmp_path, bytes_for(10))
    make = room.tempfile.mkstemp

    def slow(*args, **words):
        (tmp_path / "other.npy").write_bytes(bytes(200))
        return make(*args, **words)

    monkeypatch.setattr(room.tempfile, "mkstemp", slow)
    with pytest.raises(OSError, match="bound"):
        Volume.written(shelf, "a", shape=(10, 8), dtype=np.float32)
    assert [file.name for file in tmp_path.iterdir()] == ["other.npy"]


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files")
def test_a_disk_without_room_is_told_before_anything_is_computed(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError):
            Volume.written(Shelf(tmp_path, 10**9), "a", shape=(10**6,), dtype=np.float32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
