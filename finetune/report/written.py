"""report.md of a run: the verdict first, then what it rests on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .levels import levels_markdown
from .printed import cells, folds_rows, measured_parts


def report(
    *,
    title: str,
    metrics: Mapping[str, Any],
    primary: str,
    plan: Sequence[Mapping[str, str]],
    notes: Sequence[str],
    chosen: str,
    versions: Mapping[str, str],
    repeat: Sequence[str],
    stopped: bool,
    leaks: str | None = None,
    measured: bool = True,
    curves: Sequence[str] = (),
) -> str:
    """The report as Markdown.

    Args:
        title: What was trained on what.
        metrics: The measured figures, by part; under "folds" their mean and spread where the run was one in folds.
        primary: The metric to quote.
        plan: The rows of the plan as printed.
        notes: What was found, inferred and left undone, a sentence each.
        chosen: Which weights were kept and why.
        versions: Of the packages.
        repeat: The command that makes the same run again.
        stopped: Whether the user stopped the run.
        measured: Whether every part was measured.
        leaks: What must be known before any figure: that parts leak into each other.
        curves: What range tests found, as lines of Markdown.
    """
    lines = [*([f"**{leaks}**", ""] if leaks else []), f"# {title}", ""]
    levels, folds, metrics = levels_markdown(metrics), metrics.get("folds"), measured_parts(metrics)
    part = "test" if "test" in metrics else next(iter(metrics), None)
    if part is not None and metrics[part][primary]["value"] is not None:
        value, interval, n = cells(metrics[part][primary])
        lines += [f"**{primary} {value} on {part}** (95 % interval {interval}, {n} examples).", ""]
    if stopped:
        lines += ["The run was stopped by its user before its end; these are the best weights until then.", ""]
    if part == "validation" and measured and not folds:
        lines += [
            "There was no test part: the same pictures chose the weights and measured them, so the figure is a "
            "little too good. A source with a test part, or `--test`, gives one that was looked at once.",
            "",
        ]
    lines += ["| part | metric | value | 95 % interval | n |", "| --- | --- | --: | --- | --: |"]
    lines += [
        f"| {name} | {metric} | {' | '.join(cells(figure))} |"
        for name, figures in metrics.items()
        for metric, figure in figures.items()
    ]
    if folds:
        lines += ["", "The validation figures are those of all folds' held-out answers together. One by one:", ""]
        lines += ["| metric | mean of the folds | standard deviation | each fold |", "| --- | --: | --: | --- |"]
        lines += [f"| {' | '.join(row)} |" for row in folds_rows(folds)]
    lines += ["", "## Levels of the taxonomy", "", *levels] if levels else []
    lines += ["", f"Intervals are of 95 %, groups drawn whole (docs/evaluation.md). {chosen}", ""]
    lines += ["## Plan", "", f"| {' | '.join(plan[0])} |", f"|{' --- |' * len(plan[0])}"]
    lines += [f"| {' | '.join(row.values())} |" for row in plan]
    lines += ["", "## Rates that were looked for", "", *curves] if curves else []
    lines += ["", "## Data", "", *(f"- {note}" for note in notes)]
    lines += ["", "## How to repeat", "", "```", shlex.join(repeat), "```", ""]
    lines += [", ".join(f"{name} {version}" for name, version in versions.items()), ""]
    return "\n".join(lines)
