"""`finetune compare`: is one run better than another?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from ..stdout import print_json, print_text, tell
from .words import JSON, Accelerator, BatchSize, RunFolder


def compare_command(
    first: RunFolder,
    second: Annotated[str, typer.Argument(help="The run folder that is compared with it.")],
    source: Annotated[str | None, typer.Argument(
        help="Examples to measure both on; without it, their recorded answers to the same part.")] = None,
    *,
    part: Annotated[Literal["test", "validation"], typer.Option(help="The part that both were measured on.")] = "test",
    batch_size: BatchSize = 32,
    accelerator: Accelerator = "auto",
    as_json: JSON = False,
    **words: Any,
) -> int:  # fmt: skip
    """Prints the difference of every metric."""
    from rich.console import Console

    from ..compare import compare
    from ..report.compared import compared_table

    given = {name: value for name, value in words.items() if value is not None and value is not False}
    found = compare(first, second, source, part=part, batch_size=batch_size, accelerator=accelerator, say=tell,
                    **given)  # fmt: skip
    told = found.to_dict()
    if as_json:
        print_json(told)
        return 0
    console = Console()
    with console.capture() as shown:  # rich would leave with 1 where nobody reads on
        console.print(compared_table(told["figures"], first, second))
    alike = f", {found.groups} groups that are drawn whole" if found.groups != found.n else ""
    print_text(shown.get() + f"{found.n} examples of the {found.part} part{alike}.")
    return 0
