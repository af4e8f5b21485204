"""How right a model is at each level of a taxonomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..tasks.base import Task
from ..tasks.classify import ClassifyTask
from ..tasks.taxonomy import Level
from .intervals import measure
from .printed import cells

if TYPE_CHECKING:
    from .judged import Seen

SHOWN = ("accuracy", "balanced_accuracy")
"""Of each level the metrics that are told in a table; metrics.json has all of them."""

COLUMNS = ("part", "level", "nodes", *SHOWN, "n")


def levels(task: Task, seen: Seen, *, seed: int = 0) -> list[dict[str, Any]]:
    """The metrics of each level of the task's taxonomy, the coarsest first; empty where it has none.

    The probability of a node is the sum over the classes below it, and the answer is the likeliest node of the level,
    which need not be the one that the likeliest class lies under (Esteva et al. 2017).

    Args:
        task: Says which classes there are, and their tree.
        seen: Calibrated answers to a part.
        seed: Seeds the intervals: those of the last level are those of the classes.

    Returns:
        For each level its "level" (1 lies right below the root), its "nodes", and the "metrics" of the nodes as
        classes: `{metric: {"value", "low", "high", "n"}}`.
    """
    if not isinstance(task, ClassifyTask) or task.taxonomy is None:
        return []
    found = []
    for level in task.taxonomy.levels:
        nodes = at_level(level, seen)
        metrics = measure(task.of_level(level), nodes.answer, nodes.target, groups=nodes.groups, seed=seed)
        found.append({"level": level.depth, "nodes": list(level.names), "metrics": metrics})
    return found


def at_level(level: Level, seen: Seen) -> Seen:
    """The same examples with the nodes of a level as classes: the probability of a node is the sum of those below."""
    target = level.matrix[seen.target].argmax(axis=1)
    return replace(seen, answer=seen.answer @ level.matrix, target=target)


def levels_rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The levels of every part as text, in the order of `COLUMNS`; none where there is no taxonomy."""
    return [
        (part, str(one["level"]), str(len(one["nodes"])),
         *(_with_ends(one["metrics"][name]) for name in SHOWN), str(one["metrics"][SHOWN[0]]["n"]))
        for part, found in metrics.get("levels", {}).items()
        for one in found
    ]  # fmt: skip


def levels_lines(found: Sequence[Mapping[str, Any]], part: str) -> list[str]:
    """The levels of a part, a sentence each."""
    return [
        f"Level {one['level']} of the taxonomy ({len(one['nodes'])} nodes) on {part}: "
        + ", ".join(f"{name.replace('_', ' ')} {_with_ends(one['metrics'][name])}" for name in SHOWN)
        + "."
        for one in found
    ]


def levels_markdown(metrics: Mapping[str, Any]) -> list[str]:
    """The levels of every part as a table of Markdown, a line each; none where there is no taxonomy."""
    rows = levels_rows(metrics)
    if not rows:
        return []
    head = (COLUMNS, ("---", *["--:"] * (len(COLUMNS) - 1)))
    return [f"| {' | '.join(row)} |" for row in (*head, *rows)]


def _with_ends(figure: Mapping[str, Any]) -> str:
    value, ends, _ = cells(figure)
    return f"{value} ({ends})"
