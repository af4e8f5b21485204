"""Pictures and what is like them, in the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def near_table(queries: Sequence[Mapping[str, Any]]) -> tuple[Table, str]:
    """A line a neighbour, under the picture that was asked about.

    Args:
        queries: As `Neighbours.to_dict` gives them.

    Returns:
        The table, and the folder that its files are told within; "" where they have none in common.
    """
    table = Table(title="Nearest pictures", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in ("query", "rank", "file", "label", "similarity"):
        number = column in ("rank", "similarity")
        table.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
    folder = _folder([one["file"] for query in queries for one in query["neighbours"]])
    for query in queries:
        # Text and not markup: a file may be called [bold].
        name = Text(query["query"].rpartition("/")[2])
        for rank, one in enumerate(query["neighbours"], start=1):
            table.add_row(name if rank == 1 else "", str(rank), Text(one["file"].removeprefix(folder)),
                          Text(one["label"]), f"{one['similarity']:.3f}")  # fmt: skip
        if not query["neighbours"]:
            table.add_row(name, "", Text(query["error"] or "nothing else to show", style="dim"), "", "")
        table.add_section()
    return table, folder


def _folder(files: Sequence[str]) -> str:
    """The folder that all files are in, with its last separator."""
    same = [len(set(letters)) == 1 for letters in zip(*files, strict=False)]  # by letters, since a file may be a URL
    common = files[0][: [*same, False].index(False)] if files else ""
    return common[: max(common.rfind("/"), common.rfind(os.sep)) + 1]
