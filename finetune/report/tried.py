"""What a search tried, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

SHOWN = 10


def trials_table(trials: Sequence[Mapping[str, Any]], words: Sequence[str], monitor: str) -> Table:
    """The first trials with what they tried; those that came to nothing are counted.

    Args:
        trials: A row of trials.csv each, the best first.
        words: What was searched.
        monitor: The metric on validation that judged them.
    """
    ended = [trial for trial in trials if trial["state"] == "complete"]
    other = len(trials) - len(ended)
    title = f"{len(ended)} trials" + (f", {other} more were given up or went wrong" if other else "")
    title += f"; {monitor} on validation"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("trial", justify="right")
    table.add_column(monitor, justify="right", min_width=len(monitor))
    for word in words:
        table.add_column(word, overflow="fold", min_width=len(word))
    for trial in ended[:SHOWN]:
        # Text and not markup: a value may be called [bold].
        table.add_row(
            str(trial["number"]), f"{trial['value']:.4g}", *(Text(_text(trial.get(word))) for word in words)
        )  # fmt: skip
    return table


def _text(value: Any) -> str:
    if value is None or value != value:  # a word that this trial had no use for
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
