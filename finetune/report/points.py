"""A sentence of a verdict, and how numbers stand in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Point(NamedTuple):
    """One sentence of the verdict, and whether it asks for a look."""

    severity: str
    sentence: str


def number(value: float | None) -> str:
    """A value as people write it."""
    return "undefined" if value is None else f"{value:.4g}"


def between(figure: Mapping[str, Any]) -> str:
    """A figure with its interval, in a sentence."""
    if figure["value"] is None or figure["low"] is None:
        return number(figure["value"])
    return f"{number(figure['value'])} (95 % interval {number(figure['low'])} to {number(figure['high'])})"
