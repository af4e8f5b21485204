"""`finetune plan`: what a run will be, on devices that need not be here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..recipe import read_recipe, recipe_from
from ..stdout import print_json, print_text
from ..words import parsed
from .words import JSON

if TYPE_CHECKING:
    from ..running.foreseen import Forecast, Foreseen

LINK = Annotated[str | None, typer.Option(
    metavar="10Gb|12GB", help="The slowest link between two devices, in bits (b) or bytes (B) a second.")]  # fmt: skip


def plan_command(
    source: Annotated[str, typer.Argument(
        metavar="RECIPE|SOURCE", help="A run folder or its recipe.json, or a source of examples as for fit.")],
    *,
    link: LINK = None,
    as_json: JSON = False,
    **words: Any,
) -> int:  # fmt: skip
    """Prints the plan of a run and what it takes; trains nothing, and opens no picture."""
    given = {name: value for name, value in parsed(words).items() if value is not None}
    recipe = read_recipe(source) if _is_recipe(Path(source)) else None
    whole = recipe_from(None if recipe is not None else source, given, recipe)
    from ..running.foreseen import foresee

    found = foresee(whole, link=link)
    if as_json:
        print_json(found.to_dict())
        return 0
    from ..report.printed import plan_table

    console = Console()
    with console.capture() as shown:  # rich would leave with 1 where nobody reads on
        for line in found.reasons:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        console.print(plan_table([phase.row for phase in found.phases], f"Plan: {whole.plan.method}"))
        for line in lines(found, link):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    print_text(shown.get(), end="")
    return 0


def lines(found: Forecast, link: str | None) -> list[str]:
    """What is foreseen beside the plan, in words.

    Args:
        found: A forecast.
        link: As it was given.
    """
    nodes = f" on {found.num_nodes} nodes" if found.num_nodes > 1 else ""
    head = (
        f"{found.examples:,} pictures to train on, {found.world} devices{nodes}; a step was measured here on one "
        + ("process of the CPU" if found.accelerator == "cpu" else f"device ({found.accelerator})")
    )
    return [head, *(line for phase in found.phases for line in _of_phase(phase, found, link))]


def _of_phase(phase: Foreseen, found: Forecast, link: str | None) -> list[str]:
    name, taken = phase.row["phase"], phase.taken
    if taken is None:
        return [f'"{name}": features are computed once; there are no steps']
    program = f", {_size(taken.program)} of them the program itself" if taken.program else ""
    rate = "a rate that is looked for" if phase.rate is None else f"rate {phase.rate:.3g} on the head"
    told = [
        f'"{name}": {phase.batch:,} pictures a step, {phase.steps or "by the clock"} steps, {rate}',
        f"  memory {_size(taken.memory)} a device{program}",
        f"  {taken.seconds:.3g} s a batch"
        + (f", {phase.batches} batches a step" if phase.batches > 1 else "")
        + ", without reading pictures",
    ]
    if found.world == 1:
        return told
    told.append(
        f"  gradients of {_size(taken.gradients)}: each device sends {_size(phase.traffic)} a step and receives as much"
    )
    if phase.efficiency is not None:
        low, high = phase.efficiency.least, phase.efficiency.most
        speed = phase.batch / (phase.batches * taken.seconds)
        told.append(
            f"  over {link}: {low:.0%} to {high:.0%} of {found.world} times one device, "
            f"{low * speed:,.0f} to {high * speed:,.0f} pictures a second (docs/scaling.md)"
        )
    return told


def _is_recipe(path: Path) -> bool:
    return path.name == "recipe.json" or (path / "recipe.json").is_file()


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
