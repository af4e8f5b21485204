"""What a run leaves to be known of it beside its weights: finetune.json's facts, run.json, and the reports."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.addresses import printable
from ..data.examples import Examples
from ..data.splits import Splits
from ..data.texts import cells_of
from ..files import replacing
from ..folder import RECIPE, REPORT, STORY, write_json
from ..models.licenses import license_of
from ..models.network import Network
from ..nearest.answers import TaughtBy
from ..recipe import HEADS, Recipe
from ..report.curves import write_curves
from ..report.written import report
from ..run_report import write_pages
from ..saved import versions
from ..tasks.base import Task
from ..training.transfer import Outcome
from .worst import write_worst


def facts(recipe: Recipe, network: Network, examples: Examples, splits: Splits) -> dict[str, Any]:
    """What finetune.json keeps of any run beside labels, task and preprocessing."""
    head = next(name for name, kind in HEADS.items() if type(recipe.model.head) is kind)
    # Who loads the model needs the file that holds its network.
    own = {"made_by": dict(recipe.made_by)} if recipe.made_by and recipe.model.module is not None else {}
    return {
        **own,
        "backbone": {
            "name": network.id,
            "args": dict(network.origin.args),
            "head": {"kind": head, **vars(recipe.model.head)},
        },
        "data": {
            "examples": len(examples),
            "fingerprint": fingerprint(examples),
            "delimiter": examples.delimiter,
            "target": recipe.data.target,
        },
        "splits": splits.fingerprint,
        "leaks": splits.leaks,
    }


def fingerprint(examples: Examples) -> str:
    """What the examples are, in 64 letters: equal where names, targets and groups are."""
    digest, encode = hashlib.sha256(b"["), json.JSONEncoder(default=list, ensure_ascii=False).encode
    # Piece by piece: as one text a million rows take half a gigabyte.
    rows = zip(*(cells_of(examples.table[name]) for name in ("id", "target", "group")), strict=True)
    for number, row in enumerate(rows):
        digest.update(f"{', ' if number else ''}{encode(row)}".encode())
    digest.update(b"]")
    return digest.hexdigest()


def choice(recipe: Recipe, task: Task, outcome: Outcome) -> dict[str, Any]:
    """Which weights were kept, for finetune.json."""
    chosen = outcome.chosen
    monitor = task.check_monitor(recipe.plan.monitor)
    return {
        "phase": chosen.phase, "epoch": chosen.epoch, "share": chosen.share, "score": chosen.score, "monitor": monitor,
    }  # fmt: skip


def chosen_line(outcome: Outcome, monitor: str) -> str:
    """Which weights were kept and why, as a sentence."""
    chosen = outcome.chosen
    if chosen.score is None:
        return f'The weights are those at the end of phase "{chosen.phase}"; there was no validation part to choose by.'
    at = f"epoch {chosen.epoch} of phase" if chosen.epoch else "phase"
    reached = f"{monitor} on validation {chosen.score:.4g}"
    if chosen.share < 1:
        return (
            f'The weights lie {chosen.share:.0%} of the way from the probe to {at} "{chosen.phase}", as far as the '
            f"losses of validation tell ({reached})."
        )
    return f'The weights are those of {at} "{chosen.phase}" ({reached}).'


def write_report(
    folder: Path, network: Network, task: Task, recipe: Recipe, *, metrics: Mapping[str, Any],
    plan: list[dict[str, str]], notes: Sequence[str], leaks: str | None, chosen: str, stopped: bool,
    measured: bool, examples: Examples, told: Mapping[str, tuple[np.ndarray, np.ndarray]],
    taught: TaughtBy | None = None,
) -> None:  # fmt: skip
    """Writes report.md, report.html and the model's card into a run folder in which all else is written.

    `told` holds of each measured part the rows of its examples and the answers, `taught` is as for `write_worst`; the
    others are those of `report`.
    """
    title = f"{network.id} on {_name(recipe.data.source)}"
    repeat = ["finetune", "fit", "--recipe", str(folder / RECIPE)]
    text = report(
        title=title, metrics=metrics, primary=task.metrics[0], plan=plan, notes=notes, chosen=chosen,
        versions=versions(), curves=write_curves(folder), repeat=repeat, stopped=stopped, leaks=leaks,
        measured=measured,
    )  # fmt: skip
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(text, encoding="utf-8")
    story = {"title": title, "primary": task.metrics[0], "chosen": chosen, "leaks": leaks, "stopped": stopped,
             "measured": measured, "notes": list(notes), "plan": plan, "repeat": repeat,
             "license": license_of(recipe.model)}  # fmt: skip
    write_json(folder / STORY, story)
    if not (folder / RECIPE).exists():
        return  # a trial of a search: nobody reads its page
    # Ctrl-C while pictures are drawn costs the pictures, and not a run whose model is written.
    with contextlib.suppress(KeyboardInterrupt):
        write_worst(folder, network, task, examples, told, maps="folds" not in metrics,
                    taught=taught)  # fmt: skip
        write_pages(folder)


def _name(source: Any) -> str:
    if not isinstance(source, str | Path):
        return f"a {type(source).__name__} in memory"
    return Path(printable(str(source))).name
