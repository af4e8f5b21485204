"""Two runs beside each other, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def compared_table(figures: Mapping[str, Mapping[str, Any]], first: str, second: str) -> Table:
    """Every metric of both, the difference with its interval, and what that says.

    Args:
        figures: Each metric's "first", "second", "difference" and "verdict".
        first: The first run's name.
        second: The second run's.
    """
    table = Table(box=box.SIMPLE_HEAD, title=Text(f"{second} against {first}"), title_justify="left",
                  collapse_padding=True, pad_edge=False)  # fmt: skip
    for name in ("metric", "first", "second", "difference", "95 % interval", "better"):
        numbers = ("first", "second", "difference")
        # No figure is ever cut: what is narrower than all that folds names and intervals.
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold",
                         no_wrap=name not in ("metric", "95 % interval"))  # fmt: skip
    for name, row in figures.items():
        gap = row["difference"]
        values = (row["first"]["value"], row["second"]["value"], gap["value"])
        shown = ["undefined" if value is None else f"{value:.4g}" for value in values[:2]]
        apart = "undefined" if gap["value"] is None else f"{gap['value']:+.4f}"
        interval = "open" if gap["low"] is None else f"{gap['low']:+.4f} to {gap['high']:+.4f}"
        table.add_row(name, *shown, apart, interval, row["verdict"])
    return table
