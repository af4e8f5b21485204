"""Is a model better than answers that need no understanding, and is that sure?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..tasks.metric_names import HIGHER_IS_BETTER


class Over(NamedTuple):
    """How much better a model is than a naive answer, and whether the interval leaves no doubt of it."""

    name: str
    figure: Mapping[str, Any]
    sure: bool


def least_over(metrics: Mapping[str, Any], part: str, metric: str) -> Over | None:
    """The paired difference to the naive answer that the model is least ahead of; None where none was measured.

    The frozen probe is none: it is a model itself.
    """
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    found = [
        (sign * figures[metric]["value"], name, figures[metric])
        for name, figures in metrics.get("over_baselines", {}).get(part, {}).items()
        if name != "probe" and metric in figures and figures[metric]["value"] is not None
    ]
    if not found:
        return None
    _, name, figure = min(found, key=lambda one: one[0])
    ends = [sign * figure[end] for end in ("low", "high") if figure[end] is not None]
    return Over(name, figure, bool(ends) and min(ends) > 0)
