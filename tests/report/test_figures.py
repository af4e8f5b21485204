from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import finetune as ft

PICTURE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.png", "b.jpg"])
def test_a_sheet_is_as_wide_as_said_and_holds_all_rows(tmp_path, name):
    one = ft.draw_sheet(tmp_path / "one.png", [[ft.Panel(picture=PICTURE, title="here")] * 3])
    rows = [[ft.Panel(picture=PICTURE, title="here")] * 3, [ft.Panel(picture=PICTURE[..., 0], title="two\nlines")]]
    two = ft.draw_sheet(tmp_path / name, rows, title="What is shown", note="From nowhere")
    with Image.open(one) as small, Image.open(two) as large:
        assert small.width == large.width == 1200
        assert large.height > 1.9 * small.height


def test_pictures_keep_their_proportions_and_colours(tmp_path):
    red = np.zeros((20, 40, 3), np.uint8)
    red[..., 0] = 255
    with Image.open(ft.draw_sheet(tmp_path / "red.png", [[ft.Panel(picture=red)]], width=400)) as drawn:
        array = np.asarray(drawn.convert("RGB")).astype(int)
    hit = (array == (255, 0, 0)).all(axis=2)
    rows, columns = np.flatnonzero(hit.any(1)), np.flatnonzero(hit.any(0))
    assert np.ptp(columns) == pytest.approx(2 * np.ptp(rows), rel=0.03) and np.ptp(columns) > 370


def test_the_same_values_draw_the_same_file(tmp_path):
    def plots(name):
        plot = ft.Plot(
            curves={"a": ([1, 2, 3], [3, 1, 2]), "b": ([1, 2], [1, 2], [0, 1], [2, 3])}, log="y", marks=["b"]
        )
        return ft.draw_plots(tmp_path / name, [plot, plot, plot], title="Three").read_bytes()

    assert plots("a.png") == plots("b.png")


def test_nothing_to_draw_and_names_that_are_no_picture_are_refused(tmp_path):
    for draw in (ft.draw_sheet, ft.draw_plots):
        with pytest.raises(ft.ConfigError, match="nothing to draw"):
            draw(tmp_path / "x.png", [])
    with pytest.raises(ft.FinetuneError, match=r"x\.what cannot be drawn"):
        ft.draw_sheet(tmp_path / "x.what", [[ft.Panel(picture=PICTURE)]])
    assert not list(tmp_path.iterdir()), "nothing is left half-drawn"


def test_a_single_plot_fills_its_page_and_marks_the_few_points_that_were_measured(tmp_path):
    few = ft.Plot(curves={"a": ([1, 2, 3], [1, 1, 1])}, x="x", y="y")
    with Image.open(ft.draw_plots(tmp_path / "a.png", [few], columns=1, title="One", note="n")) as drawn:
        array = np.asarray(drawn.convert("RGB")).astype(int)
    blue = (np.abs(array - (0x1F, 0x5F, 0xA8)).sum(axis=2) < 30) & (np.arange(array.shape[1]) < 900)  # not the legend
    columns = np.flatnonzero(blue.any(axis=0))
    assert columns.min() < 150
    thick = blue.sum(axis=0)
    assert thick[columns.min() + 3] > thick[columns.min() + 100], "a point is thicker than the line"
    axis = np.flatnonzero((array.sum(axis=2) < 60).sum(axis=1) > 900)  # the line under the plot
    assert len(axis) and axis.max() > 0.8 * array.shape[0]
