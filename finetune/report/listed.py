"""What a check found, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

STYLES = {"must decide": "bold red", "look": "yellow", "not checked": "dim"}


def findings_table(findings: Sequence[tuple[str, str, str]]) -> Table:
    """A line for each check that has something to say.

    Args:
        findings: What was checked, how it stands, what was found.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("check", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for what, severity, sentence in findings:
        # Text and not markup: a class may be called [bold].
        table.add_row(Text(what), Text(severity, style=STYLES.get(severity, "")), Text(sentence))
    return table
