"""Everything that turns probabilities into decisions: fitted on held-out examples, then measured on each part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..tasks.base import Task
from ..tasks.classify import ClassifyTask
from ..tasks.decisions import Decisions
from ..tasks.operate import Operate
from ..tasks.taxonomy import Level
from .calibration import calibration, fit_temperature
from .conformal import conformal, fit_limit
from .judged import Seen
from .levels import at_level
from .operating import answering, fit_answered, fit_thresholds, operating

FITTED_ON = "validation"
"""The part that decisions are fitted on."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What was fitted.

    Args:
        decisions: To be kept with the model.
        parts: The answers of each part at the one temperature.
        held_out: The answers of the part that it was fitted on, each at a temperature fitted without it.
        notes: What could not be fitted, a sentence each.
    """

    decisions: Decisions
    parts: dict[str, Seen]
    held_out: dict[str, Seen]
    notes: tuple[str, ...]


def decide(
    task: Task, parts: Mapping[str, Seen], *, operate: str | None, coverage: float | None,
    priors: Mapping[str, float], seed: int = 0,
) -> Decided:  # fmt: skip
    """Fits a temperature, thresholds and the limit of conformal sets on the held-out examples of a run.

    Args:
        task: Says what the answers mean.
        parts: Answers as the network gives them; nothing is fitted where validation is not among them.
        operate: The operating point that was asked for.
        coverage: The share of right answers that sets or intervals are to hold, where that was asked for.
        priors: How frequent the classes are that the probabilities assume.
        seed: Deals out the folds.
    """
    decisions = Decisions(priors=dict(priors), asked=operate)
    if FITTED_ON not in parts:
        missing = [word for word, value in (("operate", operate), ("coverage", coverage)) if value is not None]
        told = (f"There were no held-out examples to fit {' and '.join(missing)} on: the answers are as usual.",)
        return Decided(decisions=replace(decisions, asked=None), parts=dict(parts), held_out={},
                       notes=told if missing else ())  # fmt: skip
    held = parts[FITTED_ON]
    fitted = fit_temperature(task, held, seed=seed)
    decisions = replace(decisions, temperature=fitted.temperature)
    after = {part: replace(seen, answer=decisions.calibrated(task, seen.answer)) for part, seen in parts.items()}
    notes: list[str] = []
    if operate is not None:
        decisions, notes = _operated(task, decisions, Operate.parse(operate), after[FITTED_ON])
    if coverage is not None:
        limit = fit_limit(task, coverage, after[FITTED_ON])
        decisions = replace(decisions, coverage=coverage, limit=limit)
        if limit is None:
            notes.append(
                f"{len(held.target)} held-out examples are too few for sets that hold the answer with {coverage:.0%}: "
                "every class is in every set."
            )
    decisions = replace(decisions, levels=_by_level(task, decisions, after[FITTED_ON]))
    crossed = {FITTED_ON: replace(held, answer=fitted.answer)}
    return Decided(decisions=decisions, parts=after, held_out=crossed, notes=tuple(notes))


def _operated(task: Task, decisions: Decisions, operate: Operate, held: Seen) -> tuple[Decisions, list[str]]:
    """The decisions with what reaches the operating point on held-out examples, and what could not be reached."""
    if task.labels.kind != "class" or not operate.abstains(task.labels.names):
        thresholds, notes = fit_thresholds(task, operate, held)
        return replace(decisions, thresholds=thresholds), notes
    limit = fit_answered(operate.least, held)
    if limit is not None:
        return replace(decisions, answered=limit), []
    return decisions, [
        f"A precision of {operate.least:g} is not to be shown by the surest of {len(held.target)} held-out answers: "
        "nothing is abstained from. It takes more right ones, or a lower precision."
    ]


def _by_level(task: Task, decisions: Decisions, held: Seen) -> dict[str, dict[str, float | None]]:
    """What sets and abstaining come to at each level of a taxonomy: the same rule, fitted on the nodes as classes."""
    if not isinstance(task, ClassifyTask) or task.taxonomy is None:
        return {}
    sure = None if decisions.asked is None else Operate.parse(decisions.asked)
    abstains = sure is not None and sure.abstains(task.labels.names)
    if decisions.coverage is None and not abstains:
        return {}
    found = {}
    for level in task.taxonomy.levels:
        nodes = at_level(level, held)
        found[str(level.depth)] = {
            "limit": None if decisions.coverage is None else fit_limit(task.of_level(level), decisions.coverage, nodes),
            "answered": fit_answered(sure.least, nodes) if sure is not None and abstains else None,
        }
    return found


def told_of(
    task: Task, decisions: Decisions, before: Mapping[str, Seen], after: Mapping[str, Seen], *,
    held_out: Mapping[str, Seen] | None = None, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """What decisions give on each part, as metrics.json holds it.

    The keys are "calibration", "operating", "answered" and "conformal"; of a taxonomy with decisions "level_decisions",
    by part a list of the last two with their "level".

    Args:
        task: Says what the answers mean.
        decisions: Those of the model.
        before: Answers as the network gives them.
        after: The same examples with calibrated answers.
        held_out: Of a part that the temperature was fitted on, the answers that say how good it is.
        seed: Seeds the intervals.
    """
    told: dict[str, Any] = {}
    if task.labels.kind != "number":
        told["calibration"] = {
            part: calibration(
                task, before[part].answer, (held_out or {}).get(part, seen), decisions.temperature, seed=seed
            )
            for part, seen in after.items()
        }
    if decisions.thresholds and decisions.asked is not None:
        told["operating"] = {
            part: operating(task, decisions.thresholds, decisions.asked, seen, seed=seed)
            for part, seen in after.items()
        }
    if decisions.answered is not None:
        told["answered"] = {part: answering(decisions, seen, seed=seed) for part, seen in after.items()}
    if decisions.coverage is not None:
        told["conformal"] = {part: conformal(task, decisions, seen, seed=seed) for part, seen in after.items()}
    if decisions.levels and isinstance(task, ClassifyTask) and task.taxonomy is not None:
        told["level_decisions"] = {
            part: [_at(task, level, decisions, seen, seed) for level in task.taxonomy.levels]
            for part, seen in after.items()
        }
    return told


def _at(task: ClassifyTask, level: Level, decisions: Decisions, seen: Seen, seed: int) -> dict[str, Any]:
    own, nodes, named = decisions.at_level(level.depth), at_level(level, seen), task.of_level(level)
    found: dict[str, Any] = {"level": level.depth}
    if own.answered is not None:
        found["answered"] = answering(own, nodes, seed=seed)
    if own.coverage is not None:
        found["conformal"] = conformal(named, own, nodes, seed=seed)
    return found
