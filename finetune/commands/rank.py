"""`finetune rank` and `finetune backbones`: which there are, and which suits somebody's data."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from ..errors import ConfigError, nearest
from ..stdout import print_json, print_text, talking
from .words import JSON, Accelerator, BatchSize

LICENSE = Annotated[str | None, typer.Option(
    "--license", metavar="permissive|NAME,...",
    help="Leaves out weights that are published under another licence, or under none that is stated.")]  # fmt: skip


def rank_command(
    source: Annotated[str, typer.Argument(help="A folder of pictures, or a CSV, TSV or Parquet file.")],
    *,
    backbones: Annotated[list[str] | None, typer.Option(
        "--backbones", "--backbone", metavar="NAME[=FILE][:WORD=VALUE],...",
        help="Backbones to try, with commas or repeated; FILE holds weights of one's own, and the words mean, std, "
        "input_size, crop, in_chans and arg.NAME change what is known of it: a=w.pth:mean=0.5:std=0.5 "
        "(default: eleven well-known ones).")] = None,
    license: LICENSE = None,
    most: Annotated[int, typer.Option(help="Ranks on about so many examples at most.")] = 2000,
    batch_size: BatchSize = 32,
    accelerator: Accelerator = "auto",
    out: Annotated[str | None, typer.Option(metavar="FILE", help="A .json or .csv file for the ranking.")] = None,
    as_json: JSON = False,
    **words: Any,
) -> int:  # fmt: skip
    """Ranks backbones on a source and prints the table; 0 where at least one could be tried."""
    from ..ranking.rank import rank
    from ..report.ranked import explained, ranking_table

    given = {name: value for name, value in words.items() if value is not None and value is not False}
    found = rank(source, backbones=backbones, license=license, most=most, batch_size=batch_size, out=out,
                 accelerator=accelerator, verbose=talking(stderr=True), **given)  # fmt: skip
    if as_json:
        print_json(found.to_dict())
        return 0
    rows = [row.to_dict() for row in found.rows]
    lines = [
        *explained(rows),
        *found.verdict,
        *found.notes,
        *([f"The ranking is in {out}."] if out is not None else []),
    ]
    console = Console()
    with console.capture() as shown:  # rich would leave with 1 where nobody reads on
        console.print(ranking_table(rows, found.metric))
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    print_text(shown.get(), end="")
    return 0


def backbones_command(
    pattern: Annotated[str, typer.Argument(help="A pattern such as *resnet*.")] = "*",
    *,
    license: LICENSE = None,
    as_json: JSON = False,
) -> int:
    """Prints the ids that match a pattern; as JSON each with the licence of its published weights."""
    from ..models.backbones import list_backbones
    from ..models.licenses import licensed_backbones

    found = list_backbones(pattern, license=license)
    if not found:
        close = nearest(pattern, {name.partition(".")[0].partition("/")[2] for name in list_backbones()})
        among = f" under the licence {license}" if license is not None and list_backbones(pattern) else ""
        wider = "" if "*" in pattern else f' Wildcards help: "*{pattern}*".'
        hint = f"{close}{wider}" if not among else " Without --license they are listed."
        raise ConfigError(f'No backbone matches "{pattern}"{among}.{hint}')
    if as_json:
        print_json([{"id": id, "license": own} for id, own in licensed_backbones(pattern, license).items()])
    else:
        print_text("\n".join(found))
    return 0
