"""A ranking in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from finetune.report.ranked import explained, ranking_table, shown

ROW = {
    "name": "timm/vit_small_patch14_dinov2.lvd142m", "license": "apache-2.0", "error": None, "tied_with_best": True,
    "metrics": {"accuracy": {"value": 0.9634, "low": 0.9383, "high": 0.9835, "n": 243}}, "logme": 0.0149,
    "cached": True, "timed_on": 48, "pictures_per_second": 4.923, "seconds": 55.2, "parameters": 2_224_000,
}  # fmt: skip
GONE = {**ROW, "name": "[bold]gone", "license": None, "error": "no such file", "metrics": None,
        "tied_with_best": False, "cached": False, "seconds": 0.1}  # fmt: skip


def printed(rows, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(ranking_table(rows, "accuracy"))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_every_figure_fits_a_narrow_terminal(width):
    rows = [ROW, {**ROW, "license": "cc-by-nc-4.0", "cached": False, "tied_with_best": False}, GONE]
    text = printed(rows, width)
    lines = text.splitlines()
    first, second = (next(line for line in lines if line.lstrip().startswith(start)) for start in ("1=", "2 "))
    for part in ("0.963", "0.938 - 0.984", "0.015", "4.92*", " 55 ", "2.22", "apache-2.0"):
        assert part in first, part
    assert "4.92 " in second and "cc-by-nc-4.0" in second
    assert "[bold]gone" in text and "not stated" in text and "…" not in text
    assert max(map(len, lines)) <= width


def test_what_is_open_or_undefined_is_said():
    figure = {"value": None, "low": None, "high": None, "n": 4}
    text = printed([{**ROW, "metrics": {"accuracy": figure}, "logme": None}], 120)
    assert text.count("undefined") == 2 and "open" in text
    assert shown(1234.5) == "1234" and shown(-0.33488) == "-0.335"


def test_signs_are_explained_where_they_occur():
    assert explained([{**ROW, "cached": False}]) == []
    lines = explained([ROW, ROW, GONE])
    assert len(lines) == 3 and lines[0].startswith("=") and "48 pictures" in lines[1]
    assert lines[2] == "[bold]gone: no such file"
