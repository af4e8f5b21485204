from __future__ import annotations

import shutil

import numpy as np

from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.data.same_files import same_files
from tests.made import class_folders


def read(source):
    return read_examples(Data(source=source if isinstance(source, list) else str(source)))


def test_a_file_is_known_by_its_address_or_by_its_bytes_elsewhere(tmp_path):
    known = read(class_folders(tmp_path / "known", count=3))
    other = class_folders(tmp_path / "other", count=3, seed=9)
    first = sorted(other.rglob("*.png"))[0]
    assert not same_files(read(other), known).any()
    shutil.copy(known.table["source"][4], first)
    assert np.flatnonzero(same_files(read(other), known)).tolist() == [0]
    assert same_files(known, known).all()
    # As long as a known one, and other bytes.
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    assert not same_files(read(other), known).any()


def test_pictures_in_memory_and_files_that_are_gone_are_not_known(tmp_path):
    known = read(class_folders(tmp_path / "known", count=3))
    pictures = [(np.zeros((8, 8, 3), np.uint8), name) for name in "aabb"]
    assert not same_files(read(pictures), known).any() and not same_files(known, read(pictures)).any()
    shutil.move(tmp_path / "known", tmp_path / "moved")
    assert not same_files(read(tmp_path / "moved"), known).any()
