"""`finetune evaluate`: how good is a run on other examples?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..stdout import print_json, print_text, tell


def evaluate_command(
    run: str, source: str, words: Mapping[str, Any], *, batch_size: int, accelerator: str, out: str | None,
    progress: Callable[[int], None], as_json: bool, recipe: str | None,
) -> int:  # fmt: skip
    """Measures a run and prints the figures; as JSON all of them. `recipe` is the file that holds its network."""
    from rich.console import Console

    from ..model import load
    from ..report.printed import measured_parts, metrics_table
    from ..report.told import classes_table, slices_table, told_lines

    model = load(run, recipe=recipe)
    given = {name: value for name, value in words.items() if value is not None}
    metrics = model.evaluate(source, batch_size=batch_size, accelerator=accelerator, progress=progress, say=tell,
                             out=out, **given)  # fmt: skip
    if as_json:
        print_json(metrics)
        return 0
    console = Console()
    with console.capture() as shown:  # rich would leave with 1 where nobody reads on
        console.print(metrics_table(metrics))
        for part in measured_parts(metrics):
            if part in metrics.get("classes", {}):
                console.print(classes_table(metrics["classes"][part], part))
            if metrics.get("slices", {}).get(part):
                console.print(slices_table(metrics["slices"][part], model.task.metrics[0], part))
        for line in told_lines(metrics, model.task.metrics[0]):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    print_text(shown.get(), end="")
    return 0
