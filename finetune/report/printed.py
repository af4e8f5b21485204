"""What a person reads in the terminal: the plan before, the figures after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..types import PARTS


class Talk:
    """Where a run speaks: silent, or to a console.

    Args:
        console: Where to; None says nothing.
    """

    def __init__(self, console: Console | None) -> None:
        self.console = console

    def say(self, line: str) -> None:
        """Prints a line as it is, without markup."""
        if self.console is not None:
            self.console.print(Text(line), soft_wrap=True)

    def show(self, table: Table) -> None:
        """Prints a table."""
        if self.console is not None:
            self.console.print(table)

    @property
    def live(self) -> bool:
        """Whether bars can be drawn."""
        return self.console is not None and self.console.is_terminal

    @contextmanager
    def bar(self, what: str, total: int | None) -> Iterator[Any]:
        """A bar with the time left; gives the function that moves it on. The total may be unknown."""
        if not self.live:
            yield lambda count: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=self.console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda count: progress.advance(task, count)


def plan_table(rows: Sequence[Mapping[str, str]], title: str) -> Table:
    """A table of phases: one column each, so that it fits a narrow terminal."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    names = list(rows[0])
    table.add_column(names[0], no_wrap=True)
    for row in rows:
        table.add_column(row[names[0]], overflow="fold")
    for name in names[1:]:
        table.add_row(name, *(row[name] for row in rows))
    return table


def metrics_table(metrics: Mapping[str, Any], title: str = "") -> Table:
    """The figures of every part with their intervals."""
    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in ("part", "metric", "value", "95 % interval", "n"):
        table.add_column(name, justify="right" if name in ("value", "n") else "left")
    for part, figures in measured_parts(metrics).items():
        for number, (name, figure) in enumerate(figures.items()):
            table.add_row(part if number == 0 else "", name, *cells(figure))
    return table


def measured_parts(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """The figures of each part; what else metrics.json holds is about the run as a whole."""
    return {part: metrics[part] for part in metrics if part in PARTS}


def folds_rows(folds: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Each metric over the folds as text: its name, mean, standard deviation, and the value of every fold."""

    def text(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.4g}"

    return [
        (name, text(figure["mean"]), text(figure["spread"]), ", ".join(text(value) for value in figure["values"]))
        for name, figure in folds.items()
    ]


def cells(figure: Mapping[str, Any]) -> tuple[str, str, str]:
    """A figure as text: value, interval, n."""
    if figure["value"] is None:
        return "undefined", "one class only", str(figure["n"])
    interval = "open" if figure["low"] is None else f"{figure['low']:.4g} to {figure['high']:.4g}"
    return f"{figure['value']:.4g}", interval, str(figure["n"])
