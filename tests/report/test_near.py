"""The table of neighbours in a narrow terminal."""

import io

from rich.console import Console

from finetune.report.near import near_table


def test_files_are_told_within_their_folder_and_markup_is_only_a_name():
    near = [{"file": f"/a/b/{name}.png", "label": "[bold]", "similarity": 0.5} for name in ("c/x", "d/y")]
    table, folder = near_table([{"query": "/q/[red].png", "neighbours": near, "error": ""}])
    console = Console(file=io.StringIO(), width=70)
    console.print(table)
    printed = console.file.getvalue()
    assert folder == "/a/b/" and "c/x.png" in printed and "/a/b" not in printed
    assert "[red].png" in printed and printed.count("[bold]") == 2 and "0.500" in printed


def test_a_picture_without_neighbours_says_why():
    table, folder = near_table([{"query": "q.png", "neighbours": [], "error": "it is empty (0 bytes)"}])
    assert folder == "" and table.row_count == 1
