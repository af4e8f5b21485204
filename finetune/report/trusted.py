"""What the verdict says of probabilities, thresholds and sets: whether they hold on examples that are new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tasks.operate import Operate
from .points import Point, between, number
from .run_facts import RunFacts

UNSURE = 0.05
"""An expected calibration error from which probabilities mislead."""


def calibrated(facts: RunFacts) -> list[Point]:
    """Whether a stated probability means what it says, as far as so many examples can tell."""
    found = facts.of("calibration")
    if not found or found["ece_after"]["value"] is None:
        return []
    value, chance = found["ece_after"]["value"], found["ece_if_calibrated"]
    told = f"A stated probability is off by {value:.3f} on average (expected calibration error)"
    if value <= chance["high"]:
        return [Point("fine", f"{told}; were each of them true, so few examples would show "
                              f"{chance['low']:.3f} to {chance['high']:.3f}.")]  # fmt: skip
    if value >= UNSURE:
        return [Point("look", f"{told}, more than chance explains ({chance['high']:.3f}): do not read probabilities as "
                              "shares.")]  # fmt: skip
    return [Point("fine", f"{told}.")]


def decided(facts: RunFacts) -> list[Point]:
    """Whether the operating point and the coverage that were asked for are kept."""
    found = []
    for name, at in (facts.of("operating") or {}).items():
        asked = Operate.parse(at["asked"])
        others = [rate for rate in ("sensitivity", "specificity") if rate != asked.rate]
        beside = ", ".join(f"{rate} {between(at[rate])}" for rate in others)
        found += _kept(f'"{name}" from {number(at["threshold"])} on', asked.rate, asked.least, at[asked.rate], beside)
    if (sure := facts.of("answered")) is not None:
        asked = Operate.parse(sure["asked"])
        what = f"Answered from {number(sure['threshold'])} on"
        found += _kept(what, "precision", asked.least, sure["precision"], f"{between(sure['coverage'])} is answered")
    if (sets := facts.of("conformal")) is not None and sets["asked"] is not None:
        what = "The sets" if "size" in sets else "The intervals"
        width = sets.get("width")
        beside = f"{between(sets['size'])} classes in one" if "size" in sets else f"each {number(width)} wide"
        found += _kept(what, "coverage", sets["asked"], sets["coverage"], beside)
    return found


def _kept(what: str, rate: str, least: float, figure: Mapping[str, Any], beside: str) -> list[Point]:
    """Whether a rate is as high as was asked, which its interval may leave open."""
    if figure["value"] is None:
        return []
    told = f"{what}: {rate} {between(figure)}, asked was {least:g}; {beside}"
    missed = figure["high"] is not None and figure["high"] < least
    return [Point("look", f"{told}. It is not kept on new examples.")] if missed else [Point("fine", f"{told}.")]
