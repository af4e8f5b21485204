"""How long something may take, as people write it."""

from __future__ import annotations

import re

from ..errors import ConfigError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(time: str | float) -> float:
    """Seconds from "90s", "10m", "1.5h", "1h30m" or a number of seconds.

    Raises:
        ConfigError: Anything else, or nothing at all.
    """
    text = str(time).strip().lower()
    parts = re.findall(r"(\d+\.?\d*|\.\d+)([smh]?)", text)
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not total > 0 or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"time must be as 90s, 10m, 1.5h, or a number of seconds above 0. Got {time!r}.")
    return total


def every(time: str | float) -> float:
    """Seconds between two of something, as `seconds` reads them; "0s" is as often as can be.

    Raises:
        ConfigError: Anything else.
    """
    return 0.0 if str(time).strip().lower() in ("0", "0s", "0.0") else seconds(time)
