"""Generated pictures can be told apart by kind, are no copies of each other, and are known as generated."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

import finetune as ft
from finetune.data.examples import read_examples
from finetune.data.generated import NOTE, is_generated, mark
from tests.made import class_folders


def spectrum(picture):
    return np.log1p(np.abs(np.fft.rfft2(picture.mean(2) - picture.mean()))[:24, :12]).ravel()


def test_kinds_can_be_told_apart_whatever_the_seed():
    rows = [(kind, spectrum(ft.generated_picture(kind, seed=seed))) for kind in range(6) for seed in range(20)]
    kinds, x = np.array([kind for kind, _ in rows]), np.stack([row for _, row in rows])
    seeds = np.tile(np.arange(20), 6)
    model = LogisticRegression(max_iter=2000).fit(x[seeds < 10], kinds[seeds < 10])
    assert model.score(x[seeds >= 10], kinds[seeds >= 10]) > 0.95


def test_a_picture_follows_from_kind_seed_and_side():
    assert np.array_equal(ft.generated_picture(3, seed=5), ft.generated_picture(3, seed=5))
    assert not np.array_equal(ft.generated_picture(3, seed=5), ft.generated_picture(3, seed=6))
    assert ft.generated_picture(1, side=31).shape == (31, 31, 3)


def test_a_marked_folder_is_known_from_the_folder_and_from_a_table_in_it(tmp_path):
    folder = class_folders(tmp_path / "a")
    assert not is_generated(folder)
    assert not read_examples(ft.Data(source=folder)).generated
    mark(folder, "x")
    assert is_generated(folder) and is_generated(str(folder / "table.csv")) and not is_generated([1, 2])
    found = read_examples(ft.Data(source=folder))
    assert found.generated
    assert found.notes[0] == NOTE
    assert found.take([0, 1]).generated
