"""What a person is told before a run trains: what was found, and what will happen."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.labels import Labels
from ..data.splits import Splits
from ..models.network import Network
from ..recipe import Recipe
from ..report.printed import Talk, plan_table
from ..training.machine import Machine, scaling
from ..training.phase import Phase
from ..training.shown import groups_line, plan_rows
from ..training.transfer import Lesson


def show_plan(
    network: Network, phases: tuple[Phase, ...], recipe: Recipe, machine: Machine, lesson: Lesson, labels: Labels,
    splits: Splits, notes: Sequence[str], talk: Talk,
) -> list[dict[str, str]]:  # fmt: skip
    """Prints what was found and what will happen."""
    counts = {part: len(splits.indices(part)) for part in ("train", "validation", "test")}
    spec = network.spec
    left = len(lesson.examples) - sum(counts.values())
    told = [f"{n} {part}" for part, n in counts.items()] + ([f"{left} left out"] if left else [])
    talk.say(f"{len(lesson.examples)} examples: " + ", ".join(told))
    talk.say(f"target: {labels}")
    talk.say(
        f"{network.id}: pictures {spec.size[0]}x{spec.size[1]}, {spec.interpolation}, {spec.crop_mode} "
        f"{spec.crop_pct:g}, mean {_numbers(spec.mean)}, std {_numbers(spec.std)}"
    )
    for note in notes:
        talk.say(f"  {note}")
    loss = recipe.task.summary if recipe.task is not None else ""
    rows = plan_rows(network, phases, recipe.plan, machine, len(lesson.train), loss=loss)
    # What was found since may have left the probe alone of a method that moves more.
    method = "probe" if all(phase.on == "features" for phase in phases) else recipe.plan.method
    talk.show(plan_table(rows, f"Plan: {method}"))
    for phase in phases:
        if phase.on == "pictures" and phase.layer_decay < 1:
            talk.say(groups_line(network, phase, scaling(recipe.plan, machine.world_size)))
    return rows


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{v:g}" for v in values) + ")"
