from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest

from finetune.data.hdf import read_column
from finetune.data.readers import read_image
from finetune.errors import ConfigError, DataError, UnreadableError

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 3, 6, 8), np.uint8)


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as content:
        content["X"] = FRAMES
    return tmp_path / "f.h5"


def test_a_frame_is_read_with_its_channels_last_whichever_way_it_is_kept(file, tmp_path):
    np.testing.assert_array_equal(read_image(f"{file}#frame=2"), FRAMES[1].transpose(1, 2, 0))
    np.testing.assert_array_equal(read_image(file), FRAMES[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(read_image(file.read_bytes()), FRAMES[0].transpose(1, 2, 0))
    with h5py.File(tmp_path / "last.h5", "w") as content:
        content.create_dataset("X", data=FRAMES.transpose(0, 2, 3, 1), compression="gzip")
    np.testing.assert_array_equal(read_image(f"{tmp_path / 'last.h5'}#frame=3"), FRAMES[2].transpose(1, 2, 0))
    with h5py.File(tmp_path / "grey.h5", "w") as content:
        content["X"] = FRAMES[:, :1]
    assert read_image(tmp_path / "grey.h5", in_chans=1).shape == (6, 8, 1)


def unreadable(source):
    with pytest.raises(UnreadableError) as error:
        read_image(source)
    return str(error.value)


def test_what_is_no_drive_is_refused_with_what_it_holds(file, tmp_path):
    assert "it has 3 frames, and frame 4 was asked for" in unreadable(f"{file}#frame=4")
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content["other"] = 1
    assert 'no data set "X" of its own; it holds other' in unreadable(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as content:
        content["X"] = FRAMES.astype(np.float32)
    assert "is float32 of shape (3, 3, 6, 8); expected uint8" in unreadable(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as content:
        content.create_group("X")
    assert "is a group" in unreadable(tmp_path / "c.h5")
    (tmp_path / "d.h5").write_bytes(file.read_bytes()[:600])
    assert "cannot be decoded" in unreadable(tmp_path / "d.h5")


def test_no_other_file_is_opened_and_no_claim_is_believed(file, tmp_path):
    with h5py.File(tmp_path / "link.h5", "w") as content:
        content["X"] = h5py.ExternalLink(str(file), "X")
    assert "of its own" in unreadable(tmp_path / "link.h5")
    layout = h5py.VirtualLayout((3, 3, 6, 8), np.uint8)
    layout[:] = h5py.VirtualSource(str(file), "X", shape=(3, 3, 6, 8))
    with h5py.File(tmp_path / "virtual.h5", "w") as content:
        content.create_virtual_dataset("X", layout)
    assert "lies in another file" in unreadable(tmp_path / "virtual.h5")
    raw = tmp_path / "raw.bin"
    raw.write_bytes(bytes(FRAMES.size))
    with h5py.File(tmp_path / "external.h5", "w") as content:
        content.create_dataset("X", FRAMES.shape, np.uint8, external=[(str(raw), 0, FRAMES.size)])
    assert "lies in another file" in unreadable(tmp_path / "external.h5")
    with h5py.File(tmp_path / "huge.h5", "w") as content:
        content.create_dataset("X", (2, 3, 60_000, 60_000), np.uint8, chunks=(1, 3, 1000, 1000), compression="gzip")
    assert "too many pixels" in unreadable(tmp_path / "huge.h5")


def test_a_column_is_numbers_of_this_file(file, tmp_path):
    with h5py.File(tmp_path / "log.h5", "w") as content:
        content["angle"], content["square"] = np.arange(4, dtype=np.int16), np.zeros((2, 2))
    np.testing.assert_array_equal(read_column(tmp_path / "log.h5", "angle"), [0, 1, 2, 3])
    with pytest.raises(DataError, match="no column of numbers"):
        read_column(tmp_path / "log.h5", "square")
    with pytest.raises(DataError, match="is no log of a drive"):
        read_column(tmp_path / "log.h5", "gone")


def test_without_h5py_the_extra_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"pip install 'finetune\[hdf\]'"):
        read_image(file)
