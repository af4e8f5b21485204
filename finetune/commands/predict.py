"""`finetune predict`: what a model says of pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from ..stdout import heard, print_json, tell
from ..words import shares
from .words import JSON, Accelerator, BatchSize, OwnRecipe, RunFolder


def predict_command(
    run: RunFolder,
    inputs: Annotated[list[str], typer.Argument(metavar="FILES...", help="Files, folders and globs.")],
    *,
    out: Annotated[str | None, typer.Option(help="The CSV file to write; without it the table is printed.")] = None,
    prior: Annotated[list[str] | None, typer.Option(metavar="CLASS=SHARE,...",
                                                    help="How frequent classes are there: melanoma=0.02.")] = None,
    neighbours: Annotated[int, typer.Option(
        metavar="K", help="Tells the K nearest training pictures beside each answer, and how many of them agree.")] = 0,
    level: Annotated[int | None, typer.Option(help="Answers with the nodes of this level of the taxonomy.")] = None,
    recipe: OwnRecipe = None,
    batch_size: BatchSize = 32,
    accelerator: Accelerator = "auto",
    as_json: JSON = False,
) -> int:  # fmt: skip
    """Prints or writes the answers; 1 where some of the pictures could not be read."""
    from rich.console import Console

    from ..model import load
    from ..predict import as_examples, as_records, check_table_file, write_table
    from ..report.printed import Talk

    check_table_file(out)
    model, examples = load(run, recipe=recipe), as_examples(list(inputs))
    with Talk(Console(stderr=True)).bar("reading pictures", len(examples)) as moved:
        table = model.predict(examples, prior=shares(prior or ()), level=level, neighbours=neighbours,
                              batch_size=batch_size, accelerator=accelerator, progress=moved)  # fmt: skip
    if as_json:
        print_json(as_records(table))
    if out is not None or not as_json:
        with heard():
            write_table(table, out)
    failed = int((table["error"] != "").sum())
    if failed:
        tell(f"finetune: {failed} of {len(table)} pictures could not be read; see the column error.")
    return 1 if failed else 0
