"""The sheet of neighbours: one picture with all of its own, or several with the nearest five."""

import warnings

import numpy as np
import pytest
from PIL import Image

from finetune.nearest.sheet import BESIDE, MOST, draw_neighbours
from finetune.report import figures


@pytest.fixture
def drawn(monkeypatch):
    """The rows of panels that were drawn, and the note below."""
    seen = []
    whole = figures.draw_sheet

    def listening(file, rows, **words):
        seen.append((rows, words["note"]))
        return whole(file, rows, **words)

    monkeypatch.setattr("finetune.nearest.sheet.draw_sheet", listening)
    return seen


def test_one_picture_is_followed_by_all_of_its_neighbours(probed, textures, tmp_path, drawn):
    draw_neighbours(probed.neighbours(textures / "rings" / "0.png", k=9), tmp_path / "one.png")
    rows, note = drawn[0]
    assert [len(row) for row in rows] == [5, 5] and rows[0][0].title.startswith("asked about")
    assert all(panel.picture.shape == (320, 320, 3) for row in rows for panel in row)
    assert "the training part" in note and probed.network.id in note


def test_several_stand_below_each_other_and_the_rest_is_counted(probed, textures, tmp_path, drawn):
    draw_neighbours(probed.neighbours(textures / "rings", k=9), tmp_path / "many.jpg")
    rows, note = drawn[0]
    assert [len(row) for row in rows] == [1 + BESIDE] * MOST and f"the first {MOST} of 12" in note


def test_odd_names_and_odd_pictures_are_drawn_without_a_warning(probed, tmp_path):
    folder = tmp_path / "犬 $x$ <b>"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("long", (4, 300, 3)), ("high", (300, 4, 3)), ("grey", (20, 20))):
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(folder / f"{name}$猫.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = probed.neighbours(folder / "long$猫.png", among=folder)
        draw_neighbours(found, tmp_path / "odd.png")
    assert len(found.queries[0].neighbours) == 2
