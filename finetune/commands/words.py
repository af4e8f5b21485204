"""Options and arguments that several commands have, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

RunFolder = Annotated[str, typer.Argument(help="A run folder.")]
JSON = Annotated[bool, typer.Option("--json", help="Prints the result as JSON and nothing else on standard output.")]
Accelerator = Annotated[str, typer.Option(help='Where to compute: "auto", "cpu", "gpu", ...')]
OwnRecipe = Annotated[str | None, typer.Option(metavar="FILE", help="The recipe file that holds the model's network.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures at a time.")]
