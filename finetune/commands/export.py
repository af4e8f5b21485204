"""`finetune export`: a model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..stdout import print_json, print_text
from ..words import shares
from .words import JSON, OwnRecipe, RunFolder

if TYPE_CHECKING:
    from ..export.exported import Exported


def export_command(
    run: RunFolder,
    inputs: Annotated[list[str] | None, typer.Argument(
        metavar="[FILES]...", help="Real pictures of which graph and model must say the same: files, folders and globs "
        "(default: 32 of those that the run held out).")] = None,
    *,
    format: Annotated[str, typer.Option(
        metavar="onnx|torch", help="ONNX, or a program of torch.export.")] = "onnx",
    prior: Annotated[list[str] | None, typer.Option(
        metavar="CLASS=SHARE,...", help="How frequent classes are where it will be used: melanoma=0.02.")] = None,
    recipe: OwnRecipe = None,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="A new folder for the graph and export.json.")],
    as_json: JSON = False,
) -> int:  # fmt: skip
    """Writes the graph once it says what the model says, and tells what goes in and what comes out."""
    from rich.console import Console

    from ..export.exported import check_asked
    from ..model import load

    check_asked(format, out)
    model = load(run, recipe=recipe)
    with Console(stderr=True).status("exporting"):
        found = model.export(out, format=format, prior=shares(prior or ()), inputs=list(inputs) if inputs else None)
    if as_json:
        print_json({"file": str(found.file), **found.facts})
    else:
        print_text(told(found))
    return 0


def told(found: Exported) -> str:
    """What was written, in a screen."""
    facts: dict[str, Any] = dict(found.facts)
    takes, compared = facts["input"], facts["compared"]
    shape = " x ".join(str(side) for side in takes["shape"])
    size = sum(one["bytes"] for one in facts["files"].values()) / 1e6
    width = max(len(name) for name in (takes["name"], *facts["outputs"]))
    left = len(compared["left_out"])
    return "\n".join([
        f"{found.file}, {size:.1f} MB",
        f"  in   {takes['name']:{width}}  {shape} {takes['dtype']}: {takes['is']}",
        *(f"  out  {name:{width}}  {what}" for name, what in facts["outputs"].items()),
        f"  Compared with the model on {compared['pictures']} pictures: the same answers, numbers within "
        f"{compared['largest_difference']:.1g}."
        + (f" {left} were left out, {next(iter(compared['left_out'].values()))}." if left else ""),
        f"  {Path(found.file).parent / 'export.json'} says the same, and names the classes in their order.",
    ])  # fmt: skip
