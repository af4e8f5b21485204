"""`finetune explain`: why a model answers as it does, what a channel answers to, and what the first layer looks for."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import ConfigError
from ..stdout import print_json, print_text, tell
from .words import Accelerator, RunFolder

if TYPE_CHECKING:
    from ..explaining.explanation import Explanation
    from ..model import Model

FILTERS, STRONGEST, TOLD = "filters.png", "strongest.png", "strongest.json"
SHOWN = 20
"""Rows of the printed table."""


def explain_command(
    run: RunFolder,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="FILES...", help="Files, folders and globs.")] = None,
    *,
    method: Annotated[str | None, typer.Option(
        metavar="grad-cam|grad-cam++|occlusion|integrated-gradients|deconvnet|roll-out",
        help="How the map is made (default: grad-cam).")] = None,
    answer: Annotated[str | None, typer.Option(
        metavar="CLASS", help="The class, label or column to ask about (default: each picture's own answer).")] = None,
    layer: Annotated[str | None, typer.Option(
        metavar="NAME", help="The layer of grad-cam and grad-cam++ (default: the last with places).")] = None,
    window: Annotated[int | None, typer.Option(
        metavar="PIXELS", help="Side of occlusion's square (default: a fifth of the picture).")] = None,
    stride: Annotated[int | None, typer.Option(
        metavar="PIXELS", help="From one place of the square to the next (default: a third of it).")] = None,
    steps: Annotated[int | None, typer.Option(help="Points of integrated-gradients (default: 50).")] = None,
    filters: Annotated[bool, typer.Option("--filters", help="Draws the filters of the first layer instead.")] = False,
    channel: Annotated[str | None, typer.Option(
        metavar="LAYER[:N]", help="Draws the pictures that channel N of a layer answers to most instead, with what in "
        "them leads to it; without N the channel that stands out most.")] = None,
    top: Annotated[int | None, typer.Option(help="How many pictures of a channel (default: 9).")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures at a time (default: 8).")] = None,
    accelerator: Accelerator = "auto",
    out: Annotated[str, typer.Option(metavar="FOLDER", help="A new folder for the drawings and the record.")],
    as_json: Annotated[bool, typer.Option(
        "--json", help="Prints the record as JSON and nothing else on standard output.")] = False,
) -> int:  # fmt: skip
    """Explains, draws and prints a short table; 1 where pictures could not be read."""
    asking = {"method": method, "answer": answer, "layer": layer, "window": window, "stride": stride, "steps": steps}
    given = {name: value for name, value in asking.items() if value is not None}
    _check_shape(given, inputs, filters=filters, channel=channel, top=top)

    from ..explaining.explanation import check_out
    from ..model import load

    check_out(out)
    model = load(run)
    batch = {} if batch_size is None else {"batch_size": batch_size}
    if filters:
        return _filters(model, out, as_json=as_json)
    if channel is not None:
        more = batch | ({} if top is None else {"top": top})
        return _channel(model, inputs or [], channel, more, accelerator, out, as_json=as_json)
    return _explain(model, inputs or [], given | batch, accelerator, out, as_json=as_json)


def _check_shape(
    given: dict[str, Any], inputs: Sequence[str] | None, *, filters: bool, channel: str | None, top: int | None
) -> None:
    """Refuses words that do not go together, all of them at once."""
    wrong = []
    if filters and channel is not None:
        wrong.append("--filters and --channel draw different things. Expected one of them.")
    instead = "--filters" if filters else "--channel" if channel is not None else None
    if instead is not None and given:
        named = ", ".join(f"--{name}" for name in given)
        wrong.append(f"{named}: of maps over pictures, which {instead} draws none of. Leave one or the other out.")
    if top is not None and channel is None:
        wrong.append("--top is the number of pictures of a channel. Expected --channel LAYER[:N] with it.")
    if filters and inputs:
        wrong.append("The filters of the first layer are the same for all pictures. Expected no FILES with --filters.")
    if not filters and not inputs:
        wrong.append("There is no picture to look at. Expected FILES, folders or globs behind the run folder.")
    if wrong:
        raise ConfigError("\n".join(wrong))


def _explain(
    model: Model, inputs: Sequence[str], asking: dict[str, Any], accelerator: str, out: str, *, as_json: bool
) -> int:
    from ..explaining.explanation import RECORD
    from ..predict import as_examples

    examples = as_examples(list(inputs))
    with _bar("explaining", len(examples)) as moved:
        found = model.explain(examples, accelerator=accelerator, out=out, progress=moved, **asking)
    record = json.loads((Path(out) / RECORD).read_text(encoding="utf-8"))
    if as_json:
        print_json(record)
    else:
        console = Console()
        with console.capture() as shown:  # rich would leave with 1 where nobody reads on
            console.print(explained_table(found))
        more = f"{len(found) - SHOWN} more are in {RECORD}. " if len(found) > SHOWN else ""
        empty = sum(one.empty for one in found)
        if empty:
            more += (
                f"{empty} of {len(found)} maps are empty: nothing speaks for the answer, or no signal of it comes as "
                "far as the pixels. Occlusion and integrated-gradients show what speaks against it too. "
            )
        print_text(f"{shown.get()}{more}The drawings, {RECORD} and maps.npz are in {out}")
    return _told_errors({one.path: one.error for one in found if one.error}, len(found))


def explained_table(found: Sequence[Explanation]) -> Table:
    """The number of each picture in the record, what was answered of it, and what was asked about."""
    first = next((one for one in found if not one.error), found[0])
    title = first.method + (f", layer {first.layer}" if first.layer else "")
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left")
    for name in ("", "picture", "answer", "asked about", "value"):
        table.add_column(name, justify="right" if name in ("", "value") else "left", overflow="fold")
    for number, one in enumerate(found[:SHOWN]):
        if one.error:
            table.add_row(str(number), Text(Path(one.path).name), Text(one.error), "", "")
            continue
        label, value = (f"{one.label:.4g}",) * 2 if isinstance(one.label, float) else (one.label, f"{one.value:.1%}")
        cells = [str(number), Path(one.path).name, label or "no label", one.answer or "any", value]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _filters(model: Model, out: str, *, as_json: bool) -> int:
    from ..files import whole_folder
    from ..report.channels import draw_filters

    with whole_folder(Path(out).absolute()) as folder:
        count = draw_filters(folder / FILTERS, model.network.body, title=f"First layer of {model.network.id}",
                             note="Each filter is stretched to its own range.")  # fmt: skip
    file = Path(out) / FILTERS
    if as_json:
        print_json({"filters": count, "file": str(file)})
    else:
        print_text(f"The {count} filters of the first layer are drawn in {file}")
    return 0


def _channel(
    model: Model, inputs: Sequence[str], channel: str, words: dict[str, Any], accelerator: str, out: str, *,
    as_json: bool,
) -> int:  # fmt: skip
    from ..files import whole_folder
    from ..predict import as_examples

    named = re.fullmatch(r"(?P<layer>[^:]+)(?::(?P<number>\d+))?", channel)
    if named is None:
        raise ConfigError(f'--channel "{channel}" names no channel. Expected LAYER:N or LAYER, layer3.1:17 say.')
    number = None if named["number"] is None else int(named["number"])
    examples = as_examples(list(inputs))
    with _bar("looking", len(examples)) as moved:
        found = model.strongest(examples, named["layer"], number, accelerator=accelerator, progress=moved, **words)
    with whole_folder(Path(out).absolute()) as folder:
        found.draw(folder / STRONGEST)
        (folder / TOLD).write_text(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        print_json(found.to_dict())
    else:
        lines = [f"{peak:10.4g}  {path}" for path, peak in zip(found.paths, found.peaks, strict=True)]
        print_text("\n".join([
            f"Channel {found.channel} of {found.layer} (of {found.of}) answers most to, of {found.pictures} pictures:",
            *lines, f"They are drawn in {Path(out) / STRONGEST}, with what leads to the answer ({found.traced}).",
        ]))  # fmt: skip
    return _told_errors(found.errors, len(examples))


def _told_errors(errors: dict[str, str], count: int) -> int:
    for path, reason in list(errors.items())[:3]:
        tell(f"finetune: {path}: {reason}")
    if errors:
        tell(f"finetune: {len(errors)} of {count} pictures could not be read.")
    return 1 if errors else 0


def _bar(what: str, total: int) -> Any:
    from ..report.printed import Talk

    return Talk(Console(stderr=True)).bar(what, total)
