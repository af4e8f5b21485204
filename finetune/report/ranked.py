"""A ranking of backbones, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

NOT_STATED = "not stated"


def ranking_table(rows: Sequence[Mapping[str, Any]], metric: str) -> Table:
    """A line a backbone: how well, how fast, how large, and under which licence.

    Args:
        rows: Best first; each as `Ranked.to_dict` gives it, those that could not be tried with an `error`.
        metric: What orders them.
    """
    title = f"{metric} of held-out answers" if any(row["metrics"] for row in rows) else None
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", padding=0)
    table.add_column("", no_wrap=True)
    table.add_column("backbone", overflow="fold")
    for name in ("value", "95 %", "LogME", "pict/s", "s", "M par."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold")
    for place, row in enumerate(rows, start=1):
        # Text and not markup: a file may be called [bold].
        called, license = Text(row["name"]), Text(row["license"] or NOT_STATED, style="" if row["license"] else "dim")
        if row["error"] is not None:
            table.add_row("", called, *("-",) * 4, _seconds(row["seconds"]), "-", license, style="dim")
            continue
        figure = row["metrics"][metric]
        interval = "open" if figure["low"] is None else f"{_digits(figure['low'])} - {_digits(figure['high'])}"
        rate = f"{_digits(row['pictures_per_second'])}{'*' if row['cached'] else ''}"
        table.add_row(f"{place}{'=' if row['tied_with_best'] else ''}", called, shown(figure["value"]), interval,
                      shown(row["logme"]), rate, _seconds(row["seconds"]), _digits(row["parameters"] / 1e6),
                      license)  # fmt: skip
    return table


def explained(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the signs in the table mean, where they occur, and why a backbone could not be tried."""
    lines = []
    if sum(row["tied_with_best"] for row in rows) > 1:
        lines.append("= these examples do not tell it from the best")
    if any(row["cached"] for row in rows):
        on = max(row["timed_on"] for row in rows if row["cached"])
        lines.append(f"* its features were known; measured in a short pass over up to {on} pictures")
    for row in rows:
        if row["error"] is not None:
            lines.append(f"{row['name']}: {row['error']}")
    return lines


def shown(value: float | None) -> str:
    """A figure as text."""
    return "undefined" if value is None else _digits(value)


def _digits(value: float) -> str:
    """Three digits that count, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
