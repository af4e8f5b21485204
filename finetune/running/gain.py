"""What moving the backbone has added to the probe, with its interval."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ..models.network import Network
from ..report.intervals import Measured, difference
from ..tasks.base import Task
from ..training.transfer import Lesson, Outcome


def gain(
    network: Network, task: Task, lesson: Lesson, outcome: Outcome, *, test: np.ndarray, seen: np.ndarray | None,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """How much better the model is than the probe, on examples that did not choose between them.

    The test part judges where there is one; else the validation part, of which each fold is answered by the weights
    that the other folds prefer.

    Args:
        network: For the form of its head.
        task: Says what the metrics are.
        lesson: The examples, and their features under the backbone as it was loaded.
        outcome: Of the phases that made the model.
        test: Rows of the test part.
        seen: (n, K) answers of the model on them.
        seed: Seeds the resampling.

    Returns:
        `{"on": the part, "figures": each metric's difference with its interval}`; nothing where there is no probe to
        compare with, or nothing has moved since.
    """
    probe = outcome.probe
    if probe is None or lesson.features is None or outcome.chosen is probe:
        return {}
    if seen is not None and len(test):
        before = probe_answer(network, task, lesson, outcome, test)
        return {"on": "test", "figures": _figures(task, lesson, seen, before, test, seed)}
    if outcome.settled is None:
        return {}
    rows = lesson.validation
    after, before = (task.answer(torch.from_numpy(x)) for x in (outcome.settled.held_out, outcome.settled.safe))
    return {"on": "validation", "figures": _figures(task, lesson, after, before, rows, seed)}


def beside(
    network: Network, task: Task, lesson: Lesson, outcome: Outcome, rows: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What the probe answers of the rows of each part, where there was one and the model is another, (n, K) each."""
    if outcome.probe is None or lesson.features is None or outcome.chosen is outcome.probe:
        return {}
    return {part: probe_answer(network, task, lesson, outcome, of) for part, of in rows.items()}


def gain_line(found: dict[str, Any], outcome: Outcome, metric: str) -> str | None:
    """The same as a sentence; None where there was no probe."""
    if outcome.probe is None or (outcome.chosen is outcome.probe and len(outcome.lengths) < 2):
        return None
    if outcome.chosen is outcome.probe:
        return "The probe was kept: by validation, weights that moved from it are no better."
    if not found:
        return None
    figure = found["figures"][metric]
    if figure["value"] is None or figure["low"] is None:
        return None
    how = "on test" if found["on"] == "test" else "on validation, each fold by the weights that the others prefer"
    return (
        f"Moving the backbone changed {metric} by {figure['value']:+.4f} (95 % interval {figure['low']:+.4f} to "
        f"{figure['high']:+.4f}, {figure['n']} examples {how}) against the probe."
    )


def probe_answer(network: Network, task: Task, lesson: Lesson, outcome: Outcome, rows: np.ndarray) -> np.ndarray:
    """What the probe of a run answers of some rows, (n, K); there must be one."""
    assert outcome.probe is not None and lesson.features is not None  # noqa: S101  # the caller has looked
    state = load_file(outcome.probe.state)
    head = copy.deepcopy(network.head).eval()
    prefix = "network.head."
    head.load_state_dict({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})
    with torch.no_grad():
        return task.answer(head(torch.from_numpy(lesson.features.at(rows).copy())))


def _figures(
    task: Task, lesson: Lesson, after: np.ndarray, before: np.ndarray, rows: np.ndarray, seed: int
) -> Measured:
    groups = lesson.groups(rows)
    return difference(task, after, before, lesson.target[rows], groups=groups if any(groups) else None, seed=seed)
