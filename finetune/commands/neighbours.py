"""`finetune neighbours`: what looks like this?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..stdout import print_json, print_text, tell
from .words import JSON, Accelerator, BatchSize, RunFolder


def neighbours_command(
    run: RunFolder,
    query: Annotated[list[str], typer.Argument(metavar="QUERY...", help="Files, folders and globs.")],
    *,
    among: Annotated[str | None, typer.Option(
        metavar="SOURCE", help="The pictures to search: any source of fit, or a folder without labels; by default "
        "those that the model learned from.")] = None,
    k: Annotated[int, typer.Option("--k", help="How many neighbours of each.")] = 9,
    out: Annotated[str | None, typer.Option(
        metavar="FOLDER", help="For neighbours.csv, neighbours.json and the sheet neighbours.png.")] = None,
    batch_size: BatchSize = 32,
    accelerator: Accelerator = "auto",
    as_json: JSON = False,
    **words: Any,
) -> int:  # fmt: skip
    """Prints the nearest known pictures of each; 1 where some of the pictures could not be read."""
    from rich.console import Console

    from ..files import prove_writable, told_unwritable
    from ..model import load
    from ..predict import as_examples
    from ..report.near import near_table
    from ..report.printed import Talk

    if out is not None:
        with told_unwritable(out):
            prove_writable(Path(out), folder=True)
    given = {name: value for name, value in words.items() if value is not None and value is not False}
    model, asked = load(run), as_examples(list(query))
    with Talk(Console(stderr=True)).bar("reading pictures", None) as moved:
        found = model.neighbours(asked, among=among, k=k, batch_size=batch_size, accelerator=accelerator,
                                 progress=moved, **given)  # fmt: skip
    if out is not None:
        found.write(out)
    facts = found.to_dict()
    if as_json:
        print_json(facts)
    else:
        console = Console()
        with console.capture() as shown:  # rich would leave with 1 where nobody reads on
            table, folder = near_table(facts["queries"])
            console.print(table)
            lines = [*([f"Files are those in {folder}"] if folder else []),
                     f"Searched {facts['pictures']} pictures: {facts['among']}.", *facts["notes"]]  # fmt: skip
            for line in [*lines, *([f"The sheet and the tables are in {out}."] if out is not None else [])]:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        print_text(shown.get(), end="")
    unread = [one for one in facts["queries"] if one["error"]]
    for one in unread:
        tell(f"finetune: {one['query']} could not be read: {one['error']}.")
    return 1 if unread else 0
