"""`finetune tune`: the search, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..report.tried import trials_table
from ..stdout import print_json, talking
from ..tasks.metric_names import HIGHER_IS_BETTER
from ..tuning.search import SEARCHED, parsed_space
from ..tuning.tune import TRIALS, tune


def tune_command(
    source: str | None,
    words: Mapping[str, Any],
    *,
    out: str,
    trials: int,
    time: str | None,
    search: Sequence[str],
    overwrite: bool,
    as_json: bool,
) -> int:
    """Searches, and prints the best trials.

    Args:
        source: As for `fit`.
        words: Options of `fit` that are the same in all trials, and `recipe`.
        out: Folder of the search.
        trials: How many in all.
        time: How long.
        search: Ranges and choices, NAME=LOW..HIGH or NAME=ONE,OTHER.
        overwrite: Whether to begin anew.
        as_json: Prints JSON and nothing else on standard output.

    Returns:
        0, or 130 where it was stopped.
    """
    console = talking(stderr=as_json)
    found = tune(source, out=out, trials=trials, time=time, space=parsed_space(search), overwrite=overwrite,
                 verbose=console, **{k: v for k, v in words.items() if v is not None})  # fmt: skip
    if as_json:
        print_json(found.to_dict())
    else:
        order = found.trials.sort_values("value", ascending=not HIGHER_IS_BETTER[found.monitor], kind="stable")
        rows = [{str(name): value for name, value in row.items()} for row in order.to_dict("records")]
        searched = [word for word in SEARCHED if word in found.trials.columns]
        console.print(trials_table(rows, searched, found.monitor))
        console.print(f"The best is in {found.model.folder}, every trial in {found.folder / TRIALS}", soft_wrap=True)
    return 130 if found.stopped else 0
